"""Rules of every connection, by INFO alone; tests/e2e/test_refusals.py makes servers so."""

from __future__ import annotations

import pytest

from shaker.apply.records import Checkpoint
from shaker.checks import fitness
from shaker.errors import RefusedError, ServerBusyError
from shaker.model.server_info import SourceIdentity
from tests.support.info import server_info
from tests.support.preflight import settings_for

SOURCE = SourceIdentity("source:6379", "a" * 40, ("b" * 40,))


def checkpoint(**fields: str) -> Checkpoint:
    """Return a checkpoint with these fields."""
    found = Checkpoint.parse({"replid": "0" * 40, "offset": "1", "database": "0", "phase": "stream", **fields})
    assert found is not None
    return found


def test_cluster_mode_is_refused_on_both_sides() -> None:
    for rule in (fitness.refuse_cluster_source, fitness.refuse_cluster_target):
        rule("x:1", server_info(cluster_enabled=0))
        with pytest.raises(RefusedError, match="x:1 has cluster mode enabled"):
            rule("x:1", server_info(cluster_enabled=1))


def test_a_replica_needs_its_primary_as_a_source_and_takes_no_writes_as_a_target() -> None:
    fitness.refuse_orphan_source(server_info(role="slave", master_link_status="up"))
    with pytest.raises(ServerBusyError, match="lost its own primary"):
        fitness.refuse_orphan_source(server_info(role="slave", master_link_status="down"))
    fitness.refuse_replica_target("x:1", server_info(role="master"))
    with pytest.raises(ServerBusyError, match="takes no writes"):
        fitness.refuse_replica_target("x:1", server_info(role="slave", master_link_status="up"))


@pytest.mark.parametrize(("version", "taken"), [("6.0.16", False), ("6.2.0", True), ("", True)])
def test_the_oldest_target(version: str, taken: bool) -> None:
    """A version that is not given is taken."""
    info = server_info(redis_version=version)
    if taken:
        fitness.refuse_old_target("x:1", info)
    else:
        with pytest.raises(RefusedError, match=r"6\.2 or later"):
            fitness.refuse_old_target("x:1", info)


def test_eviction_of_any_key_needs_consent() -> None:
    info = server_info(maxmemory_policy="allkeys-lru")
    with pytest.raises(RefusedError, match="allkeys-lru"):
        fitness.refuse_eviction(settings_for("redis://a", "redis://b"), info)
    fitness.refuse_eviction(settings_for("redis://a", "redis://b", target={"allow_eviction": True}), info)
    fitness.refuse_eviction(settings_for("redis://a", "redis://b"), server_info(maxmemory_policy="volatile-lru"))


def test_keys_of_others_need_consent() -> None:
    """This worker's own records do not count."""
    settings, info = settings_for("redis://a", "redis://b"), server_info(db0="keys=2,expires=0")
    fitness.refuse_contents(settings, SOURCE, info, None, own_keys=2)
    with pytest.raises(RefusedError, match="holds 1 key and no checkpoint"):
        fitness.refuse_contents(settings, SOURCE, info, None, own_keys=1)
    for rule in ("merge", "flush"):
        other = settings_for("redis://a", "redis://b", target={"on_existing": rule})
        fitness.refuse_contents(other, SOURCE, info, None, own_keys=0)


@pytest.mark.parametrize("fields", [{"source": SOURCE.address}, {"replid": "b" * 40}, {"source_run_id": "a" * 40}])
def test_a_checkpoint_of_this_source_is_known_by_any_of_three_marks(fields: dict[str, str]) -> None:
    """Its address, its history, its run."""
    settings, info = settings_for("redis://a", "redis://b"), server_info()
    fitness.refuse_contents(settings, SOURCE, info, checkpoint(**fields), own_keys=0)


def test_a_checkpoint_of_another_source_needs_consent() -> None:
    settings, info = settings_for("redis://a", "redis://b"), server_info()
    with pytest.raises(RefusedError, match="belongs to another source, other:1"):
        fitness.refuse_contents(settings, SOURCE, info, checkpoint(source="other:1"), own_keys=0)
    adopting = settings_for("redis://a", "redis://b", target={"adopt": True})
    fitness.refuse_contents(adopting, SOURCE, info, checkpoint(source="other:1"), own_keys=0)
