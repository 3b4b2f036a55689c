"""LZF, the compression of strings in an RDB: decompression alone (server file src/lzf_d.c)."""

from __future__ import annotations

from typing import Final

from shaker.errors import CorruptError

WINDOW: Final = 1 << 13  # a back reference goes so many bytes back at most: 13 bits of distance


def decompress(data: bytes, length: int) -> bytes:
    """Return the `length` bytes that `data` was compressed from; CorruptError if it is not exactly so many.

    The output grows with what the input really holds: `length` is a limit, never an allocation.
    """
    out = bytearray()
    position = _expand(data, out, length)
    _check_whole(data, position)
    if len(out) != length:
        raise CorruptError(f"LZF data holds {len(out)} bytes, not the {length} bytes that it declares")
    return bytes(out)


class Decompressor:
    """Decompresses a string that comes in chunks, in memory bounded by the size of a chunk."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._given = 0
        self._window = bytearray()
        self._rest = b""  # the beginning of an instruction

    def feed(self, data: bytes) -> bytes:
        """Return the bytes that `data` adds; CorruptError if they become more than declared."""
        data = self._rest + data
        out = self._window
        before = len(out)
        position = _expand(data, out, self._length - self._given + before)
        self._rest = data[position:]
        added = bytes(out[before:])
        self._given += len(added)
        self._window = out[-WINDOW:]
        return added

    def finish(self) -> None:
        """Raise CorruptError unless all declared bytes were given, and no others."""
        _check_whole(self._rest, 0)
        if self._given != self._length:
            raise CorruptError(f"LZF data holds {self._given} bytes, not the {self._length} bytes that it declares")


def _expand(data: bytes, out: bytearray, length: int) -> int:
    """Append to `out` what the whole instructions in `data` mean; return where the first cut one is.

    CorruptError for a reference to bytes before `out`, and where `out` becomes longer than `length`.
    """
    position = 0
    end = len(data)
    while position < end:
        control = data[position]
        if control < 32:  # control + 1 bytes as they are
            stop = position + control + 2
            if stop > end:
                break
            out += data[position + 1 : stop]
            position = stop
        else:  # a copy of bytes that were written before: 3 bits length, 13 bits distance
            copied = control >> 5
            stop = position + (3 if copied == 7 else 2)
            if stop > end:
                break
            if copied == 7:
                copied += data[position + 1]
            distance = ((control & 31) << 8) + data[stop - 1] + 1
            position = stop
            copied += 2
            start = len(out) - distance
            if start < 0:
                raise CorruptError("LZF data refers to bytes before its beginning")
            if distance >= copied:
                out += out[start : start + copied]
            else:  # the copy overlaps what it writes: the last `distance` bytes over and over
                out += (out[start:] * (copied // distance + 1))[:copied]
        if len(out) > length:
            raise CorruptError(f"LZF data holds more than the {length} bytes that it declares")
    return position


def _check_whole(data: bytes, position: int) -> None:
    if position < len(data):
        cut = "literal run" if data[position] < 32 else "back reference"
        raise CorruptError(f"LZF data ends inside a {cut}")
