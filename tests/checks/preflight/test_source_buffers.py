"""Buffers, memory and disk of the source under load, on servers made so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from shaker.checks.preflight import gather
from shaker.checks.preflight.facts import LinkSpeed, WriteRate
from tests.support.preflight import judge, load, made_up, preflight
from tests.support.servers import Server

Servers = Callable[..., Server]
MIB = 1024 * 1024


@pytest.mark.parametrize("counts", [True, False], ids=["by offset", "by network input"])
def test_a_backlog_that_is_too_small_for_the_writes(server: Servers, target: Server, counts: bool) -> None:
    """A warning with the CONFIG SET that covers five minutes; that one makes it pass, as an idle source does."""
    source = server(repl_backlog_size="16kb")
    if counts:
        server().replicate(source)
    assert preflight(source, target, 0.2)["source-backlog"].status == "ok"
    with load(source):
        found = preflight(source, target, 0.5)["source-backlog"]
        assert found.status == "warning", found
        assert ("network input" in found.finding) is not counts
        size = int(found.remedy.rpartition("repl-backlog-size ")[2])
        source.client().config_set("repl-backlog-size", size)
        assert preflight(source, target, 0.5)["source-backlog"].status == "ok"


def test_an_output_buffer_that_a_snapshot_under_load_overflows(server: Servers, target: Server) -> None:
    """Failed with the CONFIG SET that helps; with it, it passes."""
    source = server(client_output_buffer_limit="replica 16kb 8kb 60")
    pipeline = source.client().pipeline(transaction=False)
    for number in range(30_000):
        pipeline.set(f"key:{number}", number)
    pipeline.execute()
    with load(source):
        found = preflight(source, target, 0.5)["source-output-buffer"]
        assert found.status == "failed", found
        value = found.remedy.partition("client-output-buffer-limit ")[2].strip('"')
        source.client().config_set("client-output-buffer-limit", value)
        assert preflight(source, target, 0.5)["source-output-buffer"].status == "ok"


@pytest.mark.parametrize(
    ("limits", "rate", "status"),
    [
        ("replica 268435456 67108864 60", 100 * 1024, "ok"),
        ("slave 268435456 67108864 60", 400 * 1024, "warning"),
        ("replica 268435456 67108864 60", MIB, "failed"),
        ("replica 268435456 0 0", MIB, "ok"),
        ("replica 0 0 0", 100 * MIB, "ok"),
        ("normal 0 0 0", MIB, "skipped"),
        (None, MIB, "skipped"),
    ],
)
def test_the_output_buffer_against_the_duration_of_the_snapshot(
    limits: str | None, rate: float, status: str
) -> None:
    """100 s of stream: the soft limit counts behind its seconds, the lower one of both."""
    link = LinkSpeed(10 * MIB, MIB, 0.1)
    config = {} if limits is None else {"client-output-buffer-limit": f"normal 0 0 0 {limits} pubsub 1 1 1"}
    facts = made_up(
        {"used_memory": 1000 * MIB, "db0": "keys=1,expires=0"},
        {},
        source_facts={"config": config, "link": link},
        target_facts={"link": link},
        write_rate=WriteRate(rate, 3.0, by_offset=True),
    )

    found = judge("source-output-buffer", facts)

    assert found.status == status, found
    assert bool(found.remedy) is (status != "ok")


@pytest.mark.parametrize(("spool", "status"), [(None, "failed"), ("/tmp", "ok")])
def test_a_spool_takes_the_snapshot_as_fast_as_the_source_sends_it(spool: str | None, status: str) -> None:
    """The target needs 500 s for so many keys; the source sends them in 10 s."""
    link = LinkSpeed(10 * MIB, MIB, 0.1)
    facts = made_up(
        {"used_memory": 100 * MIB, "db0": "keys=100000000,expires=0"},
        {},
        source_facts={"config": {"client-output-buffer-limit": "replica 268435456 67108864 60"}, "link": link},
        target_facts={"link": link},
        write_rate=WriteRate(MIB, 3.0, by_offset=True),
        sections={"spool": {"dir": spool}},
    )
    assert judge("source-output-buffer", facts).status == status


def test_a_source_that_writes_the_snapshot_to_its_disk_first(source: Server, target: Server) -> None:
    """A warning, and the CONFIG SET that ends it."""
    source.client().config_set("repl-diskless-sync", "no")
    assert preflight(source, target)["source-diskless"].status == "warning"
    source.client().config_set("repl-diskless-sync", "yes")
    assert preflight(source, target)["source-diskless"].status == "ok"


def test_a_source_whose_background_save_failed(source: Server, target: Server) -> None:
    """A warning: its directory is gone."""
    shutil.rmtree(source.directory)
    with suppress(redis.ResponseError):
        source.client().save()
    source.client().bgsave()
    while source.client().info("persistence")["rdb_bgsave_in_progress"]:
        pass
    found = preflight(source, target)["source-fork-memory"]
    assert (found.status, "background save failed" in found.finding) == ("warning", True)


@pytest.mark.parametrize(("overcommit", "status"), [("0", "warning"), ("1", "ok"), ("none", "ok")])
def test_overcommit_of_a_source_on_this_machine(
    source: Server,
    target: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overcommit: str,
    status: str,
) -> None:
    """Read where the source runs beside the preflight."""
    path = tmp_path / "overcommit_memory"
    path.write_text(overcommit)
    monkeypatch.setattr(gather, "OVERCOMMIT", path)
    assert preflight(source, target)["source-fork-memory"].status == status


@pytest.mark.parametrize(
    ("resident", "system", "status"), [(10, 100, "ok"), (60, 100, "warning"), (10, "", "skipped")]
)
def test_memory_for_the_fork(resident: int, system: object, status: str) -> None:
    """At worst the fork doubles the process."""
    fields = {
        "used_memory_rss": resident * MIB,
        "total_system_memory": system if system == "" else int(str(system)) * MIB,
    }
    assert judge("source-fork-memory", made_up(fields, {})).status == status


def test_a_timeout_that_an_idle_source_exceeds(source: Server, target: Server) -> None:
    """A warning with the value that is long enough."""
    source.client().config_set("repl-ping-replica-period", 7)
    found = preflight(source, target, source={"timeout_seconds": 5})["source-ping-period"]
    assert (found.status, "to 21" in found.remedy) == ("warning", True)
    assert preflight(source, target, source={"timeout_seconds": 21})["source-ping-period"].status == "ok"
