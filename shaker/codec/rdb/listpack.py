"""Elements of listpacks (server file src/listpack.c): their sizes and the integers among them."""

from __future__ import annotations

from typing import Final

from shaker.errors import CorruptError

# A listpack: its size in four bytes, its number of elements in two, the elements, a last byte.
LISTPACK_HEADER: Final = 6
LISTPACK_END: Final = 0xFF
# A number of elements that two bytes cannot hold: they must be counted.
COUNT_UNKNOWN: Final = 0xFFFF
INTEGER_64: Final = 0xF4
# Integers by their first byte: how many bytes follow.
INTEGERS: Final[dict[int, int]] = {0xF1: 2, 0xF2: 3, 0xF3: 4, INTEGER_64: 8}


def check_listpack(text: bytes) -> int:
    """Return the position of the last byte of a listpack; CorruptError where header or last byte are wrong."""
    last = len(text) - 1
    if last < LISTPACK_HEADER or text[last] != LISTPACK_END or int.from_bytes(text[:4], "little") != len(text):
        raise CorruptError("a listpack has a wrong size or no end")
    return last


def element_size(text: bytes, position: int) -> int:
    """Return the bytes of the element at `position` without its trailing length; CorruptError for none."""
    head = text[position]
    if head < 0x80:  # an integer of 7 bits
        return 1
    if head < 0xC0:  # a string, its length in 6 bits
        return 1 + (head & 0x3F)
    if head < 0xE0:  # an integer of 13 bits
        return 2
    if head < 0xF0:  # a string, its length in 12 bits
        return 2 + ((head & 0x0F) << 8) + text[position + 1]
    if head == 0xF0:  # a string, its length in 32 bits
        return 5 + int.from_bytes(text[position + 1 : position + 5], "little")
    if head in INTEGERS:
        return 1 + INTEGERS[head]
    raise CorruptError("an element of a listpack has an encoding that does not exist")


def trailing_size(size: int) -> int:
    """Return how many bytes the trailing length of an element of `size` bytes takes, 7 bits in each.

    The limits are the server's (lpEncodeBacklen): one below what the groups could hold.
    """
    if size < 128:
        return 1
    if size < 16383:
        return 2
    if size < 2097151:
        return 3
    return 4 if size < 268435455 else 5


def element_end(text: bytes, position: int, end: int) -> int:
    """Return the position after the element at `position` and its trailing length; CorruptError past `end`."""
    if position >= end:
        raise CorruptError("a listpack ends in the middle of its elements")
    size = element_size(text, position)
    after = position + size + trailing_size(size)
    if after > end:
        raise CorruptError("an element of a listpack is longer than the listpack")
    return after


def is_integer(head: int) -> bool:
    """Return whether an element that begins with the byte `head` is an integer."""
    return head < 0x80 or 0xC0 <= head < 0xE0 or head in INTEGERS


def element_integer(text: bytes, position: int) -> int:
    """Return the integer that the whole element at `position` is; CorruptError for a string."""
    head = text[position]
    if head < 0x80:
        return head
    if 0xC0 <= head < 0xE0:
        number = (head & 0x1F) << 8 | text[position + 1]
        return number if number < 1 << 12 else number - (1 << 13)
    if head not in INTEGERS:
        raise CorruptError("an element of a listpack is no integer")
    return int.from_bytes(text[position + 1 : position + 1 + INTEGERS[head]], "little", signed=True)
