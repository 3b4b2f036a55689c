"""Decoding: hostile lengths, order of pieces, layouts that no server at hand writes, the end of a payload."""

from __future__ import annotations

import struct
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaker.codec.values import elements as of
from shaker.codec.values.decoder import Kind, PayloadDecoder, ValueDecoder, decode, payload_version
from shaker.codec.values.elements import Element
from shaker.errors import CorruptError, UnfaithfulError
from tests.support.rdb_bytes import length, payload, string
from tests.support.splits import every_cut
from tests.support.value_bytes import backlen, counted, intset, listpack, text_score, ziplist, zipmap
from tests.support.value_content import from_elements


def read(number: int, value: bytes, version: int = 11) -> list[Element]:
    """The elements of a payload; the same content must come out wherever it is cut."""
    whole = payload(number, value, version)
    contents = [from_elements(decode(chunks, version=version)) for chunks in every_cut(whole)]
    assert all(content == contents[0] for content in contents)
    return list(decode([whole], version=version))


def raw_id(ms: int, seq: int) -> bytes:
    """An id of 16 bytes."""
    return ms.to_bytes(8, "big") + seq.to_bytes(8, "big")


def node(entries: int = 2) -> bytes:
    """A node of a stream with entries 5-1, 6-1, ..."""
    body = [b"%d" % entries, b"0", b"1", b"f", b"0"]
    for n in range(entries):
        body += [b"2", b"%d" % n, b"0", b"v%d" % n, b"4"]
    return string(raw_id(5, 1)) + string(listpack(body))


def stream(layout: int, *, released: bytes = b"", tail: bytes = b"", held: bytes = raw_id(5, 1)) -> bytes:
    """A stream with one group: 5-1 pending to alice, 6-1 to nobody if `released`."""
    pel = raw_id(5, 1) + struct.pack("<q", 99) + length(3)
    if released:
        pel += raw_id(6, 1) + struct.pack("<q", 88) + length(0)
    group = string(b"g") + length(6) + length(1) + (length(2) if layout > 1 else b"") + length(2 if released else 1)
    group += pel + length(1) + string(b"alice") + struct.pack("<q", 1234)
    group += (struct.pack("<q", -1) if layout > 2 else b"") + length(1) + held
    group += length(1 if released else 0) + released if layout > 4 else b""
    info = length(2) + length(6) + length(1)
    if layout > 1:
        info += length(5) + length(1) + length(0) + length(0) + length(2)
    return length(1) + node() + info + length(1) + group + tail


IDMP = length(100) + length(50) + length(2) + string(b"p1") + length(2) + string(b"m1") + length(5) + length(1)
IDMP += string(b"m2") + length(6) + length(1) + string(b"p2") + length(0) + length(2) + length(7)


