"""Strings that hold the elements of a small collection: listpack, ziplist, intset, zipmap.

Formats: server files src/listpack.c, ziplist.c, intset.c and zipmap.c. Each is checked whole while it is read, as
servers check it with sanitize-dump-payload: sizes, numbers of elements, lengths of neighbours, ends.
"""

from __future__ import annotations

import struct
from typing import Final

from shaker.codec.rdb.listpack import (
    COUNT_UNKNOWN,
    LISTPACK_HEADER,
    check_listpack,
    element_integer,
    element_size,
    is_integer,
    trailing_size,
)
from shaker.errors import CorruptError

# Integers of listpacks below 128, as text.
SMALL: Final = tuple(b"%d" % number for number in range(128))
ZIPLIST_HEADER: Final = 10
ZIPLIST_END: Final = 0xFF
ZIPMAP_END: Final = 0xFF
ZIPMAP_LONG: Final = 254  # the length follows in four bytes; as a count: more than one byte can hold
_INTSET_FORMATS: Final[dict[int, str]] = {2: "h", 4: "i", 8: "q"}
_ZIPLIST_INTEGERS: Final[dict[int, int]] = {0xC0: 2, 0xD0: 4, 0xE0: 8, 0xF0: 3, 0xFE: 1}


class Packed:
    """The elements of one such string. `done` once all were taken and the whole string was found right."""

    def __init__(self) -> None:
        self.done = False
        self.taken = 0

    def take(self, out: list[bytes], most: int) -> None:
        """Append the next elements to `out`, at most `most`."""
        raise NotImplementedError


class Listpack(Packed):
    """The elements of a listpack."""

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self._text = text
        self._last = check_listpack(text)
        self._position = LISTPACK_HEADER

    def take(self, out: list[bytes], most: int) -> None:
        """Append the next elements to `out`, at most `most`."""
        text, last, position = self._text, self._last, self._position
        left = most
        while position < last and left > 0:
            head = text[position]
            if head < 0x80:
                size = 1
                value = SMALL[head]
            elif head < 0xC0:
                size = 1 + (head & 0x3F)
                value = text[position + 1 : position + size]
            else:
                size = element_size(text, position)
                if position + size >= last:
                    raise CorruptError("an element of a listpack is longer than the listpack")
                if is_integer(head):
                    value = b"%d" % element_integer(text, position)
                else:
                    value = text[position + (5 if head == 0xF0 else 2) : position + size]
            position += size
            if position >= last:
                raise CorruptError("an element of a listpack is longer than the listpack")
            if size < 128:
                if text[position] != size:
                    raise CorruptError("an element of a listpack has a wrong trailing length")
                position += 1
            else:
                position = _after_trailing(text, position, size, last)
            out.append(value)
            left -= 1
        self.taken += most - left
        self._position = position
        if position >= last:
            count = text[4] | text[5] << 8
            if count not in (self.taken, COUNT_UNKNOWN):
                raise CorruptError(f"a listpack has {self.taken} elements, not the {count} that it declares")
            self.done = True


def _after_trailing(text: bytes, position: int, size: int, last: int) -> int:
    """Return the position after the trailing length at `position` of an element of `size` bytes."""
    stop = position + trailing_size(size)
    if stop > last:
        raise CorruptError("an element of a listpack is longer than the listpack")
    told = 0
    for index in range(position, stop):
        told = told << 7 | (text[index] & 0x7F)
    if told != size:
        raise CorruptError("an element of a listpack has a wrong trailing length")
    return stop


