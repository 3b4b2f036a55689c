"""The skipper ends behind the last byte of a pattern wherever the bytes are cut, and names bad ones."""

from __future__ import annotations

import pytest

from shaker.codec.rdb.skipper import Skipper
from shaker.codec.rdb.value_types import LENGTH, MODULE, REDIS, STRING, TEXT_DOUBLE, Pattern
from shaker.errors import CorruptError
from tests.support.rdb_bytes import length, string

CASES: dict[str, tuple[Pattern, bytes]] = {
    "raw": ((8,), b"12345678"),
    "string": ((STRING,), string(b"x" * 100)),
    "integer": ((STRING,), b"\xc1\x01\x02"),
    "compressed": ((STRING,), b"\xc3\x05\x41\x09\x00a\xe0\xff\x00"),
    "length": ((LENGTH,), length(1 << 40)),
    "number": ((TEXT_DOUBLE,), b"\x031.5"),
    "infinite": ((TEXT_DOUBLE,), b"\xfe"),
    "several": ((STRING, 4, LENGTH), string(b"k") + b"1234" + length(70)),
    "empty collection": (REDIS.patterns[4] or (), length(0)),
    "hash": (REDIS.patterns[4] or (), length(2) + string(b"f") + string(b"v") + string(b"g") + string(b"w" * 80)),
    "sorted set": (REDIS.patterns[3] or (), length(2) + string(b"a") + b"\x011" + string(b"b") + b"\xff"),
    "module": ((MODULE,), b"\x01\x05\x03\x00\x00\x00\x00\x04" + bytes(8) + b"\x05" + string(b"data") + b"\x00"),
}


def passed(pattern: Pattern, data: bytes, step: int) -> int:
    """Return how many bytes of `data`, given in steps, belong to the pattern."""
    skipper = Skipper()
    skipper.start(pattern)
    buffer = b""
    done = at = 0
    while not skipper.finished:
        assert at < len(data), "the end of the pattern was not found"
        buffer += data[at : at + step]
        at += step
        position = skipper.skip(buffer, 0, len(buffer))
        done += position
        buffer = buffer[position:]
    return done


@pytest.mark.parametrize("name", CASES)
def test_it_ends_behind_the_pattern_for_every_cut(name: str) -> None:
    """Whole, byte by byte, and with bytes of the next record behind."""
    pattern, data = CASES[name]
    for step in (1, 2, 3, 7, len(data) + 20):
        assert passed(pattern, data + b"\xff" * 20, step) == len(data)


@pytest.mark.parametrize(
    ("pattern", "data", "place"),
    [
        ((STRING,), b"\x82", 0),
        ((4, LENGTH), b"1234\xc0", 4),
        ((STRING, STRING), string(b"a") + b"\xc4", 2),
        ((MODULE,), b"\x06", 0),
        (REDIS.patterns[1] or (), length(1 << 31), 0),
    ],
)
def test_a_byte_that_cannot_be_there_is_named(pattern: Pattern, data: bytes, place: int) -> None:
    """By its position in the buffer."""
    skipper = Skipper()
    skipper.start(pattern)
    with pytest.raises(CorruptError):
        skipper.skip(data, 0, len(data))
    assert skipper.bad_position == place


def test_a_huge_string_costs_no_memory() -> None:
    """Only the number of its missing bytes is kept."""
    skipper = Skipper()
    skipper.start((STRING,))
    head = length(1 << 50)
    assert skipper.skip(head + b"x", 0, len(head) + 1) == len(head) + 1

    assert not skipper.finished
    assert skipper.remaining == (1 << 50) - 1
