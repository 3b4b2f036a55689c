"""LZF, the compression of strings in an RDB: decompression alone (server file src/lzf_d.c)."""

from __future__ import annotations

from shaker.errors import CorruptError


def decompress(data: bytes, length: int) -> bytes:
    """Return the `length` bytes that `data` was compressed from; CorruptError if it is not exactly so many.

    The output grows with what the input really holds: `length` is a limit, never an allocation.
    """
    out = bytearray()
    position = 0
    end = len(data)
    while position < end:
        control = data[position]
        position += 1
        if control < 32:  # control + 1 bytes as they are
            stop = position + control + 1
            if stop > end:
                raise CorruptError("LZF data ends inside a literal run")
            out += data[position:stop]
            position = stop
        else:  # a copy of bytes that were written before: 3 bits length, 13 bits distance
            copied = control >> 5
            if copied == 7:
                if position >= end:
                    raise CorruptError("LZF data ends inside a back reference")
                copied += data[position]
                position += 1
            if position >= end:
                raise CorruptError("LZF data ends inside a back reference")
            distance = ((control & 31) << 8) + data[position] + 1
            position += 1
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
    if len(out) != length:
        raise CorruptError(f"LZF data holds {len(out)} bytes, not the {length} bytes that it declares")
    return bytes(out)