class Ziplist(Packed):
    """The elements of a ziplist."""

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self._text = text
        self._last = len(text) - 1
        self._position = ZIPLIST_HEADER
        self._before = 0  # size of the element before
        if (
            self._last < ZIPLIST_HEADER
            or text[self._last] != ZIPLIST_END
            or int.from_bytes(text[:4], "little") != len(text)
        ):
            raise CorruptError("a ziplist has a wrong size or no end")

    def take(self, out: list[bytes], most: int) -> None:
        """Append the next elements to `out`, at most `most`."""
        text, last, position, before = self._text, self._last, self._position, self._before
        left = most
        while position < last and left > 0:
            start = position
            told = text[position]
            position += 1
            if told == 254:
                told = int.from_bytes(text[position : position + 4], "little")
                position += 4
            if told != before or position >= last:
                raise CorruptError("an element of a ziplist has a wrong length of the one before")
            head = text[position]
            if head < 0x40:
                first = position + 1
                position = first + head
                value = text[first:position]
            elif head < 0x80:
                first = position + 2
                position = first + ((head & 0x3F) << 8 | text[position + 1])
                value = text[first:position]
            elif head < 0xC0:
                first = position + 5
                position = first + int.from_bytes(text[position + 1 : first], "big")
                value = text[first:position] if position <= last else b""
            elif head in _ZIPLIST_INTEGERS:
                first = position + 1
                position = first + _ZIPLIST_INTEGERS[head]
                value = b"%d" % int.from_bytes(text[first:position], "little", signed=True)
            elif 0xF1 <= head <= 0xFD:
                position += 1
                value = SMALL[head - 0xF1]
            else:
                raise CorruptError("an element of a ziplist has an encoding that does not exist")
            if position > last:
                raise CorruptError("an element of a ziplist is longer than the ziplist")
            before = position - start
            out.append(value)
            left -= 1
        self.taken += most - left
        self._position, self._before = position, before
        if position >= last:
            count = text[8] | text[9] << 8
            if count not in (self.taken, COUNT_UNKNOWN):
                raise CorruptError(f"a ziplist has {self.taken} elements, not the {count} that it declares")
            self.done = True


class Intset(Packed):
    """The members of an intset: different integers in ascending order, all of one width."""

    def __init__(self, text: bytes) -> None:
        super().__init__()
        width = int.from_bytes(text[:4], "little")
        self._text = text
        self._count = int.from_bytes(text[4:8], "little")
        self._format = _INTSET_FORMATS.get(width, "")
        self._width = width
        self._greatest = -(1 << 63) - 1
        if not self._format or len(text) != 8 + width * self._count:
            raise CorruptError("an intset has a wrong width or size")

    def take(self, out: list[bytes], most: int) -> None:
        """Append the next members to `out`, at most `most`."""
        number = min(most, self._count - self.taken)
        numbers: tuple[int, ...] = struct.unpack_from(
            f"<{number}{self._format}", self._text, 8 + self._width * self.taken
        )
        greatest = self._greatest
        for member in numbers:
            if member <= greatest:
                raise CorruptError("an intset is not in ascending order")
            greatest = member
            out.append(b"%d" % member)
        self._greatest = greatest
        self.taken += number
        self.done = self.taken == self._count


class Zipmap(Packed):
    """The fields and values of a zipmap, as Redis before 2.6 wrote small hashes."""

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self._text = text
        self._last = len(text) - 1
        self._position = 1
        if self._last < 1 or text[self._last] != ZIPMAP_END:
            raise CorruptError("a zipmap has no end")

    def take(self, out: list[bytes], most: int) -> None:
        """Append the next fields and values to `out`, at most `most`, an even number."""
        text, last = self._text, self._last
        left = most
        while self._position < last and left > 1:
            start, stop = self._string(0)
            out.append(text[start:stop])
            start, stop = self._string(1)
            out.append(text[start:stop])
            left -= 2
        self.taken += most - left
        if self._position >= last:
            if text[0] not in (self.taken // 2, ZIPMAP_LONG, 255):
                raise CorruptError(f"a zipmap has {self.taken // 2} fields, not the {text[0]} that it declares")
            self.done = True

    def _string(self, extra: int) -> tuple[int, int]:
        """Pass a string, with `extra` bytes between its length and itself that say how much is free after it."""
        text, last, position = self._text, self._last, self._position
        if position >= last:
            raise CorruptError("a zipmap has a field without a value")
        size = text[position]
        position += 1
        if size == ZIPMAP_LONG:
            size = int.from_bytes(text[position : position + 4], "little")
            position += 4
        elif size > ZIPMAP_LONG:
            raise CorruptError("a zipmap ends before its end")
        start = position + extra
        if start > last:
            raise CorruptError("a string of a zipmap is longer than the zipmap")
        stop = start + size
        self._position = stop + (text[position] if extra else 0)
        if self._position > last:
            raise CorruptError("a string of a zipmap is longer than the zipmap")
        return start, stop