@pytest.mark.parametrize(("number", "layout"), [(15, 1), (19, 2), (21, 3), (26, 4), (27, 5)])
def test_layouts_of_streams(number: int, layout: int) -> None:
    """Each layout gives the same entries and pending ones, and what it knows beyond them."""
    released = raw_id(6, 1) if layout == 5 else b""
    content = from_elements(read(number, stream(layout, released=released, tail=IDMP if layout > 3 else b""), 14))
    assert content["entries"] == [["5-1", ["f", "v0"]], ["6-1", ["f", "v1"]]]
    [group] = content["groups"]
    assert group["consumers"] == [
        {"name": "alice", "seen": 1234, "active": -1 if layout > 2 else None, "pending": [["5-1", 99, 3]]}
    ]
    assert group.get("released") == ([["6-1", 88, 0]] if layout == 5 else None)
    assert group["read"] == (2 if layout > 1 else None)
    if layout > 3:
        assert content["producers"] == [["p1", [["m1", "5-1"], ["m2", "6-1"]]], ["p2", []]]
        assert content["idempotence"] == [100, 50, 2, 7]


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (15, stream(1, held=raw_id(6, 1))),
        (15, stream(1, held=raw_id(5, 1))[:-17] + length(2) + raw_id(5, 1) * 2),
        (15, stream(1, held=b"")[:-1] + length(0)),
        (27, stream(5, released=raw_id(5, 1), tail=IDMP)),
        (15, length(1) + string(b"short") + string(listpack([b"0"]))),
        (15, length(1) + string(raw_id(1, 1)) + string(listpack([b"0", b"0", b"9999999999"]))),
        (15, length(1) + string(raw_id(1, 1)) + string(listpack([b"1", b"0", b"0", b"0"]))),
        (15, length(2) + node() + node() + length(4) + length(6) + length(1) + length(0)),
        (15, length(1) + node() + length(2) + length(6) + length(0) + length(0)),
        (3, counted(string(b"m") + text_score(b"nan"))),
        (3, counted(string(b"m") + text_score(b"1_0"))),
        (3, counted(string(b"m") + text_score(b"infinity"))),
        (3, counted(string(b"m") + text_score(b"0x10"))),
        (3, counted(string(b"m") + b"\x00")),
        (5, counted(string(b"m") + struct.pack("<d", float("nan")))),
        (12, string(ziplist([b"m", b"x"]))),
        (13, string(ziplist([b"a", b"b", b"c"]))),
        (25, bytes(8) + string(listpack([b"a", b"b"]))),
        (25, bytes(8) + string(listpack([b"a", b"b", b"-1"]))),
        (25, bytes(8) + string(listpack([b"a", b"b", b"x"]))),
        (24, (1 << 50).to_bytes(8, "little") + counted(length(2) + string(b"a") + string(b"b"))),
        (18, counted(length(3) + string(b"a"))),
        (0, b"\xc4"),
        (0, b"\x82"),
        (0, b"\xc3" + length(3) + length(9) + b"\x01ab"),
        (1, b"\xc0"),
        (7, length(77) + length(9)),
    ],
)
def test_malformed_values_are_refused(number: int, value: bytes) -> None:
    """What no server writes raises CorruptError, wherever the bytes are cut."""
    for chunks in every_cut(payload(number, value, 14)):
        with pytest.raises(CorruptError):
            list(decode(chunks, version=14))


@pytest.mark.parametrize("number", [6, 8, 28, 29, 31, 33, 99, 200, 246])
def test_unknown_types_are_named(number: int) -> None:
    """A type that is not known is no corruption: another version of the worker may know it."""
    with pytest.raises(UnfaithfulError, match=f"type {number} "):
        list(decode([payload(number, b"\x00", 14)], version=14))


def test_types_of_two_meanings_need_the_version() -> None:
    """Type 22 is read as its server meant it, never guessed."""
    valkey = payload(22, counted(string(b"f") + string(b"v") + b"\xff" * 8), 80)
    redis = payload(22, counted(length(0) + string(b"f") + string(b"v")), 12)
    for made in (valkey, redis):
        assert from_elements(decode([made], version=payload_version(made))) == {
            "type": "hash",
            "value": [["f", "v", -1]],
        }
        with pytest.raises(UnfaithfulError, match="two meanings"):
            list(decode([made]))
    with pytest.raises(UnfaithfulError):
        list(decode([valkey], version=12))


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5, 9, 10, 11, 13, 14, 16, 18, 20, 21, 24])
def test_lengths_are_never_allocated(number: int) -> None:
    """A length of 2^63 or of 4 GiB is refused, or waits for bytes that never come; no memory is taken for it."""
    for claimed in (b"\x81\x7f" + b"\xff" * 7, b"\x80\xff\xff\xff\xff", b"\xc3\x02\x80\xff\xff\xff\xff\x00a"):
        tracemalloc.start()
        decoder = ValueDecoder(number)
        try:
            decoder.receive(bytes(8) * (number == 24) + claimed)
            while decoder.next_element():
                pass
            assert not decoder.finished
        except UnfaithfulError:
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100_000


