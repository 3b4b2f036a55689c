"""Elements of listpacks: each size and integer as the server writes it, and damage that is refused."""

from __future__ import annotations

import pytest

from shaker.codec.rdb.listpack import (
    check_listpack,
    element_end,
    element_integer,
    element_size,
    is_integer,
    trailing_size,
)
from shaker.errors import CorruptError

INTEGERS = [
    (b"\x00", 0),
    (b"\x7f", 127),
    (b"\xc0\x80", 128),
    (b"\xcf\xff", 4095),
    (b"\xdf\xff", -1),
    (b"\xd0\x00", -4096),
    (b"\xf1\x00\x80", -32768),
    (b"\xf2\xff\xff\x7f", 8388607),
    (b"\xf3\x00\x00\x00\x80", -2147483648),
    (b"\xf4" + (1 << 62).to_bytes(8, "little"), 1 << 62),
]


def listpack(elements: bytes, count: int = 1) -> bytes:
    """Return a listpack around its elements."""
    size = 6 + len(elements) + 1
    return size.to_bytes(4, "little") + count.to_bytes(2, "little") + elements + b"\xff"


@pytest.mark.parametrize(("element", "number"), INTEGERS)
def test_integers_of_every_width_are_read(element: bytes, number: int) -> None:
    """With their sign."""
    assert is_integer(element[0])
    assert element_size(element, 0) == len(element)
    assert element_integer(element, 0) == number


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (b"\x80", 0),
        (b"\xbf", 63),
        (b"\xe0\x40", 64),
        (b"\xef\xff", 4095),
        (b"\xf0" + (5000).to_bytes(4, "little"), 5000),
    ],
)
def test_strings_of_every_length_are_passed(head: bytes, size: int) -> None:
    """They are no integers."""
    element = head + b"x" * size
    assert not is_integer(head[0])
    assert element_size(element, 0) == len(element)
    with pytest.raises(CorruptError, match="no integer"):
        element_integer(element, 0)


@pytest.mark.parametrize(
    ("size", "trailing"),
    [
        (1, 1),
        (127, 1),
        (128, 2),
        (16382, 2),
        (16383, 3),
        (2097150, 3),
        (2097151, 4),
        (268435454, 4),
        (268435455, 5),
    ],
)
def test_the_trailing_length_grows_at_the_servers_own_limits(size: int, trailing: int) -> None:
    """One below what the groups of seven bits could hold."""
    assert trailing_size(size) == trailing


def test_elements_follow_each_other_up_to_the_last_byte() -> None:
    """One that reaches beyond it is corrupt."""
    text = listpack(b"\x01\x01" + b"\x82ab\x03", 2)
    last = check_listpack(text)
    first = element_end(text, 6, last)
    assert first == 8
    assert element_end(text, first, last) == last
    with pytest.raises(CorruptError, match="in the middle"):
        element_end(text, last, last)
    long = listpack(b"\x8aab\x03")
    with pytest.raises(CorruptError, match="longer than"):
        element_end(long, 6, check_listpack(long))
    with pytest.raises(CorruptError, match="does not exist"):
        element_size(b"\xf5", 0)


@pytest.mark.parametrize(
    "text", [b"", b"\x07\x00\x00\x00\x00\x00", listpack(b"\x01\x01")[:-1], listpack(b"")[:-1] + b"\xfe"]
)
def test_a_wrong_size_or_end_is_corrupt(text: bytes) -> None:
    """Before any element is looked at."""
    with pytest.raises(CorruptError, match="wrong size or no end"):
        check_listpack(text)
