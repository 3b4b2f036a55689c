"""Bytes that wait to be decoded, with named extractors that go back to the last whole element.

An extractor that finds too little raises `Incomplete`. The decoder then goes back to `safe`, the position after the
last element taken whole, and waits until at least the missing bytes are there: no byte is copied or looked at more
than a few times, in chunks of any size.
"""

from __future__ import annotations

from typing import Final

from shaker.codec.rdb.strings import INCOMPLETE, INVALID, read_length, read_string
from shaker.codec.rdb.value_types import ENCODED, ENCODED_LZF
from shaker.errors import CorruptError, UnfaithfulError

# The default proto-max-bulk-len: the longest string that a client can give to a server.
MAX_STRING: Final = 512 * 1024 * 1024


class Incomplete(Exception):
    """The bytes fed end in the middle of an element."""


class Buffer:
    """Bytes fed and not taken: `data` from `position` to `end`."""

    def __init__(self, max_string: int = MAX_STRING) -> None:
        self.data = b""
        self.position = 0
        self.safe = 0
        self.end = 0
        self.max_string = max_string
        self._chunks: list[bytes] = []
        self._chunks_size = 0
        self._needed = 0  # bytes from `safe` on without which another look is vain

    def add(self, chunk: bytes) -> None:
        """Append bytes."""
        self._chunks.append(chunk)
        self._chunks_size += len(chunk)

    def waiting(self) -> int:
        """Return how many bytes are there from `safe` on."""
        return self.end - self.safe + self._chunks_size

    def ready(self) -> bool:
        """Return whether decoding can go further than the last time."""
        if self.waiting() < self._needed:
            return False
        if self._chunks:
            if self.safe < self.end or len(self._chunks) > 1:
                self._chunks.insert(0, self.data[self.safe :])
                self.data = b"".join(self._chunks)
            else:
                self.data = self._chunks[0]
            self._chunks = []
            self._chunks_size = 0
            self.safe = 0
            self.end = len(self.data)
        self.position = self.safe
        self._needed = 0
        return True

    def commit(self) -> None:
        """Note that all before `position` is taken."""
        self.safe = self.position

    def need(self, behind: int) -> Incomplete:
        """Return the exception for data that must reach to `behind`."""
        self._needed = max(behind, self.end + 1) - self.safe
        return Incomplete()

    def length(self) -> int:
        """Take a length."""
        value, behind = read_length(self.data, self.position, self.end)
        if behind == INCOMPLETE:
            raise self.need(self.end + 1)
        if behind == INVALID:
            raise CorruptError("a length has a form that does not exist")
        self.position = behind
        return value

    def byte(self) -> int:
        """Take one byte."""
        position = self.position
        if position >= self.end:
            raise self.need(position + 1)
        self.position = position + 1
        return self.data[position]

    def raw(self, size: int) -> bytes:
        """Take `size` bytes."""
        start = self.position
        if start + size > self.end:
            raise self.need(start + size)
        self.position = start + size
        return self.data[start : start + size]

    def milliseconds(self) -> int:
        """Take a time, signed, of eight bytes."""
        return int.from_bytes(self.raw(8), "little", signed=True)

    def string(self) -> bytes:
        """Take a string, integers as decimal text; UnfaithfulError above `max_string` bytes."""
        start, end = self.position, self.end
        if start >= end:
            raise self.need(start + 1)
        head = self.data[start]
        if head < 0x40 and start + 1 + head <= end:
            self.position = start + 1 + head
            return self.data[start + 1 : start + 1 + head]
        behind = self._string_end(head)
        if behind > end:
            raise self.need(behind)
        value, self.position = read_string(self.data, start, self.max_string)
        return value

    def _string_end(self, head: int) -> int:
        """Return the position after the string at `position`, whose header must be whole."""
        start, end = self.position, self.end
        if ENCODED <= head < ENCODED_LZF:
            return start + 1 + (1 << (head & 3))
        if head == ENCODED_LZF:
            size, behind = read_length(self.data, start + 1, end)
            if behind >= 0:
                behind = read_length(self.data, behind, end)[1]
        else:
            size, behind = read_length(self.data, start, end)
        if behind == INCOMPLETE:
            raise self.need(end + 1)
        if behind == INVALID:
            raise CorruptError("a length has a form that does not exist")
        if size > self.max_string:
            raise UnfaithfulError(f"a string of {size} bytes is above the limit of {self.max_string} bytes")
        return behind + size
