"""Keys of a snapshot by database and type, whatever their encoding."""

from __future__ import annotations

from collections import Counter

import pytest

from shaker.model.entries import Entries, Entry, ExpiringString, LargeEntry
from shaker.readers.type_counts import TypeCounts, type_name


def test_keys_are_counted_by_database_and_type() -> None:
    counts: Counter[tuple[int, str]] = Counter()
    types = TypeCounts(counts)
    entry = Entry(b"s", b"\x00payload", 1, -1, -1)
    entries = Entries(3, [b"a", b"1"], [b"h", b"\x10x", b"l", b"\x12x"], [ExpiringString(b"e", b"1", 5)], [entry])
    types.add(entries)
    types.add(entries)
    types.add_large(LargeEntry(0, b"big", 10, -1, -1, -1), b"\x14rest")
    assert counts == {(3, "string"): 6, (3, "hash"): 2, (3, "list"): 2, (0, "set"): 1}


@pytest.mark.parametrize(
    ("number", "name"), [(0, "string"), (7, "module"), (21, "stream"), (22, "hash"), (99, "type 99")]
)
def test_a_type_has_its_name(number: int, name: str) -> None:
    assert type_name(number) == name
