"""Canonical content: equal for equal values whatever their encoding, different for any difference that counts."""

from __future__ import annotations

import struct

import pytest

from shaker.codec.values.content import Content, content
from shaker.codec.values.decoder import Kind
from tests.codec.values.golden_files import GOLDEN
from tests.codec.values.test_decoder import stream
from tests.support.rdb_bytes import length, payload, string
from tests.support.splits import every_cut
from tests.support.value_bytes import counted, intset, listpack, ziplist, zipmap

FAR = 4102444800123


def of(number: int, value: bytes, version: int = 12, *, exact: bool = False) -> Content:
    """The content of a payload, the same wherever it is cut."""
    found = {content(chunks, version=version, exact=exact) for chunks in every_cut(payload(number, value, version))}
    assert len(found) == 1
    return found.pop()


PAIRS = [(b"a", b"1"), (b"b", b"text"), (b"c", b"x" * 80)]
FLAT = [part for pair in PAIRS for part in pair]
TURNED = [part for pair in reversed(PAIRS) for part in pair]
SETS = [
    (2, counted(string(b"3"), string(b"-1"), b"\xc0\x07")),
    (11, string(intset(2, [-1, 3, 7]))),
    (20, string(listpack([b"7", b"3", b"-1"]))),
]
LISTS = [
    (1, counted(string(b"7"), string(b"a"), string(b"7"))),
    (10, string(ziplist([b"7", b"a", b"7"]))),
    (14, counted(string(ziplist([b"7"])), string(ziplist([b"a", b"7"])))),
    (18, counted(length(2) + string(listpack([b"7", b"a"])), length(1) + string(b"7"))),
]
HASHES = [
    (4, length(3) + b"".join(map(string, FLAT))),
    (9, string(zipmap(PAIRS))),
    (13, string(ziplist(TURNED))),
    (16, string(listpack(FLAT))),
    (22, counted(*[length(0) + string(f) + string(v) for f, v in reversed(PAIRS)])),
    (24, bytes(8) + counted(*[length(0) + string(f) + string(v) for f, v in PAIRS])),
    (25, bytes(8) + string(listpack([p for f, v in PAIRS for p in (f, v, b"0")]))),
]
ZSETS = [
    (3, counted(string(b"m") + b"\x0310.", string(b"n") + b"\xff", string(b"z") + b"\x02-0")),
    (
        5,
        counted(*[string(m) + struct.pack("<d", s) for m, s in ((b"z", 0.0), (b"m", 10.0), (b"n", float("-inf")))]),
    ),
    (12, string(ziplist([b"n", b"-inf", b"z", b"0", b"m", b"10"]))),
    (17, string(listpack([b"n", b"-inf", b"z", b"-0", b"m", b"1e1"]))),
]
STRINGS = [(0, string(b"-300")), (0, b"\xc1" + struct.pack("<h", -300)), (0, b"\xc3\x05\x04\x03-300")]


@pytest.mark.parametrize(
    ("kind", "forms"),
    [(Kind.SET, SETS), (Kind.LIST, LISTS), (Kind.HASH, HASHES), (Kind.ZSET, ZSETS), (Kind.STRING, STRINGS)],
    ids=str,
)
def test_encodings_do_not_count(kind: Kind, forms: list[tuple[int, bytes]]) -> None:
    """The same value in every encoding has the same content."""
    found = {of(number, value) for number, value in forms}
    assert len(found) == 1
    assert found.pop().kind is kind


def test_field_expiry_is_the_same_in_all_forms() -> None:
    """Relative, absolute and Valkey's expiries mean the same."""
    relative = counted(length(0) + string(b"a") + string(b"1"), length(1) + string(b"b") + string(b"2"))
    absolute = counted(length(0) + string(b"a") + string(b"1"), length(FAR) + string(b"b") + string(b"2"))
    packed = string(listpack([b"b", b"2", b"%d" % FAR, b"a", b"1", b"0"]))
    valkey = counted(
        string(b"a") + string(b"1") + b"\xff" * 8, string(b"b") + string(b"2") + FAR.to_bytes(8, "little")
    )
    first = FAR.to_bytes(8, "little")
    forms = {of(24, first + relative), of(22, absolute), of(23, packed), of(25, first + packed), of(22, valkey, 80)}
    assert len(forms) == 1
    assert of(24, (FAR + 1).to_bytes(8, "little") + relative) not in forms


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1, counted(string(b"a"), string(b"b"))), (1, counted(string(b"b"), string(b"a")))),
        ((1, counted(string(b"a"), string(b"b"))), (1, counted(string(b"ab")))),
        ((1, counted(string(b"a"), string(b"b"))), (1, counted(string(b"a")))),
        ((2, counted(string(b"a"), string(b"b"))), (2, counted(string(b"a"), string(b"c")))),
        ((2, counted(string(b"a"))), (2, counted(string(b"a"), string(b"c")))),
        ((4, counted(string(b"a") + string(b"b"))), (4, counted(string(b"a") + string(b"c")))),
        ((4, counted(string(b"a") + string(b"b"))), (4, counted(string(b"ab") + b"\x00"))),
        ((5, counted(string(b"a") + bytes(8))), (5, counted(string(b"a") + b"\x01" * 8))),
        ((0, string(b"a")), (0, string(b"b"))),
        ((0, string(b"")), (0, string(b"b"))),
        ((15, stream(1)), (15, stream(1).replace(b"v1", b"v2"))),
        ((15, stream(1)), (15, stream(1).replace(b"\x01g\x06\x01", b"\x01g\x05\x01"))),
        ((15, stream(1)), (15, stream(1).replace(b"alice", b"alisa"))),
    ],
)  # fmt: skip
def test_differences_count(one: tuple[int, bytes], other: tuple[int, bytes]) -> None:
    """Any difference in elements changes the content."""
    assert not of(*one).same(of(*other))


def test_what_servers_do_not_replicate_counts_only_exactly() -> None:
    """When consumers were seen and how often entries were delivered counts only in the exact content."""
    seen = stream(3).replace(struct.pack("<q", 1234), struct.pack("<q", 5678))
    delivered = stream(3).replace(struct.pack("<q", 99) + length(3), struct.pack("<q", 98) + length(4))
    for other in (seen, delivered):
        assert of(21, stream(3)).same(of(21, other))
        assert not of(21, stream(3), exact=True).same(of(21, other, exact=True))
    assert of(15, stream(1)).same(of(19, stream(2)))
    assert of(19, stream(2)).same(of(21, stream(3)))


def test_counters_of_streams_count_where_both_tell() -> None:
    """Entries ever added are compared between servers that count them."""
    changed = stream(3).replace(b"\x06\x01\x05\x01\x00\x00\x02", b"\x06\x01\x05\x01\x00\x00\x09")
    assert changed != stream(3)
    assert not of(21, stream(3)).same(of(21, changed))
    assert of(15, stream(1)).same(of(21, changed))


def test_golden_dumps_of_one_value_are_the_same_on_all_servers() -> None:
    """Whatever version wrote it, the content is the same; but for values that hold times of the server."""
    assert len(GOLDEN) > 30
    for case, files in GOLDEN.items():
        found = {
            content([golden.payload], version=golden.version)._replace(counters=None)
            for golden in files
            if golden.server != "crafted" and golden.content["type"] not in ("module", "functions")
        }
        assert len(found) <= 1, case
