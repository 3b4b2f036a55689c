"""Small collections in one string: every form of element is read, and every damage is refused."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaker.codec.values.packed import Intset, Listpack, Packed, Ziplist, Zipmap
from shaker.errors import CorruptError
from tests.support.value_bytes import intset, listpack, ziplist, zipmap

TEXTS = st.one_of(
    st.binary(max_size=70),
    st.integers(-(1 << 63), (1 << 63) - 1).map(lambda number: b"%d" % number),
    st.sampled_from(
        [b"x" * size for size in (63, 64, 127, 253, 254, 4095, 4096, 16376, 16377, 16378, 16379, 16384)]
    ),
)


def taken(packed: Packed, most: int = 7) -> list[bytes]:
    """All elements, some at a time."""
    out: list[bytes] = []
    while not packed.done:
        before = len(out)
        packed.take(out, most)
        assert len(out) - before <= most
    assert packed.taken == len(out)
    return out


@given(st.lists(TEXTS, max_size=30))
def test_listpack_gives_what_was_put_in(values: list[bytes]) -> None:
    """Strings of all lengths and integers come back, the trailing lengths at their limits too."""
    assert taken(Listpack(listpack(values))) == values


@given(st.lists(TEXTS, max_size=30), st.booleans())
def test_ziplist_gives_what_was_put_in(values: list[bytes], wide: bool) -> None:
    """Strings of all lengths and integers come back."""
    assert taken(Ziplist(ziplist(values, wide=wide))) == values


@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300)), max_size=20), st.integers(0, 4))
def test_zipmap_gives_what_was_put_in(pairs: list[tuple[bytes, bytes]], free: int) -> None:
    """Fields and values come back, with free bytes after values too."""
    assert taken(Zipmap(zipmap(pairs, free)), 8) == [part for pair in pairs for part in pair]


@given(st.sets(st.integers(-(1 << 63), (1 << 63) - 1), max_size=30))
def test_intset_gives_what_was_put_in(numbers: set[int]) -> None:
    """Integers come back."""
    ordered = sorted(numbers)
    assert taken(Intset(intset(8, ordered))) == [b"%d" % number for number in ordered]


@given(st.sampled_from([Listpack, Ziplist, Zipmap, Intset]), st.data())
def test_damage_is_corrupt_or_nothing(kind: type[Packed], data: st.DataObject) -> None:
    """Any bytes are read, or refused by CorruptError."""
    values = data.draw(st.lists(TEXTS, min_size=1, max_size=6))
    made = {
        Listpack: lambda: listpack(values),
        Ziplist: lambda: ziplist(values),
        Zipmap: lambda: zipmap([(value, value) for value in values]),
        Intset: lambda: intset(4, range(len(values))),
    }
    whole = bytearray(made[kind]())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    whole = whole[: data.draw(st.sampled_from([len(whole), len(whole) - 1, len(whole) // 2]))]
    with contextlib.suppress(CorruptError):
        assert len(taken(kind(bytes(whole)), 8)) <= len(whole)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Listpack, b""),
        (Listpack, listpack([b"a"])[:-1]),
        (Listpack, listpack([b"a"]) + b"\x00"),
        (Listpack, struct.pack("<IH", 8, 2) + b"\x01\xff"),
        (Listpack, struct.pack("<IH", 9, 2) + b"\x01\x01\xff"),
        (Listpack, struct.pack("<IH", 9, 1) + b"\x01\x02\xff"),
        (Listpack, struct.pack("<IH", 9, 1) + b"\xf5\x01\xff"),
        (Listpack, struct.pack("<IH", 12, 1) + b"\xf0\xff\xff\xff\xff\xff"),
        (Ziplist, b""),
        (Ziplist, ziplist([b"a"]) + b"\xff"),
        (Ziplist, struct.pack("<IIH", 13, 10, 1) + b"\x05\xf1\xff"),
        (Ziplist, struct.pack("<IIH", 13, 10, 2) + b"\x00\xf1\xff"),
        (Ziplist, struct.pack("<IIH", 13, 10, 1) + b"\x00\xc1\xff"),
        (Ziplist, struct.pack("<IIH", 13, 10, 1) + b"\x00\x05\xff"),
        (Ziplist, struct.pack("<IIH", 16, 10, 1) + b"\x00\x80\xff\xff\xff\xff"),
        (Zipmap, b""),
        (Zipmap, b"\x00"),
        (Zipmap, b"\x02\x01a\x01\x00b\xff"),
        (Zipmap, b"\x01\x01a\xff"),
        (Zipmap, b"\x01\x01a\x09\x00b\xff"),
        (Zipmap, b"\x01\x01a\x01\x09b\xff"),
        (Intset, b""),
        (Intset, intset(4, [2, 1])),
        (Intset, intset(4, [1, 1])),
        (Intset, struct.pack("<II", 3, 0)),
        (Intset, struct.pack("<II", 4, 1 << 31)),
        (Intset, intset(4, [1]) + b"\x00"),
    ],
)
def test_malformed_bytes_are_refused(kind: type[Packed], text: bytes) -> None:
    """What no server writes raises CorruptError."""
    with pytest.raises(CorruptError):
        taken(kind(text))  # type: ignore[call-arg]
