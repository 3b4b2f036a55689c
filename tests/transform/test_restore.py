"""RESTORE requests run on real servers: values, expiries, use; records of workers left out; function libraries."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from shaker.codec.rdb import Entry
from shaker.transform.restore import LAST, functions_payload, restore_requests
from tests.servers import NAMES, Server
from tests.transform.conftest import exchange

FAR = 4102444800123  # an expiry of 2100, in milliseconds
KEYS = [b"string", b"list", b"hash", b"\r\n$-1\r\n\x00\xff", b"", b"k" * 1000]


def fill(server: Server) -> dict[bytes, bytes]:
    """Give the server one key of each name; return their DUMP payloads."""
    client = server.client()
    client.set(KEYS[0], b"\r\n" * 100)
    client.rpush(KEYS[1], *range(500))
    client.hset(KEYS[2], mapping={"field": "value"})
    for key in KEYS[3:]:
        client.set(key, b"of " + key)
    return {key: client.dump(key) for key in KEYS}


def restore(server: Server, entries: list[Entry]) -> list[bytes]:
    """Run the requests for the entries, all of which the server must accept; return the keys left out."""
    data, count, skipped = restore_requests(entries)[:3]
    assert count == len(entries) - len(skipped)
    assert exchange(server, data, count) == [b"OK"] * count
    return skipped


def expiry(server: Server, key: bytes) -> int:
    """Return the expiry in absolute milliseconds, up to the time that asking takes where it has to be computed."""
    client = server.client()
    if server.name != "redis-6.2":
        found: int = client.execute_command("PEXPIRETIME", key)
        return found
    left: int = client.pttl(key)
    return left if left < 0 else time.time_ns() // 1_000_000 + left


@pytest.mark.parametrize("name", NAMES)
def test_values_come_back(shared: Callable[[str], Server], name: str) -> None:
    """Keys of any bytes have the same value and no expiry, over what was there before."""
    server = shared(name)
    dumps = fill(server)
    client = server.client()
    client.flushall()
    client.sadd(KEYS[0], "another", "type")
    client.set(KEYS[1], "expiring", px=1_000_000)

    assert restore(server, [Entry(key, dumps[key], -1, -1, -1) for key in KEYS]) == []

    assert {key: client.dump(key) for key in KEYS} == dumps
    assert [client.pttl(key) for key in KEYS] == [-1] * len(KEYS)
    assert client.dbsize() == len(KEYS)


@pytest.mark.parametrize("name", NAMES)
def test_expiries_are_absolute(shared: Callable[[str], Server], name: str) -> None:
    """An expiry is a Unix time in milliseconds; past ones, 0 included, leave no key behind."""
    server = shared(name)
    payload = fill(server)[KEYS[0]]
    restore(server, [Entry(b"far", payload, FAR, -1, -1), Entry(b"soon", payload, FAR - 1, 7, -1)])
    margin = 5000 if name == "redis-6.2" else 0
    assert abs(expiry(server, b"far") - FAR) <= margin
    assert abs(expiry(server, b"soon") - (FAR - 1)) <= margin

    past = [
        Entry(b"zero", payload, 0, -1, -1),
        Entry(b"past", payload, 1000, -1, -1),
        Entry(b"far", payload, 5, -1, -1),
    ]
    restore(server, past)
    assert [server.client().exists(entry.key) for entry in past] == [0, 0, 0]


@pytest.mark.parametrize("name", NAMES)
def test_idle_time_is_kept(shared: Callable[[str], Server], name: str) -> None:
    """Where the snapshot tells when a key was last used, the target knows it."""
    server = shared(name)
    payload = fill(server)[KEYS[0]]
    restore(server, [Entry(b"idle", payload, FAR, 5000, -1), Entry(b"used", payload, -1, 0, -1)])
    client = server.client()
    assert 5000 <= client.object("IDLETIME", "idle") <= 5020
    assert client.object("IDLETIME", "used") <= 20
    assert client.pttl("idle") > 0
    assert client.pttl("used") == -1


@pytest.mark.parametrize("name", NAMES)
def test_frequency_is_kept(shared: Callable[[str], Server], name: str) -> None:
    """Where the snapshot tells how often a key is used, the target knows it."""
    server = shared(name)
    payload = fill(server)[KEYS[0]]
    client = server.client()
    client.config_set("maxmemory-policy", "allkeys-lfu")
    try:
        restore(server, [Entry(b"often", payload, -1, -1, 200), Entry(b"never", payload, FAR, -1, 0)])
        assert 199 <= client.object("FREQ", "often") <= 200
        assert client.object("FREQ", "never") == 0
    finally:
        client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize("name", NAMES)
def test_records_of_workers_are_left_out(shared: Callable[[str], Server], name: str) -> None:
    """Keys under the reserved prefix are told, not restored; the others around them are."""
    server = shared(name)
    payload = fill(server)[KEYS[0]]
    client = server.client()
    client.flushall()
    records = [b"shaker:fence:default", b"shaker:checkpoint:default", b"shaker:"]
    others = [b"shaker", b"xshaker:", b"Shaker:x", b"shake:r"]
    keys = [key for pair in zip(records, others, strict=False) for key in pair] + others[3:]

    assert restore(server, [Entry(key, payload, -1, -1, -1) for key in keys]) == records

    assert sorted(client.keys()) == sorted(others)
    assert restore_requests([Entry(records[0], payload, FAR, 1, 2)]) == (b"", 0, records[:1], [], [], LAST)
    assert restore_requests([]) == (b"", 0, [], [], [], LAST)


LIBRARIES = [
    b"#!lua name=one\nredis.register_function('first', function() return 1 end)\n",
    b"#!lua name=two\n-- \xff\r\n"
    + b"-- long\n" * 10_000
    + b"redis.register_function('second', function() return 2 end)",
]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "redis-6.2"])
def test_function_libraries(shared: Callable[[str], Server], name: str) -> None:
    """FUNCTION RESTORE takes the libraries, also twice, and their functions run."""
    client = shared(name).client()
    client.function_flush()
    payload = functions_payload(LIBRARIES)
    for _ in range(2):
        assert client.execute_command("FUNCTION", "RESTORE", payload, "REPLACE") == b"OK"
    assert client.fcall("first", 0) == 1
    assert client.fcall("second", 0) == 2
    client.function_flush()
    assert client.execute_command("FUNCTION", "RESTORE", functions_payload(LIBRARIES[:1])) == b"OK"
    assert len(client.function_list()) == 1


def test_no_libraries() -> None:
    """Without libraries there is nothing to restore."""
    assert functions_payload([]) == b""
