"""Counts the keys of a snapshot by database and type, by the first byte of each DUMP payload."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from shaker.codec.values.decoder import find_reader
from shaker.errors import UnfaithfulError
from shaker.model.entries import Entries, LargeEntry


class TypeCounts:
    """The counts of one snapshot, kept in `counts` by (database, type); nothing is counted without one."""

    def __init__(self, counts: Counter[tuple[int, str]]) -> None:
        self._counts = counts

    def add(self, entries: Entries) -> None:
        """Count keys."""
        database = entries.database
        self._counts[database, "string"] += len(entries.strings) // 2 + len(entries.expiring)
        first = Counter([payload[0] for payload in entries.values[1::2]])
        first.update([entry.payload[0] for entry in entries.entries])
        for number, count in first.items():
            self._counts[database, type_name(number)] += count

    def add_large(self, entry: LargeEntry, first: bytes) -> None:
        """Count one key whose payload begins with `first`."""
        self._counts[entry.database, type_name(first[0])] += 1


@lru_cache(maxsize=256)
def type_name(number: int) -> str:
    """Return the name of an RDB type, as TYPE has it."""
    try:
        # Redis and Valkey give one name to the types in which they differ.
        return find_reader(number, valkey=False)[0].value
    except UnfaithfulError:
        return f"type {number}"
