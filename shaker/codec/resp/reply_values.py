"""RESP2 replies to single requests, as values or as they came, within bounds that no server can exceed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from shaker.codec.resp.replies import MAX_ERROR_TEXT, ReplyScanner, short_line
from shaker.errors import CorruptError

# The largest replies asked for are CLIENT LIST of 65,000 clients and COMMAND.
MAX_REPLY: Final = 64 * 1024 * 1024
# An empty item takes 4 bytes on the way and some 60 in memory.
MAX_ITEMS: Final = 500_000
# COMMAND nests five deep.
MAX_DEPTH: Final = 8
QUEUED: Final = b"+QUEUED\r\n"


class ReplyParser:
    """Reads replies: bytes, int, None, lists of them, and what `error` makes of an error's text.

    A reply of more than MAX_REPLY bytes or MAX_ITEMS items, or deeper than MAX_DEPTH, and bytes that are no RESP2
    raise CorruptError. Nothing is made of a reply before it is whole: lengths alone cost no memory.
    """

    def __init__(self, error: Callable[[str], Exception]) -> None:
        self._error = error
        self._scanner = ReplyScanner()
        self._held = bytearray()
        self._items = 0

    def feed(self, data: bytes) -> None:
        """Take bytes from the server."""
        self._held += data
        self._scanner.feed(data)

    def take(self, most: int) -> tuple[bytes, int]:
        """Return the next replies, up to `most`, that are whole, as they came, and how many these are."""
        scanner = self._scanner
        whole = scanner.skip_same(QUEUED, most)
        whole += scanner.skip(most - whole)
        scanner.clear_errors()
        if scanner.open_bytes > MAX_REPLY:
            raise CorruptError(f"a reply of more than {MAX_REPLY} bytes came")
        end = len(self._held) - scanner.pending - scanner.open_bytes
        data = bytes(self._held[:end])
        del self._held[:end]
        return data, whole

    def values(self, data: bytes, position: int, count: int) -> list[Any]:
        """Return the values of `count` replies that `take` has given, from `position` on."""
        replies: list[Any] = []
        while len(replies) < count:
            self._items = 0
            reply, position = self._decode(data, position, 0)
            replies.append(reply)
        return replies

    def _decode(self, data: bytes, position: int, depth: int) -> tuple[Any, int]:
        """Return the reply at `position` of whole, scanned replies, and where it ends."""
        self._items += 1
        if depth > MAX_DEPTH or self._items > MAX_ITEMS:
            raise CorruptError("a reply nests deeper or holds more items than any that was asked for")
        kind = data[position]
        number, behind = short_line(data, position, len(data))
        text = b""
        if behind < 0:
            end = data.index(b"\r\n", position)
            text, behind = data[position + 1 : end], end + 2
            number = int(text) if kind == 36 or kind == 42 else -1
        elif kind == 58:
            return number, behind
        elif kind == 43 or kind == 45:
            text = data[position + 1 : behind - 2]
        position = behind
        if kind == 36:  # $ bulk string
            return (None, position) if number < 0 else (data[position : position + number], position + number + 2)
        if kind == 42:  # * array
            if number < 0:
                return None, position
            items = []
            for _ in range(number):
                item, position = self._decode(data, position, depth + 1)
                items.append(item)
            return items, position
        if kind == 58:  # : integer
            if not text.removeprefix(b"-").isdigit() or len(text) > 20:
                raise CorruptError("an integer reply is no integer")
            return int(text), position
        if kind == 45:  # - error
            return self._error(text[:MAX_ERROR_TEXT].decode("utf-8", "replace")), position
        return text, position
