"""What the source is told: its INFO and its WAIT speak for the target."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from statistics import median

import pytest

from tests.support.compare import differences
from tests.support.proxy import Proxy
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker
from tests.support.writes import Writes, syncs

Servers = Callable[..., Server]
Workers = Callable[..., Worker]


def test_wait_speaks_for_the_target(source: Server, target: Server, worker: Workers) -> None:
    """WAIT counts the worker only for what is on the target: not while the target stands still."""
    running = worker(source, target)
    running.wait_state("streaming")
    client = source.client()
    client.incr("counter")
    assert client.wait(1, 5000) == 1
    for _ in range(3):
        target.pause()
        client.incr("counter")
        assert client.wait(1, 500) == 0
        target.resume()
        assert client.wait(1, 5000) == 1
    assert target.client().get("counter") == client.get("counter") == b"4"
    assert running.status()["reconnects"] == {}


def test_an_idle_source_sees_a_replica_that_is_up_to_date(server: Servers, target: Server, worker: Workers) -> None:
    """Online, lag of at most a second, and the offset goes along with the source's pings."""
    source = server(repl_ping_replica_period=1)
    running = worker(source, target)
    running.wait_state("streaming")
    source.client().set("key", 1)
    offsets, lags = set(), []

    def pinged() -> bool:
        info = source.info()
        replica = info["slave0"]
        assert info["connected_slaves"] == 1
        if replica["state"] == "online":
            lags.append(replica["lag"])
            assert replica["port"] == 0
            if replica["offset"] == info["master_repl_offset"]:
                offsets.add(replica["offset"])
        return len(offsets) > 3

    wait_until(pinged, "the acknowledged offset to follow some pings")
    # In whole seconds: as with a native replica, the moment before an acknowledgement can look like one more.
    assert median(lags) <= 1
    assert max(lags) <= 2
    assert running.wait_applied(source)["stream"]["lag_bytes"] == 0
    assert max(offsets) - min(offsets) >= 3 * 14  # bytes of a PING


@pytest.mark.parametrize("memory_limit", ["64MiB", "1MiB"])
def test_a_slow_target_during_the_snapshot(
    server: Servers, target: Server, worker: Workers, memory_limit: str
) -> None:
    """The target takes longer for the snapshot than the source's time-out: the link stays, over one full sync.

    With the larger limit the worker holds all that the source has sent, with the smaller the source cannot send it.
    """
    source = server(repl_timeout=2)
    client, random = source.client(), Random(1)
    for number in range(250):
        client.set(f"key:{number}", random.randbytes(10_000))
    with Proxy(target) as proxy, Writes(source, pause=0.02) as writes:
        proxy.set("up", bandwidth=500_000)
        running = worker(source, proxy.url, SHAKER_MEMORY_LIMIT=memory_limit)
        running.wait_state("snapshot")
        begin, acknowledged = time.monotonic(), set()

        def applied() -> bool:
            # Asked before the log is looked at: what is not in the log behind it was not applied before it.
            offset = source.info()["slave0"]["offset"]
            if running.events("snapshot applied"):
                return True
            acknowledged.add(offset)
            return False

        running.wait(applied, "the snapshot to be applied", 60)
        assert time.monotonic() > begin + 3.5
        assert acknowledged == {0}
        proxy.heal()
        writes.stop()
        status = running.wait_applied(source)

    assert differences(source, target) == []
    assert (status["full_syncs"], status["reconnects"], status["errors"]) == (1, {}, {})
    assert syncs(source) == (1, 0)


def test_nothing_is_acknowledged_before_the_snapshot_is_on_the_target(
    source: Server, target: Server, worker: Workers
) -> None:
    """WAIT does not count a worker that has received the snapshot but not delivered it."""
    client = source.client()
    client.set("key", Random(1).randbytes(1_000_000))
    with Proxy(target) as proxy:
        proxy.set("up", bandwidth=100_000)
        running = worker(source, proxy.url)
        running.wait(lambda: running.events("snapshot received"), "the snapshot to be received")
        client.incr("counter")
        assert client.wait(1, 1000) == 0
        assert target.client().exists("key") == 0
        proxy.heal()
        assert client.wait(1, 10_000) == 1
    assert target.client().get("counter") == b"1"
