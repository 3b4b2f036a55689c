"""The checksum is the server's."""

from __future__ import annotations

from shaker.codec.rdb.crc64 import crc64


def test_check_value() -> None:
    """The value that the server's own test of src/crc64.c expects, 8 bytes, little endian."""
    assert crc64(b"123456789") == 0xE9C6D914C4B8D9CA.to_bytes(8, "little")
    assert crc64(b"") == bytes(8)
