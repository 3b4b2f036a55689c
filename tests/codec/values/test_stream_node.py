"""One node of a stream: entries that share fields or have their own, deleted ones passed over, damage refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaker.codec.values.elements import StreamEntry
from shaker.codec.values.stream_node import AHEAD, DELETED, MAX_FIELDS, SAME_FIELDS, StreamNode
from shaker.errors import CorruptError
from tests.support.value_bytes import listpack

NAME = (5).to_bytes(8, "big") + (1).to_bytes(8, "big")
Entry = tuple[int, int, int, list[bytes]]  # flags, milliseconds and sequence after the node's, fields and values


def packed(fields: list[bytes], entries: list[Entry]) -> list[bytes]:
    """The elements of a node as servers write them."""
    deleted = sum(bool(flags & DELETED) for flags, *_ in entries)
    out = [b"%d" % (len(entries) - deleted), b"%d" % deleted, b"%d" % len(fields), *fields, b"0"]
    for flags, ms, seq, flat in entries:
        same = flags & SAME_FIELDS
        body = flat[1::2] if same else [b"%d" % (len(flat) // 2), *flat]
        out += [b"%d" % flags, b"%d" % ms, b"%d" % seq, *body, b"%d" % (3 + len(body))]
    return out


def entries_of(elements: list[bytes], name: bytes = NAME) -> list[StreamEntry]:
    """All entries of a node."""
    node = StreamNode(name, listpack(elements))
    found = []
    while (entry := node.next_entry()) is not None:
        found.append(entry)
    assert node.done
    return found


def test_entries_with_fields_of_the_master_and_with_their_own() -> None:
    """Deleted ones are passed over; ids count from the node's, downward too."""
    flat = [b"f", b"1", b"g", b"2"]
    entries: list[Entry] = [
        (SAME_FIELDS, 0, 0, flat),
        (SAME_FIELDS | DELETED, 1, 0, flat),
        (0, 300, -1, [b"other", b"x" * 5000]),
        (DELETED, 301, 0, [b"a", b"b"]),
        (0, 302, 0, []),
    ]
    assert entries_of(packed([b"f", b"g"], entries)) == [
        ((5, 1), flat),
        ((305, 0), [b"other", b"x" * 5000]),
        ((307, 1), []),
    ]


@given(st.lists(st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=5), max_size=150))
def test_any_entries_come_back(made: list[list[tuple[bytes, bytes]]]) -> None:
    """More of them than are decoded ahead, with fields that look like numbers or are empty."""
    entries: list[Entry] = [
        (0, number, 0, [part for pair in pairs for part in pair]) for number, pairs in enumerate(made)
    ]
    expected = [((5 + number, 1), flat) for number, (_, _, _, flat) in enumerate(entries)]
    assert entries_of(packed([b"f"], entries)) == expected


def test_more_elements_than_are_decoded_ahead() -> None:
    """An entry that is longer than what is decoded ahead, and one across its end."""
    flat = [b"%d" % number for number in range(3 * AHEAD)]
    assert [entry.flat for entry in entries_of(packed([], [(0, 0, 0, flat), (0, 1, 0, flat[:AHEAD])]))] == [
        flat,
        flat[:AHEAD],
    ]


def test_differences_wrap_at_64_bits() -> None:
    """As they do in a server's own arithmetic."""
    assert entries_of(packed([], [(0, -6, 0, [])]))[0].id == ((1 << 64) - 1, 1)


@pytest.mark.parametrize(
    ("elements", "name"),
    [
        (packed([], []), NAME[:-1]),
        (packed([], [(0, 0, 0, [])])[:-1], NAME),
        ([*packed([], [(0, 0, 0, [])])[:-1], b"5"], NAME),
        ([b"2", *packed([], [(0, 0, 0, [])])[1:]], NAME),
        ([b"1", b"1", *packed([], [(0, 0, 0, [])])[2:]], NAME),
        ([b"0", b"0", b"0", b"1"], NAME),
        ([b"0", b"0", b"%d" % (MAX_FIELDS + 1)], NAME),
        ([b"0", b"0", b"-1"], NAME),
        ([b"0", b"0", b"2", b"f"], NAME),
        ([b"x", b"0", b"0", b"0"], NAME),
        ([b"1" * 21, b"0", b"0", b"0"], NAME),
        ([], NAME),
    ],
    ids=[
        *("short-name", "cut", "wrong-size", "too-few", "deleted-missing", "no-zero", "fields", "negative"),
        *("fields-missing", "text", "long-number", "empty"),
    ],
)
def test_damage_is_refused(elements: list[bytes], name: bytes) -> None:
    """What no server writes is CorruptError."""
    with pytest.raises(CorruptError):
        entries_of(elements, name)
