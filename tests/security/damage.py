"""Damage to bytes, drawn from a seed: what a broken disk, a broken network or an enemy makes of them."""

from __future__ import annotations

import random

# What stands for lengths: the greatest of each size, the negative, the impossible.
NUMBERS = (
    b"-1",
    b"0",
    b"00",
    b"4294967295",
    b"9223372036854775807",
    b"18446744073709551616",
    b"9" * 30,
    b"1e9",
    b"",
)
# Lengths of an RDB that ask for far more than comes: 32 and 64 bits, LZF; and opcodes (server file src/rdb.h).
PIECES = (
    b"\x80\xff\xff\xff\xff",
    b"\x81" + b"\xff" * 8,
    b"\x81\x7f" + b"\xff" * 7,
    b"\xc3",
    b"\xff",
    b"\xfe",
    b"\xf7",
)


def damage(data: bytes, draw: random.Random) -> bytes:
    """Return `data` changed in one to four ways; never as it was."""
    changed = bytearray(data)
    while bytes(changed) == data:
        for _ in range(draw.choice((1, 1, 1, 2, 4))):
            draw.choice(_WAYS)(changed, draw)
    return bytes(changed)


def cuts(data: bytes, draw: random.Random) -> list[bytes]:
    """Return `data` in a few pieces."""
    places = sorted(draw.randrange(len(data) + 1) for _ in range(draw.randrange(4)))
    return [data[start:stop] for start, stop in zip([0, *places], [*places, len(data)], strict=True)]


def _flip(data: bytearray, draw: random.Random) -> None:
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _overwrite(data: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(data) + 1)
    piece = draw.choice(PIECES)
    data[start : start + len(piece)] = piece


def _insert(data: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(data) + 1)
    data[start:start] = draw.randbytes(draw.randrange(1, 20))


def _remove(data: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(data) + 1)
    del data[start : start + draw.randrange(1, 200)]


def _repeat(data: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(data) + 1)
    data[start:start] = data[start : start + draw.randrange(1, 200)] * draw.randrange(1, 4)


def _truncate(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(len(data) + 1) :]


def _number(data: bytearray, draw: random.Random) -> None:
    """Replace the digits of one length of the protocol by another number."""
    start = data.find(b"\n", draw.randrange(len(data) + 1)) + 2
    end = data.find(b"\r", start)
    if start >= 2 and 0 <= end < start + 20:
        data[start:end] = draw.choice(NUMBERS)


_WAYS = (_flip, _flip, _overwrite, _insert, _remove, _repeat, _truncate, _number, _number)
