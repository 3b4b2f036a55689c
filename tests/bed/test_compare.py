"""The oracle and the verification find a planted difference of each kind, and none where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis

from shaker.commands.sample import Load, seed
from tests.support import compare, oracle
from tests.support.servers import OLD, Server

Make = Callable[..., Server]

# What is planted on the target, and a word of what must be reported.
PLANTED: dict[str, tuple[tuple[object, ...], str]] = {
    "string": (("APPEND", "string", "x"), "value differs"),
    "list order": (("LMOVE", "list", "list", "LEFT", "RIGHT"), "value differs"),
    "set member": (("SADD", "set", "x"), "value differs"),
    "hash field": (("HSET", "hash", "one", "x"), "value differs"),
    "zset score": (("ZINCRBY", "zset", "0.5", "one"), "value differs"),
    "stream entry": (("XADD", "stream", "9-9", "a", "b"), "key b'stream'"),
    "group": (("XGROUP", "CREATE", "stream", "more", "0"), "stream differs in groups"),
    "consumer": (("XGROUP", "CREATECONSUMER", "stream", "readers", "new"), "stream differs in groups"),
    "pending": (("XACK", "stream", "readers", "1-1"), "stream differs in groups"),
    "last id": (("XSETID", "stream", "99-99"), "stream differs in last-generated-id"),
    "missing": (("DEL", "string"), "missing on the target"),
    "extra": (("SET", "new", "x"), "only on the target"),
    "expiry gone": (("PERSIST", "expiring"), "expires at"),
    "expiry new": (("EXPIRE", "string", "1000"), "expires at"),
    "type": (("COPY", "list", "string", "REPLACE"), "type is string on the source and list on the target"),
}
SINCE_7: dict[str, tuple[tuple[object, ...], str]] = {
    "expiry one millisecond earlier": (("PEXPIREAT", "expiring", "99999999999997"), "expires at 99999999999998"),
    "expiry beyond any margin": (("PEXPIREAT", "expiring", "100000000009999"), "expires at 99999999999998"),
    "function": (("FUNCTION", "DELETE", "library"), "functions"),
}
# How the verification names them.
KINDS = {"missing": "missing", "extra": "extra", "type": "type", "expiry gone": "expiry", "expiry new": "expiry"}
KINDS |= dict.fromkeys(SINCE_7, "expiry") | {"function": "function"}
# It does not count consumers with nothing pending, which servers do not always replicate.
NOT_REPLICATED = {"consumer"}
AGAIN = (0.01,)  # seconds to the second look of a test that expects a difference
FIELD_EXPIRY: dict[str, tuple[tuple[object, ...], str]] = {
    "field expiry": (("HPEXPIREAT", "hash", "9999999999999", "FIELDS", "1", "two"), "expiries of fields differ"),
}


def _fill(client: redis.Redis, *, functions: bool) -> None:
    for command in (
        "SET string value",
        "RPUSH list one two three",
        "SADD set one two three",
        "HSET hash one 1 two 2",
        "ZADD zset 1.5 one 2 two",
        "XADD stream 1-1 field value",
        "XADD stream 1-2 field value",
        "XGROUP CREATE stream readers 0",
        "XREADGROUP GROUP readers reader STREAMS stream >",
        "SET expiring value",
        "PEXPIREAT expiring 99999999999998",
        "SET shaker:fence:mine 1",
    ):
        client.execute_command(*command.split())
    if functions:
        client.function_load("#!lua name=library\nredis.register_function('f', function() return 1 end)")


@pytest.mark.parametrize(
    ("source_name", "target_name"),
    [
        ("redis-7.0", "redis-7.0"),
        ("redis-6.2", "redis-7.0"),
        ("redis-6.2", "redis-6.2"),
        ("redis-5.0", "redis-8.0"),
        ("valkey-9.1", "redis-8.0"),
    ],
)
def test_every_planted_difference_is_found(server: Make, source_name: str, target_name: str) -> None:
    """Also where the versions differ and digests cannot be used."""
    source, target = server(source_name), server(target_name)
    old = source_name in OLD
    planted = PLANTED | ({} if old else SINCE_7) | (FIELD_EXPIRY if source_name == "valkey-9.1" else {})
    now = time.time()
    for name, (command, expected) in planted.items():
        for side in (source, target):
            side.client().flushall()
            if not old:
                side.client().function_flush()
            _fill(side.client(), functions=not old)
            # The delivery time is part of a pending entry: fix it.
            side.client().execute_command(
                "XCLAIM", "stream", "readers", "reader", 0, "1-1", "1-2", "TIME", int(now * 1000)
            )
        target.client().set("shaker:fence:mine", "2")
        assert oracle.differences(source, target) == [], name
        assert compare.differences(source, target) == [], name

        target.client().execute_command(*command)

        found = oracle.differences(source, target)
        assert len(found) == 1, (name, found)
        assert expected in found[0], (name, found)
        proven = compare.differences(source, target, delays=AGAIN)
        if name in NOT_REPLICATED:
            assert proven == []
        else:
            assert len(proven) == 1, (name, proven)
            assert f": {KINDS.get(name, 'value')}" in proven[0], (name, proven)


def test_all_databases_are_compared(source: Server, target: Server) -> None:
    """A key in the wrong database is two differences."""
    source.client(db=9).set("key", 1)
    target.client(db=0).set("key", 1)

    found = oracle.differences(source, target)
    proven = compare.differences(source, target, delays=AGAIN)

    assert proven == [
        "database 0 key b'key': extra, only on the target",
        "database 9 key b'key': missing, not on the target",
    ]
    assert found == ["database 0 key b'key': only on the target", "database 9 key b'key': missing on the target"]


@pytest.mark.parametrize("name", ["redis-7.0", "valkey-9.1"])
def test_a_native_replica_is_equal_after_load_of_every_kind(server: Make, name: str) -> None:
    """Neither reports a difference where Redis itself makes none, near expiries included."""
    source, target = server(name), server(name)
    seed(source.client(), 20_000, 3)
    target.replicate(source)
    with Load(source.client(), rate=None) as load:
        time.sleep(1.0)  # the load itself is what is waited for
    target.wait_replica(source)
    target.detach()

    assert load.operations > 1000
    assert compare.differences(source, target) == []
    assert oracle.differences(source, target) == []
