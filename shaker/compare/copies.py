"""Compares one key as two servers have it: DUMP payloads by bytes, then by content; expiries within a margin."""

from __future__ import annotations

from typing import Final, NamedTuple

from shaker.codec.rdb.field_expiries import FOOTER_SIZE
from shaker.codec.values.content import Content, content
from shaker.codec.values.decoder import Kind as ValueKind
from shaker.codec.values.decoder import decode, payload_version
from shaker.codec.values.elements import NEVER, ExpiringFields, Fields
from shaker.errors import CorruptError, UnfaithfulError
from shaker.model.differences import Kind

NO_EXPIRY: Final = -1

Found = tuple[Kind, str]


class Copy(NamedTuple):
    """A key on one server: its DUMP payload, None where there is no key, and its expiry in Unix milliseconds."""

    payload: bytes | None
    expiry: int = NO_EXPIRY


class Tolerance(NamedTuple):
    """Milliseconds by which an expiry on the target may be later, and earlier where clocks are read separately."""

    later: int
    earlier: int = 0

    def allows(self, mine: int, theirs: int) -> bool:
        """Return whether an expiry `theirs` on the target agrees with `mine` on the source."""
        return -self.earlier <= theirs - mine <= self.later


def compare(source: Copy, target: Copy, tolerance: Tolerance) -> Found | None:
    """Return how the key differs, with a detail that names no value; None where it is equal."""
    mine, theirs = source.payload, target.payload
    if mine is None or theirs is None:
        if mine is theirs:
            return None
        return (Kind.EXTRA, "only on the target") if mine is None else (Kind.MISSING, "not on the target")
    if mine[:-FOOTER_SIZE] != theirs[:-FOOTER_SIZE]:
        found = _compare_values(mine, theirs, tolerance)
        if found is not None:
            return found
    return compare_expiries(source.expiry, target.expiry, tolerance)


def compare_types(source: Copy, target: Copy, tolerance: Tolerance) -> Found | None:
    """Compare two keys whose `payload` is the name of their type, and their expiries."""
    mine, theirs = source.payload, target.payload
    if mine is not None and theirs is not None and mine != theirs:
        return Kind.TYPE, f"{mine.decode()} on the source, {theirs.decode()} on the target"
    if mine is None or theirs is None:
        return compare(source, target, tolerance)
    return compare_expiries(source.expiry, target.expiry, tolerance)


def compare_expiries(mine: int, theirs: int, tolerance: Tolerance) -> Found | None:
    """Return how two expiries in Unix milliseconds differ, below 0 for none; None where they agree."""
    if mine < 0 or theirs < 0:
        if mine == theirs:
            return None
        return Kind.EXPIRY, "no expiry on the target" if theirs < 0 else "no expiry on the source"
    if tolerance.allows(mine, theirs):
        return None
    later = theirs - mine
    return Kind.EXPIRY, f"the target's expiry is {abs(later)} ms {'later' if later > 0 else 'earlier'}"


def _compare_values(mine: bytes, theirs: bytes, tolerance: Tolerance) -> Found | None:
    try:
        one, other = _content(mine), _content(theirs)
    except (CorruptError, UnfaithfulError):
        return Kind.VALUE, "the bytes differ, and the encoding is not known"
    if one.kind is not other.kind:
        return Kind.TYPE, f"{one.kind.value} on the source, {other.kind.value} on the target"
    if one.same(other):
        return None
    if one.kind is ValueKind.HASH and _same_fields(mine, theirs, tolerance):
        return None
    if one.elements != other.elements:
        return Kind.VALUE, f"{one.elements} elements on the source, {other.elements} on the target"
    return Kind.VALUE, "the values differ"


def _content(payload: bytes) -> Content:
    return content([payload], version=payload_version(payload))


def _same_fields(mine: bytes, theirs: bytes, tolerance: Tolerance) -> bool:
    """Return whether two hashes differ in nothing but expiries of fields that are within the tolerance."""
    one, other = _fields(mine), _fields(theirs)
    if one.keys() != other.keys():
        return False
    for name, (value, expiry) in one.items():
        their_value, their_expiry = other[name]
        if value != their_value:
            return False
        never = NEVER in (expiry, their_expiry)
        if expiry != their_expiry and (never or not tolerance.allows(expiry, their_expiry)):
            return False
    return True


def _fields(payload: bytes) -> dict[bytes, tuple[bytes, int]]:
    found: dict[bytes, tuple[bytes, int]] = {}
    for element in decode([payload], version=payload_version(payload)):
        if isinstance(element, ExpiringFields):
            found |= {name: (value, expiry) for name, value, expiry in element.fields}
        elif isinstance(element, Fields):
            flat = element.flat
            found |= {name: (value, NEVER) for name, value in zip(flat[::2], flat[1::2], strict=True)}
    return found
