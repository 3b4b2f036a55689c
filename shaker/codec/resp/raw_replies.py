"""RESP2 replies as they came: whole ones, which are measured and compared without a value made of each."""

from __future__ import annotations

from typing import NamedTuple

from shaker.codec.resp.reply_values import QUEUED

_BEGUN = b"+OK\r\n"


class Measure(NamedTuple):
    """Of whole replies: where they end, the bytes of their strings, and whether an error is among them."""

    end: int
    string_bytes: int
    refused: bool


def measure(data: bytes, position: int, count: int) -> Measure:
    """Measure `count` replies from `position` on, as `ReplyParser.take` gives them; items of arrays are included."""
    string_bytes = 0
    refused = False
    while count:
        count -= 1
        kind = data[position]
        end = data.index(b"\r\n", position)
        if kind == 36:  # $ bulk string
            length = int(data[position + 1 : end])
            if length >= 0:
                string_bytes += length
                end += length + 2
        elif kind == 42:  # * array
            items = int(data[position + 1 : end])
            if items > 0:
                count += items
        elif kind == 45:  # - error
            refused = True
        position = end + 2
    return Measure(position, string_bytes, refused)


def items_of_transaction(data: bytes, queued: int) -> int:
    """Return where the replies to `queued` requests begin in those to MULTI, these, and EXEC; -1 where one was refused.

    Source: redis.io/docs/latest/develop/using-commands/transactions.
    """
    head = _BEGUN + QUEUED * queued + b"*%d\r\n" % queued
    return len(head) if data.startswith(head) else -1
