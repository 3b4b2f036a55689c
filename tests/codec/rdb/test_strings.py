"""Lengths and strings of an RDB: every form, whole, cut, and with bytes behind."""

from __future__ import annotations

import pytest

from shaker.codec.rdb.strings import (
    INCOMPLETE,
    INVALID,
    collection_end,
    module_name,
    read_length,
    read_string,
    string_end,
)
from shaker.codec.rdb.value_types import Shape
from shaker.errors import CorruptError, UnfaithfulError
from tests.support.rdb_bytes import length, string

LZF = b"\xc3" + length(5) + length(300) + b"\x00a\xe0\xff\x00"  # decompressed: 265 times "a", declared as 300
LIMIT = 1 << 20


@pytest.mark.parametrize("value", [0, 1, 63, 64, 16383, 16384, (1 << 32) - 1, 1 << 32, (1 << 63) + 5])
def test_a_length_of_every_form_is_read(value: int) -> None:
    """Also with bytes behind it; where it is cut, it is incomplete."""
    data = length(value)

    assert read_length(data + b"rest", 0, len(data) + 4) == (value, len(data))
    for end in range(len(data)):
        assert read_length(data, 0, end)[1] == INCOMPLETE


@pytest.mark.parametrize("head", [0x82, 0xBF, 0xC0, 0xFF])
def test_a_length_of_no_known_form_is_invalid(head: int) -> None:
    """Encodings of strings are no lengths either."""
    assert read_length(bytes([head, 0, 0, 0, 0, 0, 0, 0, 0]), 0, 9)[1] == INVALID


@pytest.mark.parametrize(
    ("saved", "value"),
    [
        (string(b""), b""),
        (string(b"short"), b"short"),
        (string(b"x" * 70), b"x" * 70),
        (string(b"x" * 20_000), b"x" * 20_000),
        (b"\xc0\xfb", b"-5"),
        (b"\xc1\x39\x30", b"12345"),
        (b"\xc2\x00\x00\x00\x80", b"-2147483648"),
        (b"\xc3\x05\x41\x09\x00a\xe0\xff\x00", b"a" * 265),
    ],
)
def test_a_string_of_every_form_is_read_and_passed(saved: bytes, value: bytes) -> None:
    """Its end is known as soon as its lengths are there, and it is whole where that lies in the buffer."""
    data = b"before" + saved + b"behind"
    end = 6 + len(saved)

    assert read_string(data, 6, LIMIT) == (value, end)
    assert string_end(data, 6, len(data)) == end
    assert string_end(data, 6, end) == end
    for cut in range(6, end):
        assert string_end(data, 6, cut) > cut


def test_compressed_data_are_bounded_and_checked() -> None:
    """What they declare is compared with the limit before anything is allocated."""
    with pytest.raises(UnfaithfulError, match="300 bytes is above"):
        read_string(LZF, 0, 299)
    with pytest.raises(CorruptError):
        read_string(LZF, 0, 300)


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        (Shape(0, 1, 0), length(3) + string(b"a") + b"\xc0\x05" + string(b"x" * 100)),
        (Shape(0, 2, 0), length(2) + string(b"f") + string(b"v") + string(b"g") + string(b"w")),
        (Shape(0, 1, 8), length(1) + string(b"member") + bytes(8)),
        (Shape(1, 1, 0), length(2) + b"\x01" + string(b"a") + b"\x02" + string(b"b")),
        (Shape(0, 1, 0), length(100) + string(b"a") * 100),
    ],
)
def test_a_flat_collection_is_passed_where_it_is_whole(shape: Shape, data: bytes) -> None:
    """Cut anywhere, it counts as not whole."""
    assert collection_end(data + b"rest", 0, len(data) + 4, shape) == len(data)
    for end in range(len(data)):
        assert collection_end(data[:end], 0, end, shape) > end


def test_a_count_beyond_the_buffer_is_not_counted_through() -> None:
    """Damaged bytes may claim any number of elements."""
    data = length(1 << 60) + string(b"a")

    assert collection_end(data, 0, len(data), Shape(0, 1, 0)) > len(data)


def test_the_name_of_a_module_type_is_read_from_its_number() -> None:
    """Nine letters of six bits, then the version."""
    assert module_name(0) == b"AAAAAAAAA"
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    number = 0
    for letter in "ReJSON-RL":
        number = number << 6 | letters.index(letter)
    assert module_name(number << 10 | 3) == b"ReJSON-RL"
