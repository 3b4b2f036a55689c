"""The fuzz targets under hypothesis: any bytes, and bytes that are nearly right."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaker.codec.resp import encode
from tests.codec.rdb_bytes import length, rdb, string
from tests.fuzz.targets import TARGETS
from tests.security.damage import damage

SMALL = rdb(
    b"\xfa" + string(b"redis-ver") + string(b"7.0.15") + b"\xfe\x00\xfb\x04\x01"
    b"\x00" + string(b"key") + string(b"value") + b"\x00" + string(b"compressed") + b"\xc3\x04\x0a\x01aa\xe0"
    b"\x01" + string(b"list") + length(2) + string(b"one") + string(b"two")
)  # fmt: skip
HANDSHAKE = b"$20\r\nredis_version:7.0.15\r\n+OK\r\n+OK\r\n+FULLRESYNC " + b"a" * 40 + b" 1\r\n"
STREAM = b"".join(
    (
        encode("SELECT", "0"),
        encode("MULTI"),
        encode("SET", "key", "value"),
        encode("exec"),
        encode("PING"),
        encode("SWAPDB", 0, 1),
        encode("HSET", "shaker:checkpoint:default", "offset", "1"),
        encode("REPLCONF", "GETACK", "*"),
    )
)
SEEDS = {
    "snapshot": b"\x05" + SMALL,
    "stream": b"\x07" + STREAM,
    "session": b"\x3f" + HANDSHAKE + b"$%d\r\n" % len(SMALL) + SMALL + STREAM,
    "replies": b"\x03+OK\r\n*2\r\n:1\r\n*1\r\n$3\r\nabc\r\n-ERR no\r\n$-1\r\n*-1\r\n",
    "lzf": b"\x00\x0a\x01aa\xe0\x00\x01\x00",
}


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_bytes_that_are_nearly_right(name: str, seed: int) -> None:
    TARGETS[name](damage(SEEDS[name], random.Random(seed)))


@pytest.mark.parametrize("name", TARGETS)
def test_bytes_that_are_right(name: str) -> None:
    """Else the damage would begin with what is refused anyway."""
    TARGETS[name](SEEDS[name])
