"""Snapshot and stream between servers of the same and of different versions."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.commands.sample import Load, seed
from tests.support.oracle import EXPIRY_TOLERANCE, differences
from tests.support.servers import NAMES, OLD, Server, wait_until
from tests.support.worker import Worker

Servers = Callable[..., Server]
Workers = Callable[..., Worker]

CROSS = (
    ("redis-5.0", "redis-7.0"),
    ("redis-5.0", "redis-8.0"),
    ("redis-5.0", "valkey-9.1"),
    ("redis-6.2", "redis-7.0"),
    ("redis-6.2", "valkey-9.1"),
    ("redis-7.0", "redis-8.0"),
    ("redis-7.0", "valkey-9.1"),
    ("redis-8.0", "valkey-9.1"),
    ("valkey-9.1", "redis-8.0"),
    ("valkey-8.1", "valkey-8.0"),
)
LIBRARY = "#!lua name={0}\nredis.register_function('{0}', function() return {1} end)"
FAR = 600_000  # milliseconds: no key of the load expires within a test


@pytest.mark.parametrize(("source_name", "target_name"), [(name, name) for name in NAMES] + [*CROSS])
def test_live_data_of_every_type_arrive(
    source_name: str, target_name: str, server: Servers, worker: Workers
) -> None:
    """Under a load of every kind of write, from before the snapshot until into the stream."""
    source, target = server(source_name), server(target_name)
    if source_name not in OLD:
        source.client().function_load(LIBRARY.format("before", 1))
    seed(source.client(), 2000, shortest_expiry=FAR)
    with Load(source.client(), rate=1000, shortest_expiry=FAR) as load:
        running = worker(source, target)
        running.wait_state("streaming")
        written = load.operations
        wait_until(lambda: load.operations > written + 300, "more writes in the stream")
        if source_name not in OLD:
            source.client().function_load(LIBRARY.format("later", 2))
            source.client().function_delete("before")
        load.stop()
        status = running.wait_applied(source)

    # Old servers send EXPIRE as it was given, in seconds from now, so each replica expires later by its lag.
    tolerance = 3000 if source_name in OLD else EXPIRY_TOLERANCE
    assert differences(source, target, tolerance=tolerance) == []
    assert (status["full_syncs"], status["rejected_commands"], status["reasons"]) == (1, 0, [])
    assert source.client(db=1).dbsize() > 0


@pytest.mark.needs_servers("valkey-9.1")
def test_names_of_commands_in_lower_case(server: Servers, worker: Workers) -> None:
    """Valkey 9.1 sends `ping` as it is written here, and the effects of a script as the script writes them."""
    source, target = server("valkey-9.1", repl_ping_replica_period=1), server()
    running = worker(source, target)
    running.wait_state("streaming")
    client = source.client()

    client.eval("redis.call('set', 'key', 'value') redis.call('incr', 'number') return 1", 0)
    client.eval("redis.call('select', 4) redis.call('lpush', 'list', 'item') return 1", 0)
    offset = source.offset()

    wait_until(lambda: source.offset() > offset, "a ping of the source")
    running.wait_applied(source)
    assert differences(source, target) == []
    assert target.client().get("number") == b"1"
    assert target.client(db=4).lrange("list", 0, -1) == [b"item"]
