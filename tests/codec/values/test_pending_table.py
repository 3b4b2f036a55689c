"""Pending entries of a group: each is given to one consumer, once."""

from __future__ import annotations

import random

import pytest

from shaker.codec.values.elements import PendingEntry
from shaker.codec.values.pending_table import MAX_TABLE, RECORD, PendingTable, stream_id
from shaker.errors import CorruptError, UnfaithfulError


def raw(ms: int, seq: int = 0) -> bytes:
    """An id of 16 bytes."""
    return ms.to_bytes(8, "big") + seq.to_bytes(8, "big")


def table(count: int) -> PendingTable:
    """Entries 1-0 to `count`-0, each delivered at its number."""
    made = PendingTable()
    for number in range(1, count + 1):
        made.add(raw(number), number, 2 * number)
    return made


def test_ids_are_big_endian() -> None:
    """As servers keep them, so that their bytes are in the order of the ids."""
    assert stream_id(raw((1 << 64) - 1, 7)) == ((1 << 64) - 1, 7)


def test_entries_are_found_in_any_order() -> None:
    """By two consumers with ascending ids, and by one with ids in no order."""
    for order in ([*range(1, 100, 2), *range(2, 101, 2)], random.Random(1).sample(range(1, 101), 100)):
        made = table(100)
        for number in order:
            if number == 2:
                made.begin_consumer()
            assert made.take(raw(number)) == PendingEntry((number, 0), number, 2 * number)
        assert made.all_taken


def test_an_entry_that_no_consumer_holds_is_noticed() -> None:
    """The first and the last; times may be negative."""
    made = PendingTable()
    assert made.all_taken
    made.add(raw(1), -1, 1)
    made.add(raw(2), 0, (1 << 64) - 1)
    assert made.take(raw(1)) == PendingEntry((1, 0), -1, 1)
    assert not made.all_taken
    assert made.take(raw(2)) == PendingEntry((2, 0), 0, (1 << 64) - 1)
    assert made.all_taken


def test_more_entries_than_may_be_held_are_refused_by_their_count() -> None:
    """Before the first of them comes."""
    most = MAX_TABLE // (RECORD + 1)
    assert PendingTable(most).all_taken
    with pytest.raises(UnfaithfulError, match=f"has {most + 1} pending entries, more than {most}; acknowledge"):
        PendingTable(most + 1)


@pytest.mark.parametrize("taken", [raw(0), raw(2, 1), raw(99)])
def test_an_id_that_is_not_pending_is_refused(taken: bytes) -> None:
    """Below all, between two, above all; and in an empty table."""
    for made in (table(3), PendingTable()):
        with pytest.raises(CorruptError, match="not pending"):
            made.take(taken)


def test_an_id_is_given_once() -> None:
    """A second consumer cannot have it."""
    made = table(3)
    made.take(raw(2))
    made.begin_consumer()
    with pytest.raises(CorruptError, match="two consumers"):
        made.take(raw(2))


@pytest.mark.parametrize("number", [2, 3])
def test_ids_ascend(number: int) -> None:
    """An equal or lower one is no list that a server writes."""
    with pytest.raises(CorruptError, match="ascending"):
        table(3).add(raw(number), 0, 0)
