"""RESP2 replies as they came: whole ones, which are measured and compared without a value made of each."""

from __future__ import annotations

from typing import NamedTuple

from shaker.codec.resp.replies import short_line
from shaker.codec.resp.reply_values import QUEUED

_BEGUN = b"+OK\r\n"


class Measure(NamedTuple):
    """Of whole replies: where they end, the bytes of their strings, and whether an error is among them."""

    end: int
    string_bytes: int
    refused: bool


def measure(data: bytes, position: int, count: int) -> Measure:
    """Measure `count` replies from `position` on, as `ReplyParser.take` gives them; items of arrays are included."""
    size = len(data)
    string_bytes = 0
    refused = False
    while count:
        count -= 1
        kind = data[position]
        number, behind = short_line(data, position, size)
        if behind < 0:
            end = data.index(b"\r\n", position)
            number = int(data[position + 1 : end]) if kind == 36 or kind == 42 else 0
            behind = end + 2
        if kind == 36:  # $ bulk string
            if number >= 0:
                string_bytes += number
                behind += number + 2
        elif kind == 42:  # * array
            if number > 0:
                count += number
        elif kind == 45:  # - error
            refused = True
        position = behind
    return Measure(position, string_bytes, refused)


def items_of_transaction(data: bytes, queued: int) -> int:
    """Return where the replies to `queued` requests begin in those to MULTI, these, and EXEC; -1 where one was refused.

    Source: redis.io/docs/latest/develop/using-commands/transactions.
    """
    head = _BEGUN + QUEUED * queued + b"*%d\r\n" % queued
    return len(head) if data.startswith(head) else -1


class Scanned(NamedTuple):
    """A reply to SCAN: the next cursor, and `number` keys as they came, which are the same bytes in a request."""

    cursor: bytes
    number: int
    keys: bytes


def scanned(data: bytes, position: int) -> Scanned | None:
    """Read the whole reply to SCAN at `position`; None for any other reply."""
    size = len(data)
    if data[position : position + 5] != b"*2\r\n$":
        return None
    length, begin = short_line(data, position + 4, size)
    end = begin + length + 2
    if length <= 0 or end >= size or data[end] != 42:
        return None
    cursor = data[begin : end - 2]
    line = data.index(b"\r\n", end)
    text = data[end + 1 : line]
    if not text.isdigit():
        return None
    count, first = int(text), line + 2
    end = _strings_end(data, first, count)
    return Scanned(cursor, count, data[first:end]) if end >= 0 else None


def _strings_end(data: bytes, position: int, count: int) -> int:
    """Return where `count` strings from `position` on end; -1 where there is anything else among them."""
    size = len(data)
    while count:
        count -= 1
        if position >= size or data[position] != 36:
            return -1
        number, behind = short_line(data, position, size)
        if behind < 0:
            behind = data.index(b"\r\n", position)
            number = int(data[position + 1 : behind])
            behind += 2
            if number < 0:
                return -1
        position = behind + number + 2
    return position
