"""DUMP payloads written by hand, by the published formats, for encodings that no server at hand writes."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tests.support.rdb_bytes import length, payload, saved_string, string

FAR = 4102444800123


def zipmap(pairs: Sequence[tuple[bytes, bytes]], free: int = 0) -> bytes:
    """A zipmap (server file src/zipmap.c), with `free` unused bytes after each value."""

    def size(data: bytes) -> bytes:
        return bytes([len(data)]) if len(data) < 254 else b"\xfe" + len(data).to_bytes(4, "little")

    out = bytes([min(len(pairs), 254)])
    for field, value in pairs:
        out += size(field) + field + size(value) + bytes([free]) + value + b"\x00" * free
    return out + b"\xff"


def ziplist(values: Sequence[bytes], *, wide: bool = False) -> bytes:
    """A ziplist (server file src/ziplist.c); `wide` writes the lengths before in five bytes."""
    body, before = b"", 0
    for value in values:
        entry = (
            before.to_bytes(1, "little") if before < 254 and not wide else b"\xfe" + before.to_bytes(4, "little")
        )
        entry += ziplist_entry(value)
        body += entry
        before = len(entry)
    total = 10 + len(body) + 1
    tail = total - 1 - before if values else 10
    return struct.pack("<IIH", total, tail, min(len(values), 0xFFFF)) + body + b"\xff"


def ziplist_entry(value: bytes) -> bytes:
    """An entry without the length of the one before."""
    if len(value) <= 20 and value.removeprefix(b"-").isdigit() and b"%d" % int(value) == value:
        number = int(value)
        if 0 <= number <= 12:
            return bytes([0xF1 + number])
        for head, size in ((0xFE, 1), (0xC0, 2), (0xF0, 3), (0xD0, 4), (0xE0, 8)):
            if -(1 << 8 * size - 1) <= number < 1 << 8 * size - 1:
                return bytes([head]) + number.to_bytes(size, "little", signed=True)
    if len(value) < 64:
        return bytes([len(value)]) + value
    if len(value) < 16384:
        return (0x4000 | len(value)).to_bytes(2, "big") + value
    return b"\x80" + len(value).to_bytes(4, "big") + value


def listpack(values: Sequence[bytes]) -> bytes:
    """A listpack of strings, numbers as integers of 64 bits (server file src/listpack.c)."""
    parts = []
    for value in values:
        if len(value) <= 19 and value.removeprefix(b"-").isdigit() and b"%d" % int(value) == value:
            entry = b"\xf4" + int(value).to_bytes(8, "little", signed=True)
        elif len(value) < 64:
            entry = bytes([0x80 | len(value)]) + value
        elif len(value) < 4096:
            entry = (0xE000 | len(value)).to_bytes(2, "big") + value
        else:
            entry = b"\xf0" + len(value).to_bytes(4, "little") + value
        parts.append(entry + backlen(len(entry)))
    body = b"".join(parts)
    return struct.pack("<IH", 6 + len(body) + 1, min(len(values), 0xFFFF)) + body + b"\xff"


def backlen(size: int) -> bytes:
    """The trailing length of an element (lpEncodeBacklen)."""
    groups = 1 if size < 128 else 2 if size < 16383 else 3 if size < 2097151 else 4 if size < 268435455 else 5
    out = [size >> 7 * (groups - 1) & 127]
    return bytes(out + [(size >> 7 * (groups - 1 - at) & 127) | 128 for at in range(1, groups)])


def intset(width: int, numbers: Sequence[int]) -> bytes:
    """An intset (server file src/intset.c)."""
    body = b"".join(number.to_bytes(width, "little", signed=True) for number in numbers)
    return struct.pack("<II", width, len(numbers)) + body


def text_score(score: bytes) -> bytes:
    """A score as RDB 1 to 7 have it."""
    special = {b"nan": b"\xfd", b"inf": b"\xfe", b"-inf": b"\xff"}
    return special.get(score, bytes([len(score) % 256]) + score)


def counted(*items: bytes) -> bytes:
    """A count and the items."""
    return length(len(items)) + b"".join(items)


VALUES = [b"0", b"12", b"13", b"-1", b"127", b"-300", b"70000", b"8000000", b"-2147483648", b"9223372036854775807"]
VALUES += [b"", b"text", b"x" * 63, b"y" * 64, b"z" * 300, bytes(range(256))]
PAIRS = [(b"f%d" % n, value) for n, value in enumerate(VALUES)]
FLAT = [part for pair in PAIRS for part in pair]
SCORES = [(b"a", b"-inf"), (b"b", b"-1.5"), (b"c", b"0"), (b"d", b"0.10000000000000001"), (b"e", b"inf")]
EXPIRING = [(b"a", b"1", 0), (b"bb", b"text", FAR), (b"c", b"x" * 30, FAR + 99)]
# Restored by this server: the types of RDB 1 to 5, and of Redis 2.4 to 3.0.
OLD = {
    "list_linked": payload(1, counted(*map(string, VALUES)), 6),
    "list_ziplist": payload(10, string(ziplist(VALUES)), 6),
    "list_ziplist-wide": payload(10, string(ziplist(VALUES, wide=True)), 6),
    "list_quicklist": payload(14, counted(string(ziplist(VALUES)), string(ziplist([b"z" * 20000]))), 7),
    "set_hashtable": payload(2, counted(*map(saved_string, VALUES)), 6),
    "set_intset": payload(11, string(intset(4, [-70000, 0, 5, 70000])), 6),
    "zset_text-scores": payload(3, counted(*[string(m) + text_score(s) for m, s in SCORES]), 6),
    "zset_ziplist": payload(12, string(ziplist([part for pair in SCORES for part in pair])), 6),
    "hash_hashtable": payload(
        4, counted(*map(saved_string, FLAT))[:0] + length(len(PAIRS)) + b"".join(map(saved_string, FLAT)), 6
    ),
    "hash_zipmap": payload(9, string(zipmap(PAIRS)), 6),
    "hash_zipmap-free": payload(9, string(zipmap(PAIRS, free=3)), 6),
    "hash_ziplist": payload(13, string(ziplist(FLAT)), 6),
}
# Hashes with field expiry as release candidates of Redis 7.4 wrote them.
CANDIDATE = {
    "hash_candidate-table": payload(
        22, counted(*[length(at) + string(f) + string(v) for f, v, at in EXPIRING]), 12
    ),
    "hash_candidate-listpack": payload(
        23,
        string(
            listpack(
                [p for f, v, at in sorted(EXPIRING, key=lambda e: e[2] or 1 << 60) for p in (f, v, b"%d" % at)]
            )
        ),
        12,
    ),
}
CRAFTED = {"redis-7.0": OLD, "redis-8.0": CANDIDATE}
