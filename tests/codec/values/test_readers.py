"""Readers of one value: whole, byte by byte, with bytes behind it; batches are bounded, damage is refused."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import pytest

from shaker.codec.values import elements as of
from shaker.codec.values.buffer import Buffer
from shaker.codec.values.packed import Intset, Listpack, Ziplist
from shaker.codec.values.readers import (
    BATCH,
    PART,
    PackedReader,
    Reader,
    ScoresReader,
    StringReader,
    StringsReader,
    checked_score,
    decimal_score,
    fields,
    items,
    members,
    scores,
)
from shaker.errors import CorruptError, UnfaithfulError
from tests.support.rdb_bytes import length, saved_string, string
from tests.support.value_bytes import counted, intset, listpack, text_score, ziplist
from tests.support.value_reading import content, read

LISTPACKS = counted(length(2) + string(listpack([b"a", b"5"])), length(1) + string(b"plain"))
CASES: dict[str, tuple[Callable[[], Reader], bytes, object]] = {
    "string": (StringReader, string(b"text"), "text"),
    "string-number": (StringReader, saved_string(b"-300"), "-300"),
    "string-empty": (StringReader, string(b""), ""),
    "string-lzf": (StringReader, b"\xc3" + length(5) + length(10) + b"\x00a\xe0\x00\x00", "a" * 10),
    "list": (lambda: StringsReader(items, 1), counted(*map(saved_string, [b"b", b"", b"7"])), ["b", "", "7"]),
    "set": (lambda: StringsReader(members, 1), counted(string(b"x" * 99)), ["x" * 99]),
    "hash": (lambda: StringsReader(fields, 2), length(1) + string(b"f") + string(b"v"), [["f", "v", -1]]),
    "list-nodes": (
        lambda: PackedReader(Ziplist, items, 1, one=False),
        counted(string(ziplist([b"a", b"1"])), string(ziplist([b"c"]))),
        ["a", "1", "c"],
    ),
    "list-forms": (lambda: PackedReader(Listpack, items, 1, one=False, containers=True), LISTPACKS, None),
    "set-intset": (lambda: PackedReader(Intset, members, 1, one=True), string(intset(2, [-3, 4])), ["-3", "4"]),
    "zset-text": (
        lambda: ScoresReader(binary=False),
        counted(string(b"m") + text_score(b"1.5"), string(b"n") + text_score(b"-inf")),
        None,
    ),
    "zset-binary": (lambda: ScoresReader(binary=True), counted(string(b"m") + struct.pack("<d", -1.5)), None),
    "zset-packed": (lambda: PackedReader(Listpack, scores, 2, one=True), string(listpack([b"m", b"-1.5"])), None),
}


@pytest.mark.parametrize("case", CASES)
def test_values_are_read_wherever_they_are_cut(case: str) -> None:
    """The same content comes out whole and byte by byte, and bytes behind the value are left."""
    make, value, expected = CASES[case]
    found = content(make, value)
    if expected is not None:
        assert found["value"] == expected


def test_forms_of_nodes_are_kept_apart() -> None:
    """A plain node is one element, a packed one as many as it holds."""
    make, value, _ = CASES["list-forms"]
    assert read(make(), [value]).elements == [of.Items([b"a", b"5", b"plain"])]


def test_scores_are_the_same_in_every_form() -> None:
    """Text, double and packed; infinities have codes of their own as text."""
    assert read(ScoresReader(binary=False), [CASES["zset-text"][1]]).elements == [
        of.Scores([(b"m", 1.5), (b"n", -math.inf)])
    ]
    for case in ("zset-binary", "zset-packed"):
        make, value, _ = CASES[case]
        assert read(make(), [value]).elements == [of.Scores([(b"m", -1.5)])]


@pytest.mark.parametrize("make", [lambda: StringsReader(fields, 2), lambda: ScoresReader(binary=True)])
def test_batches_are_bounded_and_pairs_stay_whole(make: Callable[[], Reader]) -> None:
    """However many elements the buffer holds."""
    pair = string(b"f") + (string(b"v") if isinstance(make(), StringsReader) else struct.pack("<d", 1))
    reader, buffer, sizes = make(), Buffer(), []
    buffer.add(length(5000) + pair * 5000)
    while not reader.finished and buffer.ready():
        reader.read(buffer)
        element = reader.take()
        assert isinstance(element, of.Fields | of.Scores)
        sizes.append(len(element.flat) // 2 if isinstance(element, of.Fields) else len(element.pairs))
    assert sum(sizes) == 5000
    assert max(sizes) <= BATCH


def test_a_long_string_comes_in_parts() -> None:
    """No part is above PART, and the first element gives the whole size."""
    start, *parts = read(StringReader(), [string(b"x" * (PART * 2 + 5))]).elements
    assert start == of.StringStart(PART * 2 + 5)
    assert [len(part.data) for part in parts if isinstance(part, of.StringPart)] == [PART, PART, 5]


@pytest.mark.parametrize("text", [b"", b"nan", b"1_0", b"0x10", b"infinity", b"1e", b" 1", b"1 ", b"--1"])
def test_a_score_that_is_no_number_is_refused(text: bytes) -> None:
    """Python's float takes more than servers write."""
    with pytest.raises(CorruptError):
        decimal_score(text)


def test_scores_lose_the_sign_of_zero_only() -> None:
    """A small sorted set keeps no -0.0; NaN is refused."""
    assert math.copysign(1, checked_score(-0.0)) == 1
    assert decimal_score(b"-0") == 0
    assert decimal_score(b"0.10000000000000001") == 0.1
    assert decimal_score(b"-inf") == -math.inf
    with pytest.raises(CorruptError):
        checked_score(math.nan)


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (CASES["list-forms"][0], counted(length(3) + string(b"a"))),
        (lambda: PackedReader(Ziplist, fields, 2, one=True), string(ziplist([b"a", b"b", b"c"]))),
        (StringReader, b"\xc3" + length(3) + length(9) + b"\x01ab"),
        (StringReader, b"\x82"),
        (lambda: ScoresReader(binary=False), counted(string(b"m") + text_score(b"nan"))),
    ],
)
def test_damage_is_refused(make: Callable[[], Reader], value: bytes) -> None:
    """An unknown form, half a pair, a wrong size, a length of no form, no number."""
    with pytest.raises(CorruptError):
        read(make(), [value])


@pytest.mark.parametrize("header", [string(b"12345")[:1], b"\xc3" + length(3) + length(5)])
def test_strings_above_the_limit_are_refused_at_their_header(header: bytes) -> None:
    """Plain and compressed."""
    buffer = Buffer(max_string=4)
    buffer.add(header)
    assert buffer.ready()
    with pytest.raises(UnfaithfulError):
        StringReader().read(buffer)


def test_the_interface_does_nothing_itself() -> None:
    """Each reader has its own `read` and `take`."""
    with pytest.raises(NotImplementedError):
        Reader().read(Buffer())
    with pytest.raises(NotImplementedError):
        Reader().take()
