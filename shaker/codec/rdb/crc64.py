"""CRC-64 as Redis computes it (server file src/crc64.c: reflected Jones polynomial), by a compiled library."""

from __future__ import annotations

from typing import Final

import anycrc

CRC64: Final = anycrc.Model("CRC64-REDIS")  # calc(data, checksum so far) -> int


def crc64(data: bytes) -> bytes:
    """Return the CRC-64 of `data`, 8 bytes, little endian, as DUMP payloads end."""
    return int(CRC64.calc(data)).to_bytes(8, "little")
