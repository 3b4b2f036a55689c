"""Commands that a source sends to its replicas in forms, or under limits, that only a primary meets."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.compare import differences
from tests.support.servers import NAMES, Server
from tests.support.worker import Worker

LARGE = 6_000_000  # more than what is held of one command
LIBRARY = b"#!lua name=lib\nredis.register_function('answer', function() return 42 end)\n"
ACROSS = [
    ("redis-8.0", "redis-7.0"),
    ("redis-8.0", "valkey-8.0"),
    ("redis-8.0", "valkey-9.1"),
    ("valkey-9.1", "redis-8.0"),
    ("valkey-8.1", "redis-7.0"),
    ("redis-6.2", "valkey-9.1"),
]


@pytest.mark.parametrize("database", [0, 3])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "redis-5.0"])
def test_approximate_trimming_with_a_limit(
    name: str, database: int, server: Callable[..., Server], worker: Callable[..., Worker]
) -> None:
    """Alone, in transactions and scripts, and with a huge entry."""
    source, target = server(name, stream_node_max_entries="10"), server(name)
    client = source.client(db=database)
    running = worker(source, target)
    running.wait_state("streaming")

    for number in range(300):
        client.execute_command("XADD", "s", f"{number + 1}-0", "n", number)
    for number in range(20):
        client.execute_command("XADD", "s", "MAXLEN", "~", 250 - number, "LIMIT", 20, "*", "limit", "LIMIT")
        client.execute_command("XTRIM", "s", "MAXLEN", "~", 240 - number, "LIMIT", 10)
    client.execute_command("xadd", "s", "minid", "~", "100-0", "limit", 10, "*", "m", 1)
    pipeline = client.pipeline(transaction=True)
    pipeline.execute_command("XADD", "s", "NOMKSTREAM", "MAXLEN", "~", 60, "LIMIT", 30, "*", "m", 1)
    pipeline.incr("n")
    pipeline.execute()
    client.eval("return redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', 50, 'LIMIT', 10)", 1, "s")
    client.execute_command("XADD", "s", "MAXLEN", "~", 40, "LIMIT", 10, "*", "f", b"v" * LARGE)
    status = running.wait_applied(source)

    assert status["rejected_commands"] == 0
    assert differences(source, target) == []


@pytest.mark.parametrize("database", [0, 3])
@pytest.mark.parametrize(("one", "other"), ACROSS)
def test_payloads_of_another_version(
    one: str, other: str, database: int, server: Callable[..., Server], worker: Callable[..., Worker]
) -> None:
    """RESTORE in the stream, small and huge, with and without an expiry; FUNCTION RESTORE."""
    source, target = server(one), server(other)
    client = source.client(db=database)
    running = worker(source, target)
    running.wait_state("streaming")

    client.rpush("list", *range(1000))
    client.set("string", "x")
    client.hset("hash", "f", "v" * 100)
    client.setrange("large", LARGE, "end")
    for key in ("list", "string", "hash", "large"):
        payload = client.dump(key)
        client.restore(f"{key}:2", 0, payload)
        if one != "redis-6.2" or key != "large":  # whose relative expiry begins when it has been received
            client.restore(f"{key}:3", 500_000, payload)
        client.restore("list", 0, payload, replace=True)
    pipeline = client.pipeline(transaction=True)
    pipeline.restore("string:4", 0, client.dump("string"))
    pipeline.incr("n")
    pipeline.execute()
    if one != "redis-6.2":
        client.function_load(LIBRARY)
        dumped = client.execute_command("FUNCTION", "DUMP")
        client.function_flush()
        client.execute_command("FUNCTION", "RESTORE", dumped)
    status = running.wait_applied(source)

    assert status["rejected_commands"] == 0
    running.wait_status(lambda document: not document["expiries"]["pending"], "expiries to be settled")
    if one == "redis-6.2":
        target.client().function_flush()
    assert differences(source, target) == []


@pytest.mark.parametrize("database", [0, 3])
@pytest.mark.parametrize("name", NAMES)
def test_strings_beyond_the_target_s_limit_are_named(
    name: str, database: int, server: Callable[..., Server], worker: Callable[..., Worker]
) -> None:
    """What makes a string longer than the target's clients may: rejected, counted, and in the way of ready."""
    if name in ("redis-5.0", "redis-6.2"):
        pytest.skip("there the limit of strings is fixed")
    source, target = server(name), server(name, proto_max_bulk_len="1mb")
    client = source.client(db=database)
    running = worker(source, target)
    running.wait_state("streaming")

    client.setrange("range", 1 << 21, "x")
    client.setbit("bit", 1 << 24, 1)
    client.execute_command("BITFIELD", "field", "SET", "u8", 1 << 24, 7)
    client.set("long", "x" * 1_000_000)
    client.append("long", "y" * 100_000)
    client.set("last", 1)
    status = running.wait_applied(source)

    assert status["rejected_commands"] == 4
    code, body = running.get("/readyz")
    assert (code, "APPEND long" in body) == (503, True)
    logged = " ".join(str(event) for event in running.log)
    assert all(f"'{key}'" in logged or f" {key}" in logged for key in ("range", "bit", "field", "long"))
    assert target.client(db=database).get("last") == b"1"
