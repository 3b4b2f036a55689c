"""Every pair of servers: all data that the target can hold pass, and any other are refused by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support import oracle
from tests.support.compatibility import FEATURES, PAGE, common, later, page, refused
from tests.support.servers import NAMES, OLD, SOURCES, Server
from tests.support.worker import Worker

Servers = Callable[..., Server]
Workers = Callable[..., Worker]
PAIRS = [(source, target) for source in SOURCES for target in NAMES]
LACKING = [(source, target, feature) for source, target in PAIRS for feature in refused(source, target)]


@pytest.fixture(autouse=True)
def tolerance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old servers send EXPIRE as it was given, so that each replica expires later by its lag."""
    if request.node.callspec.params.get("source_name") in OLD if hasattr(request.node, "callspec") else False:
        monkeypatch.setattr(oracle, "EXPIRY_TOLERANCE", 3000)


@pytest.mark.parametrize(("source_name", "target_name"), PAIRS)
def test_snapshot_and_stream_are_equal(
    source_name: str, target_name: str, server: Servers, worker: Workers
) -> None:
    """Values of every type, built or restored, with what the target can hold of the newer features."""
    source, target = server(source_name), server(target_name)
    client = source.client()
    common(client, "snapshot")
    common(source.client(db=5), "snapshot")
    for name, feature in FEATURES.items():
        if source_name in feature.servers and name not in refused(source_name, target_name):
            feature.write(client)

    running = worker(source, target)
    running.wait_state("streaming")
    common(client, "stream")
    later(client)
    status = running.wait_applied(source)

    assert oracle.differences(source, target) == []
    assert (status["full_syncs"], status["rejected_commands"], status["unsupported_skipped"]) == (1, 0, 0)
    assert [key for db in (0, 5) for key in target.client(db=db).keys("shaker:building:*")] == []


@pytest.mark.parametrize(("source_name", "target_name", "feature"), LACKING)
def test_what_the_target_lacks_is_refused_or_skipped(
    source_name: str, target_name: str, feature: str, server: Servers, worker: Workers
) -> None:
    """By name, before it is sent; skip leaves it out in the snapshot and in the stream, and all else is equal."""
    source, target = server(source_name), server(target_name)
    client = source.client()
    client.rpush("list", *range(10))
    FEATURES[feature].write(client)

    running = worker(source, target, name="refusing")
    assert running.wait_ended() == 4
    (end,) = running.events("replication ends")
    assert FEATURES[feature].reason in end["error"]

    target.client().flushall()
    running = worker(source, target, SHAKER_TARGET__ON_UNSUPPORTED="skip")
    running.wait_state("streaming")
    client.delete("fields", "fields:large", "vectors")
    if feature == "functions":
        client.function_delete("compatible")
    FEATURES[feature].write(client)
    client.rpush("list", "more")
    status = running.wait_applied(source)

    assert status["unsupported_skipped"] > 1
    assert status["rejected_commands"] == 0
    assert target.client().lrange("list", 0, -1) == client.lrange("list", 0, -1)
    if feature == "fields":
        assert target.client().hgetall("fields") == client.hgetall("fields")
    assert target.client().exists("vectors") == 0


def test_the_page_is_up_to_date() -> None:
    """`python -m tests.support.compatibility` writes it."""
    assert PAGE.read_text() == page()
