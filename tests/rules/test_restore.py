"""RESTORE requests run on real servers: values, expiries, use; records of workers left out; function libraries."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from shaker.model.entries import Entries, Entry, ExpiringString, LargeEntry
from shaker.rules.expiry import NEVER
from shaker.rules.record_keys import without_records
from shaker.rules.restore import (
    MSET_BYTES,
    MSET_KEYS,
    TABLE_SIZE,
    large_restore,
    names,
    restore_requests,
)
from tests.rules.conftest import exchange
from tests.support.outcome import requests
from tests.support.rdb_bytes import entries_of
from tests.support.servers import NAMES, Server

MARGIN = 7000
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
    skipped: list[bytes] = []
    data, count, keys = restore_requests(without_records(entries_of(*entries), skipped))[:3]
    assert count == keys == len(entries) - len(skipped)
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
    """Their keys are told, not restored; the others around them are."""
    server = shared(name)
    payload = fill(server)[KEYS[0]]
    client = server.client()
    client.flushall()
    records = [b"shaker:fence:default", b"shaker:checkpoint:default", b"shaker:copying:a"]
    others = [b"shaker", b"shaker:", b"shaker:x", b"shake:r"]
    keys = [key for pair in zip(records, others, strict=False) for key in pair] + others[3:]

    assert restore(server, [Entry(key, payload, -1, -1, -1) for key in keys]) == records

    assert sorted(client.keys()) == sorted(others)
    assert restore_requests(entries_of()) == (b"", 0, 0, [], [])


@pytest.mark.parametrize("name", NAMES)
def test_keys_without_expiry(shared: Callable[[str], Server], name: str) -> None:
    """Strings and other values of any size replace what was there, its type and its expiry too."""
    server = shared(name)
    client = server.client()
    client.flushall()
    lists = {b"list:%d" % size: [b"x" * size] for size in (0, 1, TABLE_SIZE - 1, TABLE_SIZE, 100_000)}
    lists[b"l" * TABLE_SIZE] = [b"long name"]
    for key, items in lists.items():
        client.rpush(key, *items)
    values = [part for key in lists for part in (key, client.dump(key))]
    sizes = (0, 1, 44, TABLE_SIZE - 1, TABLE_SIZE, MSET_BYTES, MSET_BYTES + 1, 3)
    strings = {b"string:%d" % number: b"\r\n"[: size % 2] + b"v" * size for number, size in enumerate(sizes)}
    strings |= {b"": b"empty", b"s" * TABLE_SIZE: b"long", b"number": b"-12", **dict.fromkeys(KEYS, b"over")}
    client.flushall()
    client.set("string:0", "before", px=1_000_000)
    client.rpush("string:1", "another", "type")
    client.set("list:0", "before", px=1_000_000)

    found = restore_requests(Entries(0, [part for pair in strings.items() for part in pair], values, [], []))
    assert exchange(server, found.data, found.requests) == [b"OK"] * found.requests
    assert found.keys == len(strings) + len(lists)

    assert {key: client.get(key) for key in strings} == strings
    assert {key: client.lrange(key, 0, -1) for key in lists} == lists
    assert client.dbsize() == found.keys
    assert [client.pttl(key) for key in (*strings, *lists)] == [-1] * found.keys
    assert client.object("ENCODING", "number") in (b"int", "int")
    assert names(
        Entries(
            0,
            [b"a", b"1", b"b", b"2"],
            [b"c", b"payload"],
            [ExpiringString(b"d", b"v", 1)],
            [Entry(b"e", b"", 1, 2, 3)],
        )
    ) == [*(b"a", b"b", b"c", b"d", b"e")]


def test_how_many_strings_a_request_takes() -> None:
    """So many keys, or so many bytes and what comes behind: then the next one begins."""

    def arguments(sizes: list[int]) -> list[int]:
        strings = [part for size in sizes for part in (b"k", b"v" * size)]
        found = restore_requests(Entries(0, strings, [], [], []))
        asked = requests(found.data)
        assert (len(asked), sum(len(one) // 2 for one in asked)) == (found.requests, found.keys)
        assert {one[0] for one in asked} <= {b"MSET"}
        return [len(one) // 2 for one in asked]

    assert arguments([]) == []
    assert arguments([1] * MSET_KEYS) == [MSET_KEYS]
    assert arguments([1] * (2 * MSET_KEYS + 1)) == [MSET_KEYS, MSET_KEYS, 1]
    assert arguments([MSET_BYTES] * 3) == [1, 1, 1]
    assert arguments([MSET_BYTES // 2] * 5) == [2, 2, 1]


# --- expiries that are put off ---

NEAR = FAR - 1_000_000
UNTIL = FAR + 1_000_000


@pytest.mark.parametrize("name", NAMES)
def test_near_expiries_are_put_off(shared: Callable[[str], Server], name: str) -> None:
    """Those below `near` get `until` and are reported, past ones too; all others get the margin."""
    server = shared(name)
    payload = fill(server)[KEYS[0]]
    expiries = {
        b"zero": 0,
        b"past": 5,
        b"near": NEAR - 1,
        b"at": NEAR,
        b"far": FAR,
        b"none": -1,
    }
    entries = [Entry(key, payload, at, -1, -1) for key, at in expiries.items()]
    found = restore_requests(entries_of(*entries), NEAR, UNTIL, MARGIN)

    assert exchange(server, found.data, found.requests) == [b"OK"] * 6
    assert found.requests == 6
    assert (found.waiting, found.copying) == ([b"zero", b"past", b"near"], [])
    margin = 5000 if name == "redis-6.2" else 0
    for key in (b"zero", b"past", b"near"):
        assert abs(expiry(server, key) - UNTIL) <= margin
    assert abs(expiry(server, b"at") - NEAR - MARGIN) <= margin
    assert abs(expiry(server, b"far") - FAR - MARGIN) <= margin
    assert expiry(server, b"none") == -1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("near", [0, NEAR])
def test_strings_that_expire(shared: Callable[[str], Server], name: str, near: int) -> None:
    """They replace what was there, and are put off like all others; without that, past ones leave no key."""
    server = shared(name)
    client = server.client()
    client.flushall()
    client.rpush("far", "another type")
    expiries = {b"zero": 0, b"past": 5, b"near": NEAR - 1, b"at": NEAR, b"far": FAR}
    strings = [ExpiringString(key, b"\r\n" + key, at) for key, at in expiries.items()]
    found = restore_requests(Entries(0, [], [], strings, []), near, UNTIL)

    assert exchange(server, found.data, found.requests) == [b"OK"] * found.requests
    assert (found.requests, found.keys, found.copying) == (5, 5, [])
    assert found.waiting == ([b"zero", b"past", b"near"] if near else [])
    margin = 5000 if name == "redis-6.2" else 0
    for key, at in expiries.items():
        if at < 10 and not near:
            assert client.get(key) is None
        else:
            assert client.get(key) == b"\r\n" + key
            assert abs(expiry(server, key) - (UNTIL if at < near else at)) <= margin


def test_nothing_is_put_off_where_nothing_is_near() -> None:
    """As for a snapshot alone: the requests are those of an expiry without more."""
    entries = [
        Entry(b"k", b"\0\0", at, idle, frequency) for at, idle, frequency in ((5, -1, -1), (0, 3, -1), (9, -1, 4))
    ]
    entries.append(Entry(b"h", bytes([22]), 7, -1, -1))
    found = restore_requests(entries_of(*entries), NEVER, UNTIL)
    assert found == restore_requests(entries_of(*entries))
    assert (found.waiting, found.copying) == ([], [])


def test_use_is_kept_beside_a_put_off_expiry() -> None:
    """IDLETIME and FREQ stand behind the time, whatever it is."""
    for idle, frequency, option in ((7, -1, b"IDLETIME"), (-1, 7, b"FREQ")):
        found = restore_requests(entries_of(Entry(b"k", b"\0\0", 5, idle, frequency)), NEAR, UNTIL)
        assert b"%d\r\n" % UNTIL in found.data
        assert option in found.data
        assert found.waiting == [b"k"]


def fields(server: Server, expiring: dict[str, dict[str, int]]) -> dict[str, bytes]:
    """Make hashes whose fields expire at these times; return their payloads."""
    client = server.client()
    client.flushall()
    for key, times in expiring.items():
        client.hset(key, mapping={**dict.fromkeys(times, "x"), "without": 1})
        for one, at in times.items():
            client.execute_command("HPEXPIREAT", key, at, "FIELDS", 1, one)
    return {key: client.dump(key) for key in expiring}


@pytest.mark.parametrize(("name", "kinds"), [("redis-8.0", {16, 24, 25}), ("valkey-9.1", {16, 22})])
def test_hashes_whose_fields_expire(shared: Callable[[str], Server], name: str, kinds: set[int]) -> None:
    """Their payload cannot be put off: those with a field that is near, or that do not tell, are to be copied."""
    many = {f"f{number}": FAR + number for number in range(600)}
    payloads = fields(
        shared(name),
        {"near": {"a": FAR, "b": NEAR - 1}, "many near": {**many, "x": NEAR - 1}, "at": {"a": FAR, "b": NEAR},
         "far": {"a": FAR}, "many far": many, "plain": {}},
    )  # fmt: skip
    assert {payload[0] for payload in payloads.values()} == kinds
    for key, payload in payloads.items():
        found = restore_requests(entries_of(Entry(key.encode(), payload, -1, -1, -1)), NEAR, UNTIL)
        assert found.copying == ([key.encode()] if "near" in key else [])
        assert found.waiting == []
        assert restore_requests(entries_of(Entry(key.encode(), payload, -1, -1, -1))).copying == []


@pytest.mark.parametrize("name", ["redis-8.0", "valkey-9.1"])
def test_a_hash_is_put_off_by_its_own_expiry(shared: Callable[[str], Server], name: str) -> None:
    """Beside that of its fields, which is a reason of its own."""
    payload = fields(shared(name), {"h": {"a": NEAR - 5}})["h"]
    found = restore_requests(entries_of(Entry(b"h", payload, NEAR - 2, -1, -1)), NEAR, UNTIL)
    assert (found.waiting, found.copying) == ([b"h"], [b"h"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("at", [-1, 0, 5, FAR])
@pytest.mark.parametrize("until", [0, UNTIL])
def test_a_value_in_pieces_is_put_off(shared: Callable[[str], Server], name: str, at: int, until: int) -> None:
    """What stands before and behind the payload makes one RESTORE with the expiry put off, or as it is."""
    server = shared(name)
    payload = fill(server)[KEYS[0]]
    for idle, frequency in ((-1, -1), (7, -1)):
        head, tail = large_restore(LargeEntry(0, b"large", len(payload), at, idle, frequency), until)
        assert exchange(server, head + payload + tail, 1) == [b"OK"]
        margin = 5000 if name == "redis-6.2" else 0
        if until:
            assert abs(expiry(server, b"large") - until) <= margin
        elif at in (0, 5):
            assert expiry(server, b"large") == -2
        else:
            assert abs(expiry(server, b"large") - at) <= (margin if at > 0 else 0)
