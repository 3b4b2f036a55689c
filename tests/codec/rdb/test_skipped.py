"""Aggregates without elements are named, not given out as values; keys that had expired are left out."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from shaker.codec.rdb.crc64 import crc64
from shaker.codec.rdb.reader import SnapshotReader
from shaker.codec.rdb.skipped import without_expired
from shaker.model.entries import Entries, Entry, ExpiringString, LargeEntry
from tests.support.servers import Server
from tests.support.splits import every_cut

ZIPLIST = b"\x0b" + (11).to_bytes(4, "little") + (10).to_bytes(4, "little") + b"\x00\x00\xff"
LISTPACK = b"\x07" + (7).to_bytes(4, "little") + b"\x00\x00\xff"
FULL_LISTPACK = b"\x0a" + (10).to_bytes(4, "little") + b"\x01\x00\x81a\x02\xff"
INTSET = b"\x08" + (2).to_bytes(4, "little") + bytes(4)
SOONEST = bytes(8)
FAR = 4102444800123
# Type and value.
EMPTY: dict[str, tuple[int, bytes]] = {
    "list": (1, b"\x00"),
    "set": (2, b"\x00"),
    "old sorted set": (3, b"\x00"),
    "hash": (4, b"\x00"),
    "hash, a long zero": (4, b"\x80\x00\x00\x00\x00"),
    "sorted set": (5, b"\x00"),
    "ziplist": (10, ZIPLIST),
    "sorted ziplist": (12, ZIPLIST),
    "hash ziplist": (13, ZIPLIST),
    "quicklist": (14, b"\x00"),
    "quicklist of empty nodes": (14, b"\x03" + 3 * ZIPLIST),
    "hash listpack": (16, LISTPACK),
    "sorted listpack": (17, LISTPACK),
    "quicklist 2": (18, b"\x00"),
    "quicklist 2 of empty nodes": (18, b"\x40\x50" + 80 * (b"\x02" + LISTPACK)),
    "set listpack": (20, LISTPACK),
}
# Those that servers do not pass over: they take the snapshot for damaged, or are newer.
OTHERS: dict[str, tuple[int, bytes]] = {
    "zipmap": (9, b"\x02\x00\xff"),
    "intset": (11, INTSET),
    "hash with expiries": (24, SOONEST + b"\x00"),
    "hash listpack with expiries": (25, SOONEST + LISTPACK),
}
FULL: dict[str, tuple[int, bytes]] = {
    "string": (0, b"\x00"),
    "string like a listpack": (0, LISTPACK),
    "list": (1, b"\x01\x00"),
    "set listpack": (20, FULL_LISTPACK),
    "quicklist 2": (18, b"\x02\x02" + LISTPACK + b"\x02" + FULL_LISTPACK),
    "plain node": (18, b"\x01\x01" + LISTPACK),
}


def rdb(values: dict[str, tuple[int, bytes]], *, version: int = 11) -> bytes:
    """A snapshot of these keys, some of them with an expiry, in database 3."""
    body = b"REDIS%04d\xfe\x03" % version
    for number, (name, (kind, value)) in enumerate(values.items()):
        if number % 3 == 0:
            body += b"\xfc" + FAR.to_bytes(8, "little")
        if number % 5 == 0:
            body += b"\xf9\x07"
        body += bytes([kind, len(name)]) + name.encode() + value
    body += b"\xff"
    return body + crc64(body)


def read(pieces: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Return the names of all keys that come as values, and of those that are empty."""
    reader = SnapshotReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    found = [event for event in events if isinstance(event, Entries)]
    assert reader.done
    assert all(event.database == 3 for event in found)
    values = [
        key
        for event in found
        for key in (
            *event.strings[::2],
            *event.values[::2],
            *(each.key for each in event.expiring),
            *(each.key for each in event.entries),
        )
    ]
    return values, [key for event in found for key in event.empty]


def test_every_encoding() -> None:
    """Wherever the bytes are cut; what belonged to such a key does not go to the next one."""
    full = {f"full {name}": value for name, value in FULL.items()}
    mixed = list((EMPTY | OTHERS | full).items())
    random.Random(5).shuffle(mixed)
    data = rdb(dict(mixed), version=12)
    for pieces in every_cut(data, 20):
        values, empty = read(pieces)
        assert sorted(values) == sorted(name.encode() for name in full)
        assert sorted(empty) == sorted(name.encode() for name in EMPTY | OTHERS)


def test_what_belongs_to_an_empty_key_is_forgotten() -> None:
    """Its expiry and its use."""
    body = (
        b"REDIS0011" + b"\xfc" + FAR.to_bytes(8, "little") + b"\xf9\x07" + b"\x04\x01e\x00" + b"\x00\x01k\x01v\xff"
    )
    for pieces in every_cut(body + crc64(body)):
        events = [event for piece in pieces for event in SnapshotReader().feed(piece)] if len(pieces) == 1 else []
        for event in events:
            assert isinstance(event, Entries)
            assert (event.strings, event.expiring, event.entries, event.empty) == ([b"k", b"v"], [], [], (b"e",))


@pytest.mark.parametrize("name", ["redis-8.0", "valkey-8.1", "valkey-9.1"])
def test_servers_leave_them_out_too(name: str, server: Callable[..., Server]) -> None:
    """Each of them loads such a snapshot without these keys."""
    with Server(name, save="900 1") as started:
        started.client().set("k", "v")
        started.stop()
        (started.directory / "dump.rdb").write_bytes(rdb(EMPTY | {"k": (0, b"\x01v")}))
        started.start()
        assert started.client(db=3).keys() == [b"k"]


def test_expired_keys_are_counted() -> None:
    """Those that expired before the given time, to the millisecond."""
    expiring = [ExpiringString(b"a", b"v", 99), ExpiringString(b"b", b"v", 100)]
    entries = [Entry(b"c", b"p", 99, -1, -1), Entry(b"d", b"p", -1, 3, -1), Entry(b"e", b"p", 100, -1, -1)]
    found = without_expired(Entries(3, [b"s", b"v"], [b"t", b"p"], expiring, entries), 100)
    assert found == Entries(3, [b"s", b"v"], [b"t", b"p"], expiring[1:], entries[1:], (), 2)
    assert without_expired(found, 100) == found


def test_a_large_value_is_never_empty() -> None:
    """What comes in pieces comes as it is."""
    body = b"REDIS0011" + b"\x10\x01k\x80" + (10_000).to_bytes(4, "big") + bytes(10_000) + b"\xff"
    reader = SnapshotReader(large_above=1000)
    data = body + crc64(body)
    events = reader.feed(data[:600]) + reader.feed(data[600:])
    assert isinstance(events[0], LargeEntry)
