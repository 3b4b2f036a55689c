"""Keys of a snapshot know their number and the memory that they take."""

from __future__ import annotations

from shaker.model.entries import ENTRY_BYTES, OBJECT_BYTES, Entries, Entry, ExpiringString, held_bytes, keys_in

KEYS = Entries(
    0,
    strings=[b"a", b"1", b"b", b"22"],
    values=[b"l", b"payload"],
    expiring=[ExpiringString(b"e", b"333", 9)],
    entries=[Entry(b"h", b"dump", 9, -1, -1)],
    empty=(b"left", b"out"),
    expired=7,
)


def test_keys_of_all_forms_are_counted_but_those_left_out() -> None:
    """Pairs are one key each; empty and expired keys are none."""
    assert keys_in(KEYS) == 5
    assert keys_in(Entries(0, [], [], [], [], empty=(b"left",), expired=1)) == 0


def test_memory_counts_bytes_and_objects() -> None:
    """Lists cost an object for each element, entries a tuple."""
    size = len(b"a1b22") + len(b"lpayload") + len(b"e333") + len(b"hdump")

    assert held_bytes(KEYS) == size + 6 * OBJECT_BYTES + 2 * ENTRY_BYTES
