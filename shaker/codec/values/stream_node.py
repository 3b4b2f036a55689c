"""One node of a stream: entries as differences to a master entry, in a listpack.

Format: server file src/t_stream.c, streamAppendItem. The node begins with the master entry: how many entries are
there and how many deleted, the master fields, a zero. Each entry has flags, the difference of its id to the id of
the node, its fields or only its values, and how many elements it has.
"""

from __future__ import annotations

from typing import Final

from shaker.codec.values.elements import StreamEntry
from shaker.codec.values.packed import Listpack
from shaker.errors import CorruptError

DELETED: Final = 1
SAME_FIELDS: Final = 2
# Elements that are decoded ahead of the entry they belong to.
AHEAD: Final = 512
# The most arguments of a command: no entry has more fields.
MAX_FIELDS: Final = 1 << 20
_MASK: Final = (1 << 64) - 1
_MAX_DIGITS: Final = 20
# Nearly all numbers of a node are small: looked up, not parsed.
_SMALL: Final[dict[bytes, int]] = {b"%d" % number: number for number in range(256)}


class StreamNode:
    """The entries of a node, one by one. `done` once all of it was read and found right."""

    def __init__(self, name: bytes, text: bytes) -> None:
        if len(name) != 16:
            raise CorruptError("a node of a stream has an id of the wrong size")
        self.done = False
        self._ms = int.from_bytes(name[:8], "big")
        self._seq = int.from_bytes(name[8:], "big")
        self._pack = Listpack(text)
        self._ahead: list[bytes] = []
        self._index = 0
        self._live = self._integer()
        self._deleted = self._integer()
        fields = self._count()
        self._fields = [self._next() for _ in range(fields)]
        if self._integer():
            raise CorruptError("the master entry of a stream's node does not end with zero")

    def next_entry(self) -> StreamEntry | None:
        """Return the next entry that is not deleted, None at the end of the node."""
        while self._index < len(self._ahead) or not self._pack.done:
            flags = self._integer()
            ms = (self._ms + self._integer()) & _MASK
            seq = (self._seq + self._integer()) & _MASK
            if flags & SAME_FIELDS:
                flat = self._same_fields()
                elements = len(self._fields) + 3
            else:
                fields = self._count()
                flat = [self._next() for _ in range(2 * fields)]
                elements = 2 * fields + 4
            if self._integer() != elements:
                raise CorruptError("an entry of a stream has a wrong number of elements")
            if flags & DELETED:
                self._deleted -= 1
            else:
                self._live -= 1
                return tuple.__new__(StreamEntry, ((ms, seq), flat))
        if self._live or self._deleted:
            raise CorruptError("a node of a stream has another number of entries than it declares")
        self.done = True
        return None

    def _same_fields(self) -> list[bytes]:
        flat: list[bytes] = []
        for name in self._fields:
            flat.append(name)
            flat.append(self._next())
        return flat

    def _next(self) -> bytes:
        if self._index == len(self._ahead):
            self._ahead = []
            self._index = 0
            if not self._pack.done:
                self._pack.take(self._ahead, AHEAD)
            if not self._ahead:
                raise CorruptError("a node of a stream ends in the middle of an entry")
        value = self._ahead[self._index]
        self._index += 1
        return value

    def _integer(self) -> int:
        text = self._next()
        small = _SMALL.get(text, -1)
        if small >= 0:
            return small
        if len(text) > _MAX_DIGITS or not text.removeprefix(b"-").isdigit():
            raise CorruptError("a node of a stream has a string in the place of a number")
        return int(text)

    def _count(self) -> int:
        count = self._integer()
        if not 0 <= count <= MAX_FIELDS:
            raise CorruptError("an entry of a stream has an impossible number of fields")
        return count
