"""The pending entries of one consumer group, 33 bytes each, until the consumers that hold them are read.

An RDB lists all pending entries of a group with time and count, then for each consumer the ids of its own.
"""

from __future__ import annotations

from typing import Final

from shaker.codec.values.elements import PendingEntry, StreamId
from shaker.errors import CorruptError, UnfaithfulError

RECORD: Final = 32  # id, delivery time, number of deliveries
ID: Final = 16
MAX_TABLE: Final = 256 * 1024 * 1024  # bytes of a table of ids or pending entries


def stream_id(raw: bytes) -> StreamId:
    """Return the id of 16 bytes, big endian, as servers keep them."""
    return int.from_bytes(raw[:8], "big"), int.from_bytes(raw[8:16], "big")


class PendingTable:
    """Pending entries by id, `count` of them; each is given to one consumer, once.

    Raises UnfaithfulError for more than MAX_TABLE bytes hold.
    """

    def __init__(self, count: int = 0) -> None:
        most = MAX_TABLE // (RECORD + 1)
        if count > most:
            raise UnfaithfulError(
                f"a group of a stream has {count} pending entries, more than {most}",
                hint="acknowledge pending entries of the group on the source (XACK)",
                kind="too_large",
            )
        self._records = bytearray()
        self._taken = bytearray()
        self._last = b""
        self._next = 0  # the record after the one found last: consumers list their ids in ascending order too

    def add(self, raw: bytes, delivered: int, deliveries: int) -> None:
        """Add an entry; CorruptError unless its id is above the last one's."""
        if raw <= self._last:
            raise CorruptError("the pending entries of a stream's group are not in ascending order")
        self._last = raw
        self._records += raw
        self._records += delivered.to_bytes(8, "little", signed=True)
        self._records += deliveries.to_bytes(8, "little")
        self._taken.append(0)

    def begin_consumer(self) -> None:
        """Note that the next ids are another consumer's."""
        self._next = 0

    def take(self, raw: bytes) -> PendingEntry:
        """Return the entry with this id; CorruptError if there is none or another consumer has it."""
        index = self._next
        if self._id(index) != raw:
            index = self._find(raw)
        if self._taken[index]:
            raise CorruptError("a pending entry of a stream belongs to two consumers")
        self._taken[index] = 1
        self._next = index + 1
        return self._entry(index)

    @property
    def all_taken(self) -> bool:
        """Whether a consumer holds each entry."""
        return 0 not in self._taken

    def _id(self, index: int) -> bytes:
        return bytes(self._records[index * RECORD : index * RECORD + ID])

    def _find(self, raw: bytes) -> int:
        low, high = 0, len(self._taken)
        while low < high:
            middle = (low + high) // 2
            if self._id(middle) < raw:
                low = middle + 1
            else:
                high = middle
        if self._id(low) != raw:
            raise CorruptError("a consumer of a stream holds an entry that is not pending")
        return low

    def _entry(self, index: int) -> PendingEntry:
        start = index * RECORD
        record = bytes(self._records[start : start + RECORD])
        delivered = int.from_bytes(record[16:24], "little", signed=True)
        return PendingEntry(stream_id(record), delivered, int.from_bytes(record[24:], "little"))
