"""Readers of one value: strings, and collections that are a count of strings or of packed strings.

A reader takes whole elements from a `Buffer` and gives them out in batches of at most `BATCH` strings. `read` returns
when the value has ended (`finished`) or a batch is full; it raises `Incomplete` where it needs more bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Final

from shaker.codec.rdb.lzf import Decompressor
from shaker.codec.rdb.value_types import ENCODED, ENCODED_LZF
from shaker.codec.values.buffer import Buffer
from shaker.codec.values.elements import (
    Element,
    Fields,
    Items,
    Members,
    Scores,
    StringPart,
    StringStart,
)
from shaker.codec.values.packed import Packed
from shaker.errors import CorruptError, UnfaithfulError

BATCH: Final = 1536  # strings: whole pairs and triples of them
PART: Final = 64 * 1024  # bytes of a plain string, before decompression
PACKED_NODE: Final = 2  # containers of a list's nodes (server file src/quicklist.h)
PLAIN_NODE: Final = 1
_SCORE_LETTERS: Final = frozenset(b"0123456789+-.eEinfINF")

Give = Callable[[list[bytes]], Element]


class Reader:
    """Reads one value; see the module."""

    def __init__(self) -> None:
        self.finished = False

    def read(self, buffer: Buffer) -> None:
        """Take whole elements, up to a full batch."""
        raise NotImplementedError

    def take(self) -> Element | None:
        """Return the next batch of elements read, None for nothing."""
        raise NotImplementedError


def items(batch: list[bytes]) -> Element:
    """Give out elements of a list."""
    return Items(batch)


def members(batch: list[bytes]) -> Element:
    """Give out members of a set."""
    return Members(batch)


def fields(batch: list[bytes]) -> Element:
    """Give out fields and values."""
    return Fields(batch)


def scores(batch: list[bytes]) -> Element:
    """Give out members and scores in decimal."""
    return Scores([(batch[index], decimal_score(batch[index + 1])) for index in range(0, len(batch), 2)])


def decimal_score(text: bytes) -> float:
    """Return a score; CorruptError for NaN and for no number. -0.0 counts as 0.0: small sets do not keep it."""
    if not _SCORE_LETTERS.issuperset(text):
        raise CorruptError("a score is no number")
    try:
        return checked_score(float(text))
    except ValueError:
        raise CorruptError("a score is no number") from None


def checked_score(score: float) -> float:
    """Return a score that is a number; see `decimal_score`."""
    if math.isnan(score):
        raise CorruptError("a score is NaN")
    return score + 0.0


class StringReader(Reader):
    """A plain string, in parts."""

    def __init__(self) -> None:
        super().__init__()
        self._left = -1  # bytes still to be read, -1 before the header
        self._decompressor: Decompressor | None = None
        self._out: list[Element] = []

    def read(self, buffer: Buffer) -> None:
        """Take the bytes that are there, up to PART."""
        if self._left < 0:
            self._begin(buffer)
            return
        if self._left:
            size = min(self._left, PART, buffer.end - buffer.position)
            if not size:
                raise buffer.need(buffer.position + 1)
            data = buffer.raw(size)
            buffer.commit()
            self._left -= size
            if self._decompressor is not None:
                data = self._decompressor.feed(data)
            if data:
                self._out.append(StringPart(data))
        if not self._left:
            if self._decompressor is not None:
                self._decompressor.finish()
            self.finished = True

    def _begin(self, buffer: Buffer) -> None:
        if buffer.position >= buffer.end:
            raise buffer.need(buffer.position + 1)
        head = buffer.data[buffer.position]
        if ENCODED <= head < ENCODED_LZF:
            number = buffer.string()
            self._out = [StringStart(len(number)), StringPart(number)]
            self._left = 0
        elif head == ENCODED_LZF:
            buffer.byte()
            compressed = buffer.length()
            size = buffer.length()
            self._check(size, buffer)
            self._left = compressed
            self._decompressor = Decompressor(size)
            self._out.append(StringStart(size))
        else:
            size = buffer.length()
            self._check(size, buffer)
            self._left = size
            self._out.append(StringStart(size))
        buffer.commit()

    def _check(self, size: int, buffer: Buffer) -> None:
        if size > buffer.max_string:
            raise UnfaithfulError(f"a string of {size} bytes is above the limit of {buffer.max_string} bytes")

    def take(self) -> Element | None:
        """Return the next part."""
        return self._out.pop(0) if self._out else None


class FlatReader(Reader):
    """Reads a flat batch of strings, given out in whole groups of `group` strings by `give`."""

    def __init__(self, give: Give, group: int) -> None:
        super().__init__()
        self._give = give
        self._group = group
        self._left = -1  # still to be read, -1 before the count
        self._batch: list[bytes] = []

    def take(self) -> Element | None:
        """Return the next batch."""
        batch = self._batch
        whole = len(batch) - len(batch) % self._group
        if not whole:
            return None
        self._batch = batch[whole:]
        return self._give(batch if whole == len(batch) else batch[:whole])


class StringsReader(FlatReader):
    """A count and so many groups of strings: lists, sets and hashes of the first RDB versions, and large ones."""

    def read(self, buffer: Buffer) -> None:
        """Take strings up to a full batch."""
        if self._left < 0:
            self._left = buffer.length() * self._group
            buffer.commit()
        batch = self._batch
        data, position, end = buffer.data, buffer.position, buffer.end
        left = self._left
        stop = max(0, left - BATCH + len(batch))
        while left > stop:
            if position < end and data[position] < 0x40:
                behind = position + 1 + data[position]
                if behind <= end:
                    batch.append(data[position + 1 : behind])
                    position = behind
                    left -= 1
                    continue
            self._left = left
            buffer.position = buffer.safe = position
            batch.append(buffer.string())
            position = buffer.position
            left -= 1
        self._left = left
        buffer.position = buffer.safe = position
        self.finished = left == 0


class PackedReader(FlatReader):
    """One packed string, or a count and so many of them, some with the form of the node before each."""

    def __init__(
        self, open_packed: Callable[[bytes], Packed], give: Give, group: int, *, one: bool, containers: bool = False
    ) -> None:
        super().__init__(give, group)
        self._open = open_packed
        self._containers = containers
        self._packed: Packed | None = None
        if one:
            self._left = 1

    def read(self, buffer: Buffer) -> None:
        """Take elements up to a full batch."""
        if self._left < 0:
            self._left = buffer.length()
            buffer.commit()
        while len(self._batch) < BATCH:
            packed = self._packed
            if packed is None:
                if not self._left:
                    self.finished = True
                    return
                container = buffer.length() if self._containers else PACKED_NODE
                if container not in (PLAIN_NODE, PACKED_NODE):
                    raise CorruptError(f"a node of a list has the form {container}, which does not exist")
                text = buffer.string()
                if container == PLAIN_NODE:
                    self._batch.append(text)
                else:
                    self._packed = self._open(text)
                self._left -= 1
                buffer.commit()
            else:
                packed.take(self._batch, BATCH - len(self._batch))
                if packed.done:
                    if packed.taken % self._group:
                        raise CorruptError("a packed collection ends in the middle of an element")
                    self._packed = None


class ScoresReader(Reader):
    """A count and so many members with their scores, as text (RDB 1 to 7) or as doubles (from RDB 8 on)."""

    def __init__(self, *, binary: bool) -> None:
        super().__init__()
        self._binary = binary
        self._left = -1
        self._batch: list[tuple[bytes, float]] = []

    def read(self, buffer: Buffer) -> None:
        """Take members up to a full batch."""
        if self._left < 0:
            self._left = buffer.length()
            buffer.commit()
        batch = self._batch
        while self._left and len(batch) < BATCH:
            member = buffer.string()
            score = self._double(buffer) if self._binary else self._text(buffer)
            batch.append((member, score))
            self._left -= 1
            buffer.commit()
        self.finished = not self._left

    def _double(self, buffer: Buffer) -> float:
        score: float = struct.unpack("<d", buffer.raw(8))[0]
        return checked_score(score)

    def _text(self, buffer: Buffer) -> float:
        size = buffer.byte()
        if size == 253:
            raise CorruptError("a score is NaN")
        if size >= 254:
            return math.inf if size == 254 else -math.inf
        return decimal_score(buffer.raw(size))

    def take(self) -> Element | None:
        """Return the next batch."""
        batch, self._batch = self._batch, []
        return Scores(batch) if batch else None
