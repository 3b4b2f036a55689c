"""What the target does not take, in another database and over a distance: left out and named, the rest is applied."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.support.compare import differences
from tests.support.proxy import Proxy
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker

Workers = Callable[..., Worker]
LATENCY = 0.025  # each way
SMALL = "16MiB"  # a window of 4 MiB


@pytest.fixture
def far(server: Callable[..., Server], worker: Workers) -> Iterator[Callable[..., tuple[Server, Server, Worker]]]:
    """A worker in the stream between two servers, with a round trip of 50 ms to the target."""
    proxies: list[Proxy] = []

    def start(source_name: str = "redis-7.0", **settings: str) -> tuple[Server, Server, Worker]:
        source, target = server(source_name), server(**settings)
        proxy = Proxy(target)
        proxies.append(proxy.__enter__())
        proxy.set(latency=LATENCY)
        running = worker(source, proxy.url, SHAKER_MEMORY_LIMIT=SMALL, SHAKER_RETRY__MAX_SECONDS="0.5")
        running.wait_state("streaming")
        return source, target, running

    yield start
    for proxy in proxies:
        proxy.__exit__()


@pytest.mark.needs_servers("redis-8.0")
@pytest.mark.parametrize("database", [0, 4])
def test_a_large_transaction_with_a_command_that_is_not_known(
    far: Callable[..., tuple[Server, Server, Worker]], database: int
) -> None:
    """Applied but for that command, which is counted, by one more reading of the stream."""
    source, target, running = far("redis-8.0")
    pipeline = source.client(db=database).pipeline(transaction=True)
    for number in range(100):
        pipeline.set(f"key:{number}", "x" * 60_000)
    pipeline.execute_command("HSETEX", "hash", "EX", 1000, "FIELDS", 1, "f", "v")
    pipeline.execute()
    source.client(db=database).incr("after")
    running.wait_applied(source)

    assert target.client(db=database).get("after") == b"1"
    assert target.client(db=database).dbsize() - 2 * (database == 0) == 101
    code, reasons = running.get("/readyz")
    assert (code, "HSETEX" in reasons) == (503, True)
    status = running.status()
    assert (status["full_syncs"], status["partial_syncs"] <= 2) == (1, True)


@pytest.mark.parametrize("database", [0, 4])
def test_arguments_that_the_target_does_not_take(
    far: Callable[..., tuple[Server, Server, Worker]], database: int
) -> None:
    """A value beyond proto-max-bulk-len, held or in pieces; a record named late in a huge command."""
    source, target, running = far(proto_max_bulk_len="1mb")
    client = source.client(db=database)
    # They do not compress, so that no copy of them is below the limit.
    client.set("too:big", os.urandom(1_100_000))
    client.set("far:too:big", os.urandom(9_000_000))
    pairs = {f"key:{number}": "v" * 1000 for number in range(4000)}
    client.mset(pairs | {"shaker:checkpoint:default": "boom"})
    client.incr("after")
    running.wait_applied(source)

    copy = target.client(db=database)
    assert copy.get("after") == b"1"
    assert [key for key in ("too:big", "far:too:big", "key:0", "key:3999") if copy.exists(key)] == []
    assert target.client().type("shaker:checkpoint:default") == b"hash"
    assert running.status()["rejected_commands"] == 3
    assert running.get("/readyz")[0] == 503
    said = {(event["command"], event["key"]) for event in running.events("command rejected")}
    assert {("SET", "too:big"), ("SET", "far:too:big")} <= said


@pytest.mark.parametrize("database", [0, 4])
def test_deletions_reach_a_full_target(far: Callable[..., tuple[Server, Server, Worker]], database: int) -> None:
    """They free the memory that all else waits for."""
    source, target, running = far()
    client = source.client(db=database)
    client.mset({f"key:{number}": "x" * 10_000 for number in range(800)})
    running.wait_applied(source)
    target.client().config_set("maxmemory", 8 << 20)
    for number in range(790):
        client.delete(f"key:{number}")
    client.set("new", 1)

    wait_until(lambda: not differences(source, target), "both to be equal", 40)
    wait_until(lambda: running.status()["ready"], "the worker to be ready")
    assert running.status()["full_syncs"] == 1


def test_a_copy_that_the_target_does_not_take(
    far: Callable[..., tuple[Server, Server, Worker]],
) -> None:
    """A key that waits to be copied and is too large for one argument is named; the connection is not lost over it."""
    source, target, running = far(proto_max_bulk_len="1mb")
    running.terminate()
    running.wait_ended()
    target.client(db=4).sadd("shaker:copying:default", "big", "small")
    target.client().hset("shaker:checkpoint:default", "expiring", 1)
    source.client(db=4).set("small", 1)
    source.client(db=4).set("big", os.urandom(1_040_000))  # with what it takes beside its bytes
    source.client(db=4).append("big", os.urandom(60_000))
    running.start()
    running.wait_state("streaming")
    wait_until(lambda: target.client(db=4).exists("shaker:copying:default") == 0, "the keys to be settled")

    assert target.client(db=4).get("small") == b"1"
    assert [event["key"] for event in running.events("large key cannot be copied")] == ["big"]
    assert "big" in running.get("/readyz")[1]
    assert running.status()["reconnects"].get("target", 0) == 0
