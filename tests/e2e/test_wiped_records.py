"""FLUSHALL and the like on the target by somebody else are noticed, said, and made good by a full resync."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.compare import differences
from tests.support.proxy import Proxy
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker

Workers = Callable[..., Worker]
COMMANDS: list[tuple[str | int, ...]] = [("FLUSHALL",), ("FLUSHDB",), ("SWAPDB", 0, 1), ("DEBUG", "RELOAD")]


def fill(source: Server) -> None:
    for database in (0, 4):
        source.client(db=database).mset({f"key:{number}": number for number in range(100)})


@pytest.mark.parametrize("writing", [True, False])
@pytest.mark.parametrize("command", COMMANDS[:3], ids=str)
def test_the_targets_data_taken(
    source: Server, target: Server, worker: Workers, command: tuple[str | int, ...], writing: bool
) -> None:
    """Noticed by the next write, or while idle within seconds; both sides are equal again by a full sync."""
    fill(source)
    with Proxy(target) as proxy:
        proxy.set(latency=0.025)
        running = worker(source, proxy.url, SHAKER_RETRY__FULL_SYNC_SECONDS="1")
        running.wait_state("streaming")
        running.wait_applied(source)
        wait_until(lambda: running.status()["ready"], "the worker to be ready")
        target.client().execute_command(*command)
        if writing:
            source.client(db=4).set("new", 1)
        wait_until(lambda: running.status()["full_syncs"] == 2, "a full resync", 40)
        running.wait_applied(source)
        wait_until(lambda: not differences(source, target), "both to be equal", 40)

    assert running.events("records wiped")
    assert running.returncode is None
    assert running.status()["full_syncs"] == 2


def test_nothing_taken_nothing_noticed(source: Server, target: Server, worker: Workers) -> None:
    """What the source itself does to all keys, and a reload of the target's own data, cost no full resync."""
    fill(source)
    running = worker(source, target)
    running.wait_state("streaming")
    for command in COMMANDS[:3]:
        source.client().execute_command(*command)
        source.client(db=4).set("new", 1)
        running.wait_applied(source)
    assert differences(source, target) == []

    looks = target.info("commandstats").get("cmdstat_hgetall", {"calls": 0})["calls"]
    wait_until(
        lambda: target.info("commandstats")["cmdstat_hgetall"]["calls"] > looks + 1, "two looks at the records", 30
    )
    assert running.status()["full_syncs"] == 1
    assert running.events("records wiped") == []