def test_batches_are_bounded() -> None:
    """Millions of elements come in batches, and a compressed string in parts."""
    text = listpack([b"5"] * 100_000)
    decoder = ValueDecoder(20)
    decoder.receive(string(text))
    sizes = []
    while element := decoder.next_element():
        assert isinstance(element, of.Members)
        sizes.append(len(element.values))
    assert (sum(sizes), max(sizes)) == (100_000, 1536)
    repeat = b"\xe0\xff\x00" * 30_000
    decoder = ValueDecoder(0)
    decoder.receive(b"\xc3" + length(2 + len(repeat)) + length(1 + 264 * 30_000) + b"\x00a" + repeat)
    parts = []
    while element := decoder.next_element():
        if isinstance(element, of.StringPart):
            parts.append(len(element.data))
    assert (sum(parts), decoder.finished) == (1 + 264 * 30_000, True)
    assert max(parts) < 6_000_000


def test_small_chunks_cost_no_more_than_their_number() -> None:
    """A long element in many chunks is put together once."""
    value = string(b"x" * 8_000_000)
    decoder = ValueDecoder(1)
    decoder.receive(length(1))
    began = time.process_time()
    for start in range(0, len(value), 100):
        decoder.receive(value[start : start + 100])
        element = decoder.next_element()
    assert isinstance(element, of.Items)
    assert decoder.finished
    assert time.process_time() - began < 5


def test_the_end_of_a_payload_is_checked() -> None:
    """Checksum and version are known after the end, and bytes of another value do not follow."""
    whole = payload(0, string(b"text"), 9)
    decoder = PayloadDecoder()
    decoder.receive(whole)
    assert decoder.kind is Kind.STRING
    while decoder.next_element():
        pass
    decoder.finish()
    assert decoder.version == 9
    with pytest.raises(CorruptError, match="middle"):
        PayloadDecoder().finish()
    with pytest.raises(CorruptError, match="CRC-64"):
        list(decode([whole[:-1] + bytes([whole[-1] ^ 1])]))


def test_failures_stay() -> None:
    """After an error each later call raises it again."""
    decoder = ValueDecoder(1)
    decoder.receive(b"\xc0" * 3)
    for _ in range(2):
        with pytest.raises(CorruptError):
            decoder.next_element()
        decoder.receive(b"more")


def test_value_of_an_rdb_ends_by_itself() -> None:
    """What follows the value in an RDB is left."""
    decoder = ValueDecoder(11)
    decoder.receive(string(intset(2, [1, 2])) + b"\xfe\x00")
    assert decoder.next_element() == of.Members([b"1", b"2"])
    assert decoder.next_element() is None
    assert (decoder.finished, decoder.rest()) == (True, b"\xfe\x00")


def test_empty_function_dump_has_no_libraries() -> None:
    """A server without functions dumps the footer alone."""
    whole = payload(0, b"", 10)[1:]
    body = whole[:2]
    from shaker.codec.rdb.crc64 import crc64

    assert list(decode([body + crc64(body)], functions=True)) == []


@given(st.integers(0, 40), st.binary(max_size=200), st.booleans())
def test_any_bytes_are_read_or_refused(number: int, value: bytes, valkey: bool) -> None:
    """Nothing but our own errors comes of any bytes."""
    try:
        decoder = ValueDecoder(number, valkey=valkey)
        decoder.receive(value)
        while decoder.next_element():
            pass
    except UnfaithfulError:
        pass


def test_zipmap_and_backlen_helpers_agree_with_published_examples() -> None:
    """The example in the server's own source, src/zipmap.c."""
    assert zipmap([(b"foo", b"bar"), (b"hello", b"world")]) == b"\x02\x03foo\x03\x00bar\x05hello\x05\x00world\xff"
    assert ziplist([b"2", b"5"]) == bytes.fromhex("0f0000000c000000020000f302f6ff")
    assert [len(backlen(size)) for size in (127, 128, 16382, 16383, 2097150, 2097151)] == [1, 2, 2, 3, 3, 4]
