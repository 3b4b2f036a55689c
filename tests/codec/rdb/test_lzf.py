"""LZF: what the servers compress comes back, and bad data are refused."""

from __future__ import annotations

import pytest

from shaker.codec.rdb.lzf import Decompressor, decompress
from shaker.errors import CorruptError
from tests.support.splits import every_cut


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", b""),
        (b"\x02abc", b"abc"),
        (b"\x01ab\x20\x01", b"ababa"),  # 3 bytes from 2 back, overlapping what they write
        (b"\x00a\xe0\xff\x00", b"a" * 265),  # the longest copy, 264 bytes, from 1 back
        (b"\x03abcd\x40\x03\x00e", b"abcdabcde"),
        (b"\x1f" + bytes(range(32)) + b"\x20\x1f", bytes(range(32)) + b"\x00\x01\x02"),
    ],
)
def test_decompress(data: bytes, expected: bytes) -> None:
    assert decompress(data, len(expected)) == expected


def test_a_far_back_reference() -> None:
    """The greatest distance, 8192 bytes, uses all 13 bits."""
    written = b"".join(b"\x1f" + bytes([n % 251] * 32) for n in range(256))
    first = bytes(0 for _ in range(3))

    assert decompress(written + b"\x3f\xff", 8192 + 3)[-3:] == first


@pytest.mark.parametrize(
    ("data", "length", "what"),
    [
        (b"\x02ab", 3, "inside a literal run"),
        (b"\x00a\x20", 4, "inside a back reference"),
        (b"\x00a\xe0", 10, "inside a back reference"),
        (b"\x00a\xe0\x01", 11, "inside a back reference"),
        (b"\x00a\x20\x01", 4, "before its beginning"),
        (b"\x02abc", 4, "holds 3 bytes, not the 4"),
        (b"\x00a\xe0\xff\x00", 100, "holds more than the 100"),
    ],
)
def test_bad_data(data: bytes, length: int, what: str) -> None:
    with pytest.raises(CorruptError, match=what):
        decompress(data, length)


@pytest.mark.parametrize("length", [0, 1, 5, 300, 9000, 40_000])
def test_chunks(length: int) -> None:
    """A string that comes in chunks is the same, wherever they are cut, and references reach back across them."""
    written = b"".join(b"\x1f" + bytes([n % 251] * 32) for n in range(256)) + b"\x3f\xff\xe0\xff\x00\x04tail!" * 3
    whole = decompress(written, 256 * 32 + 3 * (3 + 264 + 5))
    for chunks in every_cut(written):
        decompressor = Decompressor(len(whole))
        assert b"".join(map(decompressor.feed, chunks)) == whole
        decompressor.finish()
    short = Decompressor(length)
    with pytest.raises(CorruptError):  # noqa: PT012
        short.feed(written)
        short.finish()


def test_chunks_that_end_too_early() -> None:
    """A string cut in an instruction is refused at its end."""
    decompressor = Decompressor(3)
    decompressor.feed(b"\x02ab")
    with pytest.raises(CorruptError, match="inside a literal run"):
        decompressor.finish()
