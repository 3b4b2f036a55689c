"""Keys of a snapshot that are no data: aggregates without elements, and what had expired before it was made."""

from __future__ import annotations

from typing import Final

from shaker.codec.rdb.strings import read_length, read_string, string_end
from shaker.errors import CorruptError, UnfaithfulError
from shaker.model.entries import Entries

# A value of one string is only looked at where it can be without elements: the longest such one is a ziplist of
# eleven bytes behind its length.
SMALL: Final = 24
# Bytes of lists without elements.
EMPTY_LISTPACK: Final = 7
EMPTY_ZIPLIST: Final = 11
# Types by the form of their values, see rdb_types.py. What begins with a count, perhaps behind the soonest expiry.
_COUNTED: Final = frozenset((1, 2, 3, 4, 5, 14, 18, 22, 24))
LISTS_OF_ZIPLISTS: Final = 14
LISTS_OF_LISTPACKS: Final = 18
QUICKLISTS: Final = frozenset((LISTS_OF_ZIPLISTS, LISTS_OF_LISTPACKS))
_SOONEST_FIRST: Final = frozenset((24, 25))
_TIME_SIZE: Final = 8
_ZIPMAPS: Final = 9
_INTSETS: Final = 11
_ZIPLISTS: Final = frozenset((10, 12, 13, LISTS_OF_ZIPLISTS))
_LISTPACKS: Final = frozenset((16, 17, 20, 23, 25, LISTS_OF_LISTPACKS))
_PACKED: Final = 2  # a node of a list that is a listpack; the others are one element each


def is_empty(kind: int, buffer: bytes, position: int, end: int) -> bool:
    """Return whether the whole value of type `kind` between `position` and `end` is an aggregate without elements.

    Old servers wrote such keys by mistake; servers leave them out when they load them (server file src/rdb.c,
    RDB_LOAD_ERR_EMPTY_KEY).
    """
    if kind in _SOONEST_FIRST:
        position += _TIME_SIZE
    if kind in _COUNTED:
        count, position = read_length(buffer, position, end)
        if position < 0 or kind not in QUICKLISTS:
            return position >= 0 and count == 0
        for _ in range(count):
            position = _behind_empty_node(kind, buffer, position, end)
            if position < 0:
                return False
        return True
    one_string = kind in (_ZIPMAPS, _INTSETS) or kind in _ZIPLISTS or kind in _LISTPACKS
    return one_string and end - position <= SMALL and _holds_nothing(kind, buffer, position, end)


def _behind_empty_node(kind: int, buffer: bytes, position: int, end: int) -> int:
    """Return the position behind a node of a list, -1 where the node has elements."""
    if kind == LISTS_OF_LISTPACKS:
        container, position = read_length(buffer, position, end)
        if position < 0 or container != _PACKED:
            return -1
    behind = string_end(buffer, position, end) if position < end else end + 1
    if behind > end or behind - position > SMALL or not _holds_nothing(kind, buffer, position, behind):
        return -1
    return behind


def _holds_nothing(kind: int, buffer: bytes, position: int, end: int) -> bool:
    """Return whether the string between `position` and `end` is a list of the form of `kind` without elements."""
    if position >= end or string_end(buffer, position, end) != end:
        return False
    try:
        text = read_string(buffer, position, SMALL)[0]
    except (CorruptError, UnfaithfulError):
        return False  # the target that restores it says why
    if kind in _ZIPLISTS:
        return len(text) == EMPTY_ZIPLIST and text[8:] == b"\x00\x00\xff"
    if kind in _LISTPACKS:
        return len(text) == EMPTY_LISTPACK and text[4:] == b"\x00\x00\xff"
    if kind == _INTSETS:
        return len(text) == 8 and text[4:] == bytes(4)
    return text[:2] == b"\x00\xff"


def without_expired(entries: Entries, before: int) -> Entries:
    """Return `entries` without the keys that expire before a Unix time in milliseconds, counted as `expired`."""
    expiring = [entry for entry in entries.expiring if entry.expires_at_ms >= before]
    others = [entry for entry in entries.entries if not 0 <= entry.expires_at_ms < before]
    left_out = len(entries.expiring) - len(expiring) + len(entries.entries) - len(others)
    if not left_out:
        return entries
    return entries._replace(expiring=expiring, entries=others, expired=entries.expired + left_out)
