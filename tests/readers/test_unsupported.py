"""Data that the target cannot hold: named and refused, or counted and left out."""

from __future__ import annotations

import pytest

from shaker.codec.values.target import target_of
from shaker.errors import UnfaithfulError
from shaker.model.entries import Entries, Entry, LargeEntry
from shaker.readers.unsupported import Unsupported
from shaker.rules.target_form import EVERYTHING
from shaker.watch.status import FlowStatus
from tests.support.rdb_bytes import payload

CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
OLD = EVERYTHING._replace(
    able=target_of((6, 2)), taken=bytes([1] * 10 + [0] * 246), modules=frozenset(("vectorset",))
)
SKIPPING = OLD._replace(able=OLD.able._replace(drops_field_expiry=True))
EXPIRING = payload(22, b"\x01\x01f\x01v" + (4102444800123).to_bytes(8, "little"), 80)
PATHS = payload(23, b"\x01\x01p\x01\x01f\x01v", 81)
LARGE = LargeEntry(0, b"large", -1, -1, -1, -1, 24, 12)


def vectors() -> bytes:
    """A payload of the module type of vector sets."""
    identifier = 0
    for letter in "vectorset":
        identifier = identifier << 6 | CHARACTERS.index(letter)
    return payload(7, b"\x81" + (identifier << 10 | 1).to_bytes(8, "big") + b"\x00", 8)


def entries(*, rare: bool = True) -> Entries:
    """A string, a vector set, and a hash with an expiry of a field."""
    hashes = [Entry(b"hash", EXPIRING, -1, -1, -1)]
    return Entries(3, [b"s", b"v"], [b"vectors", vectors()], [], hashes, version=80, rare=rare)


def test_refused_by_name() -> None:
    """The first key that the target cannot hold, a library, a large value."""
    judge = Unsupported(OLD, FlowStatus())
    with pytest.raises(UnfaithfulError, match=r"key 'vectors' needs vector sets"):
        judge.without(entries())
    with pytest.raises(UnfaithfulError, match=r"key 'hash' needs hash fields that expire"):
        judge.without(entries()._replace(values=[]))
    with pytest.raises(UnfaithfulError, match=r"key 'paths' needs path hashes \(PHSET\)"):
        judge.without(entries()._replace(entries=[Entry(b"paths", PATHS, -1, -1, -1)], values=[]))
    with pytest.raises(UnfaithfulError, match=r"key 'large' needs hash fields"):
        judge.note_large(LARGE)
    with pytest.raises(UnfaithfulError, match=r"key 'large' needs path hashes"):
        judge.note_large(LARGE._replace(number=23))
    with pytest.raises(UnfaithfulError, match="knows no functions") as refused:
        judge.leaves_out_library()
    assert refused.value.kind == "function"


def test_left_out_and_counted() -> None:
    """Hashes keep their fields, path hashes have nothing to keep."""
    status = FlowStatus()
    judge = Unsupported(SKIPPING, status)
    given = entries()
    given.entries.append(Entry(b"paths", PATHS, -1, -1, -1))
    kept = judge.without(given)
    assert (kept.strings, kept.values, len(kept.entries)) == ([b"s", b"v"], [], 1)
    judge.note_large(LARGE)
    assert judge.leaves_out_library()
    assert status.keys.unsupported_skipped == 5


def test_a_target_that_holds_all() -> None:
    """Nothing is counted, and entries without rare values are not looked at."""
    status = FlowStatus()
    judge = Unsupported(EVERYTHING, status)
    assert judge.without(entries()) == entries()
    judge.note_large(LARGE)
    assert not judge.leaves_out_library()
    assert Unsupported(OLD, status).without(entries(rare=False)) == entries(rare=False)
    assert status.keys.unsupported_skipped == 0
