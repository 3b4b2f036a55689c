"""Streams of five layouts: whole, byte by byte, with bytes behind them; batches are bounded, damage is refused."""

from __future__ import annotations

import struct

import pytest

from shaker.codec.values import elements as of
from shaker.codec.values.elements import UNKNOWN
from shaker.codec.values.stream_reader import BATCH_ENTRIES, BATCH_PENDING, StreamValueReader
from shaker.errors import CorruptError
from tests.support.rdb_bytes import length, string
from tests.support.value_bytes import listpack
from tests.support.value_reading import content, read


def raw(ms: int, seq: int = 0) -> bytes:
    """An id of 16 bytes."""
    return ms.to_bytes(8, "big") + seq.to_bytes(8, "big")


def node(first: int, count: int) -> bytes:
    """A node with the entries `first`-0, `first + 1`-0, ..."""
    body = [b"%d" % count, b"0", b"1", b"f", b"0"]
    for number in range(count):
        body += [b"2", b"%d" % number, b"0", b"v", b"4"]
    return string(raw(first)) + string(listpack(body))


def info(layout: int, entries: int, last: int) -> bytes:
    """The counters of a stream."""
    out = length(entries) + length(last) + length(0)
    if layout > 1:
        out += length(1) + length(0) + length(3) + length(4) + length(entries + 1)
    return out


def group(layout: int, held: list[int], released: list[int], read_count: int = 7) -> bytes:
    """A group whose entries a consumer holds, or none."""
    out = string(b"g") + length(9) + length(0) + (length(read_count) if layout > 1 else b"")
    pending = sorted([*held, *released])
    out += length(len(pending)) + b"".join(raw(ms) + struct.pack("<q", 100 + ms) + length(ms) for ms in pending)
    out += length(1) + string(b"alice") + struct.pack("<q", 50) + (struct.pack("<q", 60) if layout > 2 else b"")
    out += length(len(held)) + b"".join(map(raw, held))
    return out + (length(len(released)) + b"".join(map(raw, released)) if layout > 4 else b"")


IDEMPOTENCE = length(100) + length(50) + length(2) + string(b"p") + length(1) + string(b"m") + length(5) + length(0)
IDEMPOTENCE += string(b"q") + length(0) + length(2) + length(7)


def stream(layout: int) -> bytes:
    """A stream with one node and one group."""
    released = [6] if layout > 4 else []
    tail = IDEMPOTENCE if layout > 3 else b""
    return length(1) + node(5, 2) + info(layout, 2, 6) + length(1) + group(layout, [5], released) + tail


@pytest.mark.parametrize("layout", [1, 2, 3, 4, 5])
def test_layouts_add_to_each_other(layout: int) -> None:
    """The same entries and pending ones come of each; numbers that a layout lacks are UNKNOWN."""
    content(lambda: StreamValueReader(layout), stream(layout))
    found = read(StreamValueReader(layout), [stream(layout)]).elements
    expected: list[of.Element] = [
        of.StreamEntries([of.StreamEntry((5, 0), [b"f", b"v"]), of.StreamEntry((6, 0), [b"f", b"v"])]),
        of.StreamInfo(2, (6, 0), (3, 4) if layout > 1 else (0, 0), 3 if layout > 1 else UNKNOWN),
        of.Group(b"g", (9, 0), 7 if layout > 1 else UNKNOWN),
        of.Consumer(b"alice", 50, 60 if layout > 2 else UNKNOWN),
        of.Pending([of.PendingEntry((5, 0), 105, 5)]),
    ]
    if layout > 4:
        expected.append(of.Released([of.PendingEntry((6, 0), 106, 6)]))
    if layout > 3:
        expected += [of.Producer(b"p", [(b"m", (5, 0))]), of.Producer(b"q", []), of.Idempotence(100, 50, 2, 7)]
    assert found == expected


def test_a_group_that_knows_no_count_has_read_minus_one() -> None:
    """The server writes -1 as a length."""
    value = length(0) + info(2, 0, 6) + length(1) + group(2, [], [], read_count=(1 << 64) - 1)
    assert of.Group(b"g", (9, 0), -1) in read(StreamValueReader(2), [value]).elements


def test_an_empty_stream_has_its_counters() -> None:
    """Its last id, without any entry."""
    value = length(0) + info(3, 0, 6) + length(0)
    content(lambda: StreamValueReader(3), value)
    assert read(StreamValueReader(3), [value]).elements == [of.StreamInfo(0, (6, 0), (3, 4), 1)]


def test_batches_are_bounded() -> None:
    """Entries, entries with many fields, pending ones and messages."""
    count = 3000
    messages = length(count) + (string(b"m") + length(1) + length(1)) * count
    value = length(count // 100) + b"".join(node(first, 100) for first in range(1, count, 100))
    value += info(4, count, count) + length(1) + group(4, list(range(1, count + 1)), [])
    value += length(1) + length(1) + length(1) + string(b"p") + messages + length(0) + length(0)
    found = read(StreamValueReader(4), [value])
    assert found.finished
    entries = [len(each.entries) for each in found.elements if isinstance(each, of.StreamEntries)]
    pending = [len(each.entries) for each in found.elements if isinstance(each, of.Pending)]
    sent = [len(each.messages) for each in found.elements if isinstance(each, of.Producer)]
    assert (sum(entries), sum(pending), sum(sent)) == (count, count, count)
    assert max(entries) <= BATCH_ENTRIES
    assert max(pending) <= BATCH_PENDING
    assert max(sent) <= BATCH_PENDING


@pytest.mark.parametrize(
    "value",
    [
        length(2) + node(5, 2) + node(6, 1) + info(5, 3, 9) + length(0) + IDEMPOTENCE,
        length(1) + node(5, 2) + info(5, 2, 5) + length(0) + IDEMPOTENCE,
        length(0) + info(5, 0, 9) + length(1) + group(5, [5], [])[:-1] + length(1) + raw(5) + IDEMPOTENCE,
        length(0) + info(5, 0, 9) + length(1) + group(5, [5], [6])[:-17] + length(0) + IDEMPOTENCE,
    ],
    ids=["descending", "above-last", "released-and-held", "held-by-none"],
)
def test_damage_is_refused(value: bytes) -> None:
    """Entries and pending ones that no server writes so, wherever the bytes are cut."""
    for chunks in ([value], [value[at : at + 1] for at in range(len(value))]):
        with pytest.raises(CorruptError):
            read(StreamValueReader(5), chunks)


def test_ids_of_a_consumer_need_no_order() -> None:
    """Only that each occurs once."""
    value = length(0) + info(1, 0, 9) + length(1) + group(1, [5, 4], [])
    assert of.Pending([of.PendingEntry((5, 0), 105, 5), of.PendingEntry((4, 0), 104, 4)]) in (
        read(StreamValueReader(1), [value]).elements
    )
