"""Lengths and strings of an RDB (server file src/rdb.c: rdbLoadLenByRef, rdbGenericLoadStringObject)."""

from __future__ import annotations

from typing import Final

from shaker.codec.rdb.lzf import decompress
from shaker.codec.rdb.value_types import ENCODED, ENCODED_LZF, LENGTH_32, LENGTH_64, Shape
from shaker.errors import UnfaithfulError

# Returned by `read_length` in place of the next position.
INCOMPLETE: Final = -1
INVALID: Final = -2
# Bytes of an LZF string's beginning: its mark, and two lengths of two bytes.
LONGEST_SHORT: Final = 5

RAISE_LIMIT: Final = "raise snapshot.max_value, or make the source's key smaller"

_MODULE_NAME_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def read_length(buffer: bytes, position: int, end: int) -> tuple[int, int]:
    """Return the length at `position` and the position behind it: INCOMPLETE where it is cut, INVALID if none."""
    if position >= end:
        return 0, INCOMPLETE
    head = buffer[position]
    if head < 0x40:
        return head, position + 1
    if head < 0x80:
        size = 1
    elif head == LENGTH_32:
        size = 4
    elif head == LENGTH_64:
        size = 8
    else:
        return 0, INVALID
    behind = position + 1 + size
    if behind > end:
        return 0, INCOMPLETE
    value = int.from_bytes(buffer[position + 1 : behind], "big")
    return (value + ((head & 0x3F) << 8) if size == 1 else value), behind


def string_end(buffer: bytes, position: int, end: int) -> int:
    """Return the position behind the string at `position`, or one above `end` if it is not whole, or invalid."""
    if position + LONGEST_SHORT <= end:
        # Nearly all have lengths of one or two bytes.
        head = buffer[position]
        if head < 0x40:
            return position + 1 + head
        if head < LENGTH_32:
            return position + 2 + (head - 0x40) * 256 + buffer[position + 1]
        if head == ENCODED_LZF and buffer[position + 1] < LENGTH_32:
            size = buffer[position + 1]
            behind = position + 2
            if size >= 0x40:
                size = (size - 0x40) * 256 + buffer[behind]
                behind += 1
            if buffer[behind] < LENGTH_32:
                return behind + (1 if buffer[behind] < 0x40 else 2) + size
    head = buffer[position] if position < end else 0xFF
    if ENCODED <= head < ENCODED_LZF:
        return position + 1 + (1 << (head & 3))
    if head == ENCODED_LZF:
        size, behind = read_length(buffer, position + 1, end)
        if behind >= 0:
            behind = read_length(buffer, behind, end)[1]
    else:
        size, behind = read_length(buffer, position, end)
    return behind + size if behind >= 0 else end + 1


def collection_end(buffer: bytes, position: int, end: int, shape: Shape) -> int:
    """Return the position behind the flat collection at `position`, or one above `end` if it is not whole.

    A collection with a length of more than one byte among its items, or with anything invalid, counts as not whole:
    a closer look reports the fault.
    """
    lengths, strings, raw = shape
    if position < end and buffer[position] < 0x40:
        count = buffer[position]
        position += 1
    else:
        count, position = read_length(buffer, position, end)
        if position < 0 or count > end:
            return end + 1
    for _ in range(count):
        if lengths:
            if position >= end or buffer[position] >= 0x40:
                return end + 1
            position += lengths
        for _ in range(strings):
            if position >= end:
                return end + 1
            head = buffer[position]
            if head < 0x40:
                position += 1 + head
            elif head == ENCODED:
                position += 2
            else:
                position = string_end(buffer, position, end)
        position += raw
    return position


def read_string(buffer: bytes, position: int, limit: int) -> tuple[bytes, int]:
    """Return the string at `position`, which is known to be whole, and the position behind it.

    Integers are given as decimal text. Raises CorruptError on bad LZF data, UnfaithfulError on LZF data that
    declare more than `limit` bytes.
    """
    head = buffer[position]
    end = len(buffer)
    if ENCODED <= head < ENCODED_LZF:
        behind = position + 1 + (1 << (head & 3))
        number = int.from_bytes(buffer[position + 1 : behind], "little", signed=True)
        return str(number).encode(), behind
    if head == ENCODED_LZF:
        compressed, behind = read_length(buffer, position + 1, end)
        size, behind = read_length(buffer, behind, end)
        if size > limit:
            raise UnfaithfulError(
                f"a string of {size} bytes is above snapshot.max_value, {limit} bytes", hint=RAISE_LIMIT
            )
        return decompress(buffer[behind : behind + compressed], size), behind + compressed
    size, behind = read_length(buffer, position, end)
    return buffer[behind : behind + size], behind + size


def module_name(identifier: int) -> bytes:
    """Return the 9 letters of a module type's id (server file src/module.c, moduleTypeNameByID)."""
    return "".join(_MODULE_NAME_LETTERS[identifier >> shift & 63] for shift in range(58, 4, -6)).encode()
