"""Hashes whose fields expire: the layouts of Redis 7.4, its release candidates and Valkey 9 give the same fields."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from shaker.codec.values import elements as of
from shaker.codec.values.elements import NEVER
from shaker.codec.values.expiry_readers import (
    LAST_EXPIRY,
    ExpiringFieldsReader,
    ListpackExpiryReader,
    checked_expiry,
    expiring_fields,
)
from shaker.codec.values.packed import Listpack
from shaker.codec.values.readers import BATCH, Reader
from shaker.errors import CorruptError
from tests.support.rdb_bytes import length, string
from tests.support.value_bytes import FAR, counted, listpack
from tests.support.value_reading import content, read

FIELDS = [(b"a", b"1", FAR), (b"bb", b"text", FAR + 99), (b"c", b"x" * 80, NEVER)]
FIRST = struct.pack("<q", FAR)


def table(base: int) -> bytes:
    """Fields of a table: an expiry counts from `base`, 0 is none."""
    return counted(*[length(0 if at < 0 else at - base) + string(f) + string(v) for f, v, at in FIELDS])


PACKED = string(listpack([part for f, v, at in FIELDS for part in (f, v, b"%d" % max(at, 0))]))
LAYOUTS: dict[str, tuple[Callable[[], Reader], bytes]] = {
    "table": (lambda: ExpiringFieldsReader(first=True), FIRST + table(FAR - 1)),
    "candidate-table": (ExpiringFieldsReader, table(0)),
    "valkey": (
        lambda: ExpiringFieldsReader(valkey=True),
        counted(*[string(f) + string(v) + struct.pack("<q", at) for f, v, at in FIELDS]),
    ),
    "listpack": (lambda: ListpackExpiryReader(Listpack, first=True), FIRST + PACKED),
    "candidate-listpack": (lambda: ListpackExpiryReader(Listpack, first=False), PACKED),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_give_the_same_fields(layout: str) -> None:
    """Whole, byte by byte, and with bytes behind them."""
    make, value = LAYOUTS[layout]
    assert content(make, value)["type"] == "hash"
    assert read(make(), [value]).elements == [of.ExpiringFields(FIELDS)]


def test_batches_are_bounded() -> None:
    """Triples stay whole."""
    value = length(4000) + (length(0) + string(b"f") + string(b"v")) * 4000
    found = read(ExpiringFieldsReader(), [value])
    assert found.finished
    sizes = [len(each.fields) for each in found.elements if isinstance(each, of.ExpiringFields)]
    assert sum(sizes) == 4000
    assert max(sizes) <= BATCH


@pytest.mark.parametrize("text", [b"x", b"-1", b"", b"%d" % (LAST_EXPIRY + 1), b"1.5"])
def test_an_impossible_expiry_in_a_listpack_is_refused(text: bytes) -> None:
    """No server writes one."""
    with pytest.raises(CorruptError):
        expiring_fields([b"f", b"v", text])


@pytest.mark.parametrize("at", [0, -5, LAST_EXPIRY + 1])
def test_an_expiry_lies_within_what_redis_takes(at: int) -> None:
    """Above 0, and in 48 bits."""
    with pytest.raises(CorruptError):
        checked_expiry(at)
    assert checked_expiry(LAST_EXPIRY) == LAST_EXPIRY


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda: ExpiringFieldsReader(valkey=True), counted(string(b"f") + string(b"v") + struct.pack("<q", -2))),
        (lambda: ExpiringFieldsReader(first=True), struct.pack("<q", -5) + counted(length(2) + b"\x01f\x01v")),
        (lambda: ExpiringFieldsReader(first=True), struct.pack("<q", 1 << 50) + counted(length(2) + b"\x01f\x01v")),
        (lambda: ListpackExpiryReader(Listpack, first=True), FIRST + string(listpack([b"f", b"v"]))),
    ],
)
def test_damage_is_refused(make: Callable[[], Reader], value: bytes) -> None:
    """Expiries before 1970 and beyond what servers take, and a field without one."""
    with pytest.raises(CorruptError):
        read(make(), [value])
