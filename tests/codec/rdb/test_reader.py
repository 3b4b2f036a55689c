"""Snapshots written by hand: what no server at hand writes, what must be refused, and how refusals speak."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from shaker.codec.rdb.reader import SnapshotReader
from shaker.errors import CorruptError, UnfaithfulError
from shaker.model.entries import Aux, Entries, Entry, ExpiringString, Library, Resize
from tests.support.rdb_bytes import keys, length, payload, rdb, read, string
from tests.support.servers import NAMES, Server

MODULE_ID = int.from_bytes(b"\x20\x00\x00\x00\x00\x00\x04\x01", "big")  # "IAAAAAAAB", version 1
VALKEY = b"VALKEY080"


# Encodings that only servers before Redis 5 write: type, value, how to read it back, what must come.
ZIPLIST = b"\x10\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\xf2\xff"
OLD = [
    (1, length(3) + string(b"a") + b"\xc0\x05" + string(b""), ("LRANGE", "k", 0, -1), [b"a", b"5", b""]),
    (
        3,
        length(4)
        + string(b"a")
        + b"\x031.5"
        + string(b"b")
        + b"\xfe"
        + string(b"c")
        + b"\xff"
        + string(b"d")
        + b"\x010",
        ("ZRANGE", "k", 0, -1, "WITHSCORES"),
        [b"c", b"-inf", b"d", b"0", b"a", b"1.5", b"b", b"inf"],
    ),
    (9, string(b"\x01\x01f\x02\x00vv\xff"), ("HGET", "k", "f"), b"vv"),
    (10, string(ZIPLIST), ("LRANGE", "k", 0, -1), [b"a", b"1"]),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("number", "value", "command", "expected"), OLD)
def test_old_encodings(
    shared: Callable[[str], Server],
    name: str,
    number: int,
    value: bytes,
    command: tuple[object, ...],
    expected: object,
) -> None:
    """Servers still take them, so their lengths are what we think they are."""
    data = rdb(bytes([number]) + string(b"k") + value + b"\x00\x01z\x01z")
    events = read(data)
    assert read(data, 1) == events
    found = keys(events)
    assert found.keys() == {(0, b"k"), (0, b"z")}
    with shared(name).client(legacy_responses=True, protocol=2) as client:
        client.restore("k", 0, found[0, b"k"].payload)
        client.connection_pool.reset()
        answer = client.execute_command("EVAL", "return redis.call(unpack(ARGV))", 0, *command)
    assert answer == expected


def test_everything_that_is_no_key() -> None:
    body = (
        b"\xfa" + string(b"redis-ver") + string(b"7.0")
        + b"\xfa" + string(b"number") + b"\xc1\x39\x30"
        + b"\xfa" + string(b"compressed") + b"\xc3\x05\x41\x09\x00a\xe0\xff\x00"
        + b"\xf7" + length(MODULE_ID) + b"\x02\x01" + b"\x05" + string(b"data") + b"\x03\0\0\0\0" + b"\x00"
        + b"\xf5" + string(b"#!lua name=x\n")
        + b"\xfe\x05"
        + b"\xfb\x40\x80\x01"
        + b"\xf4\x01\x02\x03"
        + b"\xfd\x01\x00\x00\x00" + b"\x00\x01a\x01b"
        + b"\xfc\xff\xff\xff\xff\xff\xff\xff\x7f" + b"\xf8\x41\x00" + b"\x00\x01c\x01d"
        + b"\xf9\xff" + b"\x00\x01e\x00"
        + b"\xfe\x80\x00\x01\x00\x00" + b"\x00\x01f\x01g"
    )  # fmt: skip
    expected = [
        Aux(b"redis-ver", b"7.0"),
        Aux(b"number", b"12345"),
        Aux(b"compressed", b"a" * 265),
        Aux(b"module-aux", b"IAAAAAAAB"),
        Library(b"#!lua name=x\n"),
        Resize(5, 128, 1),
        Entries(
            5,
            [],
            [],
            [ExpiringString(b"a", b"b", 1000)],
            [
                Entry(b"c", payload(0, b"\x01d", 6), 2**63 - 1, 256, -1),
                Entry(b"e", payload(0, b"\x00", 6), -1, -1, 255),
            ],
            version=11,
        ),
        Entries(65536, [b"f", b"g"], [], [], [], version=11),
    ]
    data = rdb(body)
    assert read(data) == expected
    assert read(data, 1) == expected


MODULE_VALUE = (
    length(MODULE_ID) + b"\x01\x3f" + b"\x02\x81\xff\xff\xff\xff\xff\xff\xff\xff" + b"\x03abcd" + b"\x04abcdefgh"
    + b"\x05" + string(b"x" * 100) + b"\x05\xc0\x01" + b"\x00"
)  # fmt: skip


@pytest.mark.parametrize(
    ("header", "number", "value", "version"),
    [
        (b"REDIS0009", 7, MODULE_VALUE, 8),
        (b"REDIS0009", 7, length(MODULE_ID) + b"\x00", 8),
        (b"REDIS0011", 18, b"\x02\x01\x03big\x02\x05listp", 10),
        (b"REDIS0012", 24, b"12345678" + b"\x02" + b"\x00\x01f\x01v" + b"\x05\x01g\x01w", 12),
        (b"REDIS0012", 25, b"12345678" + b"\x05abcde", 12),
        (b"VALKEY080", 22, b"\x02" + b"\x01f\x01v" + b"12345678" + b"\x01g\x01w" + b"\xff" * 8, 80),
        (b"VALKEY081", 23, b"\x02" + b"\x02/a\x02\x01f\x01v\x01g\x01w" + b"\x02/b\x01\x01f\x01v", 81),
        # One group; then idempotent messages of one producer.
        (
            b"REDIS0013", 26,
            b"\x00" + bytes(8) + b"\x01" + b"\x01h\x01\x02\x03\x00\x00"
            + b"\x40\x64\x05\x01" + b"\x01p\x02" + b"\x01m\x05\x01" + b"\x01n\x06\x01" + b"\x02\x07",
            13,
        ),
        # One group with an entry that no consumer holds.
        (
            b"REDIS0014", 27,
            b"\x00" + bytes(8) + b"\x01" + b"\x01h\x01\x02\x03" + b"\x01" + b"i" * 16 + b"t" * 8 + b"\x01"
            + b"\x00" + b"\x01" + b"i" * 16 + b"\x40\x64\x05\x00\x02\x07",
            14,
        ),
        (b"REDIS0011", 15, b"\x01\x03abc\x03def\x01\x05\x06\x00", 9),
        # Two groups: one with a pending entry of a consumer, one without anything.
        (
            b"REDIS0011", 21,
            b"\x00" + bytes(8) + b"\x02" + b"\x01g\x01\x02\x03" + b"\x01" + b"i" * 16 + b"t" * 8 + b"\x01"
            + b"\x01" + b"\x05alice" + b"s" * 8 + b"a" * 8 + b"\x01" + b"i" * 16 + b"\x01h\x01\x02\x03\x00\x00",
            11,
        ),
    ],
)  # fmt: skip
def test_values_are_copied_whole(header: bytes, number: int, value: bytes, version: int) -> None:
    """The value comes as it is, and what follows it is found; the payload has the lowest version of its type."""
    data = rdb(bytes([number]) + b"\x01k" + value + b"\x00\x01z\x01y", header)
    made = payload(number, value, version)
    newer = number >= 22
    expected = [
        Entries(
            0,
            [b"z", b"y"],
            [] if newer else [b"k", made],
            [],
            [Entry(b"k", made, -1, -1, -1)] if newer else [],
            version=int(header[-2:]),
            rare=newer or number == 7,
        )
    ]
    for step in range(len(data)):
        assert read(data, step) == expected


def test_checksum_disabled() -> None:
    data = rdb(b"\x00\x01k\x01v")
    reader = SnapshotReader()
    reader.feed(data[:-8] + bytes(8) + b"tail")
    assert reader.done
    assert reader.rest() == b"tail"
    assert reader.feed(b" and more") == []
    assert reader.rest() == b"tail and more"
    assert reader.consumed == len(data)


@pytest.mark.parametrize("step", [0, 1, 7])
def test_wrong_checksum(step: int) -> None:
    """A flipped bit of a value, which no length betrays, is found by the checksum."""
    data = bytearray(rdb(b"\x00\x01k\x05value"))
    data[14] ^= 1
    reader = SnapshotReader()
    with pytest.raises(CorruptError, match=r"CRC-64 is [0-9a-f]{16} but should be [0-9a-f]{16}"):
        read(bytes(data), step, reader)
    assert not reader.done


SELECT_9 = b"\xfe\x09"
NAMED = SELECT_9 + b"\x00\x01a\x01b"
REFUSED = [
    (b"REDIS0011", b"\x1c\x03foo", "type 28 of key 'foo' in database 9, byte 16 of the snapshot: unknown"),
    (b"REDIS0011", b"\x06\x03foo", "type 6 of key 'foo' in database 9, byte 16 of the snapshot: a module value"),
    (
        b"REDIS0012",
        b"\x16\x03foo",
        "type 22 of key 'foo' in database 9, byte 16 .* release candidate of Redis 7.4",
    ),
    (b"REDIS0012", b"\x17\x03foo", "type 23 of key 'foo'"),
    (b"REDIS0011", b"\x08\x03foo", "type 8 of key 'foo'"),
    (VALKEY, b"\x18\x03foo", "type 24 of key 'foo' in database 9, byte 16 of the snapshot: unknown"),
    (b"REDIS0011", b"\x1c\x40\xc8" + b"k" * 200, r"key 'k{128}'\.\.\. \(200 bytes\) in database 9"),
    (b"REDIS0011", b"\x1c\xc8", "type 28 in database 9, byte 16"),
    (b"REDIS0011", b"\xf6", "opcode 246 in database 9, byte 16 of the snapshot: a function of a release candidate"),
    (b"REDIS0013", b"\xf3", "opcode 243 in database 9, byte 16 of the snapshot: metadata that a module"),
    (VALKEY, b"\xf2", "opcode 242 in database 9, byte 16 of the snapshot: a command within a snapshot"),
    (VALKEY, b"\xf3", "opcode 243 in database 9, byte 16 of the snapshot: an atomic slot migration"),
    (b"REDIS0011", b"\xf2", "opcode 242 in database 9, byte 16 of the snapshot: unknown"),
    (b"REDIS0011", b"\x80", "opcode 128 in database 9, byte 16"),
]


@pytest.mark.parametrize(("header", "body", "what"), REFUSED)
def test_what_is_unknown_is_named(header: bytes, body: bytes, what: str) -> None:
    """An unknown number ends the snapshot, naming number, key, database and offset, and does so for good."""
    for step in (0, 1):
        reader = SnapshotReader()
        with pytest.raises(UnfaithfulError, match=what) as raised:
            read(rdb(NAMED + body, header), step, reader)
        assert not isinstance(raised.value, CorruptError)
        with pytest.raises(UnfaithfulError, match=what):
            reader.feed(b"more")
        assert not reader.done


BAD = [
    (b"\x00\x01k\x82", "form that does not exist: type 0 of key 'k' in database 9, byte 19 of"),
    (b"\x00\xc7", "form that does not exist: type 0 in database 9, byte 17 of"),
    (b"\x00\x01k\xc4", "type 0 of key 'k'"),
    (b"\x02\x01k\xc0\x01", "form that does not exist: type 2 of key 'k' in database 9, byte 19"),
    (b"\x00\xc3\x82", "form that does not exist: type 0 in database 9, byte 17"),
    (
        b"\x00\xc3\x02\x05\x00a\x01z",
        "LZF data holds 1 bytes, not the 5 bytes that it declares: type 0 in database 9",
    ),
    (b"\x07\x01k\x01\x06", "module opcode 6 is unknown: type 7 of key 'k' in database 9, byte 20"),
    (
        b"\x02\x01k\x80\x80\0\0\0",
        "a count of 2147483648 elements is above 2147483647: type 2 of key 'k' in database 9",
    ),
    (b"\xfe\x81" + b"\xff" * 8, "database number is impossible"),
    (b"\xfc" + b"\xff" * 8, "expiry is negative: opcode 252"),
    (b"\xfd" + b"\xff" * 4, "expiry is negative: opcode 253"),
    (b"\xf8\x81" + b"\xff" * 8, "idle time is impossible"),
    (b"\xfe\xc0\x01", "form that does not exist: opcode 254 in database 9, byte 17"),
]


@pytest.mark.parametrize(("body", "what"), BAD)
def test_corrupt(body: bytes, what: str) -> None:
    for step in (0, 1):
        with pytest.raises(CorruptError, match=what):
            read(rdb(NAMED + body), step)


@pytest.mark.parametrize("header", [b"redis0011", b"REDIS00x1", b"VALKEY08x", b"$123\r\nXYZ", bytes(9)])
def test_no_rdb(header: bytes) -> None:
    with pytest.raises(CorruptError, match="does not begin with REDIS or VALKEY"):
        read(header)


@pytest.mark.parametrize("header", [b"REDIS0005", b"REDIS0016", b"REDIS0080", b"VALKEY011", b"VALKEY082"])
def test_unknown_version(header: bytes) -> None:
    with pytest.raises(UnfaithfulError, match=f"RDB version {int(header[-3:])} of (REDIS|VALKEY) is not known"):
        read(header)


@pytest.mark.parametrize("step", [0, 1, 64])
def test_values_above_the_limit(step: int) -> None:
    """A value may have `max_value` bytes of RDB, its length included; one more is refused by name."""
    fits = b"\x00\x03fit\x40\x62" + b"v" * 98
    assert len(keys(read(rdb(fits), step, SnapshotReader(max_value=100)))) == 1
    above = {
        b"\x00\x03big\x40\x63" + b"v" * 99: "a value of at least 101 bytes",
        b"\x01\x03big\x02\x32" + b"v" * 50 + b"\x32" + b"v" * 50: "a value of at least 10[0-9] bytes",
        b"\x13\x03big\x01\x10" + b"i" * 16 + b"\x80\x40\x00\x00\x00": "bytes, [0-9]+ read, is",
    }
    for body, what in above.items():
        with pytest.raises(UnfaithfulError, match=what + r".*above snapshot.max_value, 100 bytes.*key 'big'"):
            read(rdb(SELECT_9 + body), step, SnapshotReader(max_value=100))
    long_key = rdb(SELECT_9 + b"\x00\x40\x64" + b"k" * 100 + b"\x01v")
    with pytest.raises(UnfaithfulError, match=r"a key of at least 102 bytes.*type 0 in database 9"):
        read(long_key, step, SnapshotReader(max_value=100))


def test_compressed_keys_above_the_limit() -> None:
    """A compressed key that declares more than the limit is refused before it is decompressed."""
    body = b"\x00\xc3\x05\x80\x7f\xff\xff\xff\x00a\xe0\xff\x00\x01v"
    for step in (0, 1):
        with pytest.raises(
            UnfaithfulError, match=r"2147483647 bytes is above snapshot.max_value.*type 0 in database 0"
        ):
            read(rdb(body), step)


HUGE = b"\x81\x7f" + b"\xff" * 7
STRING_CLAIMS = [
    b"\x00\x01k" + HUGE,
    b"\x00" + HUGE,
    b"\x00\x01k\xc3" + HUGE + HUGE,
    b"\xfa" + HUGE,
    b"\xf5" + HUGE,
]


def count_claims(count: bytes) -> list[bytes]:
    """Values that claim so many elements, nodes or groups."""
    return [
        b"\x02\x01k" + count,
        b"\x0f\x01k" + count,
        b"\x15\x01k" + bytes(9) + b"\x01" + b"\x00" + bytes(3) + count,
        b"\xfb" + HUGE + HUGE + b"\x02\x01k" + count,
    ]


POSSIBLE_COUNTS = count_claims(b"\x80\x7f\xff\xff\xff")
IMPOSSIBLE_COUNTS = count_claims(HUGE)


@pytest.mark.parametrize("claim", [*STRING_CLAIMS, *POSSIBLE_COUNTS, *IMPOSSIBLE_COUNTS])
@pytest.mark.parametrize("max_value", [256 * 1024 * 1024, 2**70])
def test_claimed_lengths_allocate_nothing(claim: bytes, max_value: int) -> None:
    """A length of 2 ** 63 costs nothing, whether the limit refuses it or the reader waits for its bytes."""
    reader = SnapshotReader(max_value=max_value)
    tracemalloc.start()
    try:
        reader.feed(b"REDIS0011" + claim)
        reader.feed(b"\x01" * 1000)
    except UnfaithfulError:
        refused = True
    else:
        refused = False
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 200_000
    assert refused == (claim in IMPOSSIBLE_COUNTS or (max_value < 2**70 and claim in STRING_CLAIMS))
    assert not reader.done


def test_a_big_value_is_not_scanned_again() -> None:
    """The reader takes a long string piece by piece: fed in small pieces, the buffer never grows with the value."""
    size = 32 * 1024 * 1024
    reader = SnapshotReader()
    reader.feed(b"REDIS0011\x00\x01k" + length(size))
    piece = bytes(4096)
    for _ in range(size // len(piece)):
        before = reader.consumed
        assert reader.feed(piece) == [] or reader.consumed == size + 17
        assert reader.consumed - before == len(piece)
    assert not reader.done
