"""Hashes whose fields expire, as DUMP payloads: read and rewritten without the server.

Formats: server file src/rdb.c of Redis 7.4 and of Valkey 9 (rdbSaveObject, rdbLoadObject), and src/listpack.c.
A value that cannot be read as such is left to the target's judgement.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from shaker.codec.rdb.crc64 import crc64
from shaker.codec.rdb.listpack import (
    INTEGER_64,
    LISTPACK_END,
    LISTPACK_HEADER,
    check_listpack,
    element_end,
    element_integer,
)
from shaker.codec.rdb.strings import read_length, read_string, string_end
from shaker.codec.rdb.value_types import LENGTH_32, LENGTH_64, NEWER_TYPES
from shaker.errors import CorruptError, UnfaithfulError

# Types by number. Redis: a table or a listpack, first as release candidates of 7.4 wrote them. Valkey gives 22 to
# its own table; its RDB versions begin at 80.
TABLE_CANDIDATE: Final = 22
LISTPACK_CANDIDATE: Final = 23
TABLE: Final = 24
LISTPACK: Final = 25
VALKEY_VERSION: Final = 80  # Valkey's own RDB versions begin here
# The RDB version and the checksum follow the value of a DUMP payload.
CHECKSUM_SIZE: Final = 8
FOOTER_SIZE: Final = 2 + CHECKSUM_SIZE
TIME_SIZE: Final = 8
# The latest expiry of a field that Redis takes (server file src/t_hash.c, HFE_MAX_ABS_TIME_MSEC).
LAST_TIME: Final = (1 << 46) - 1
NEVER: Final = (1 << 63) - 1  # later than any expiry
NO_EXPIRY: Final = b"\xff" * TIME_SIZE  # as Valkey writes it
MAX_TEXT: Final = 512 * 1024 * 1024  # the default proto-max-bulk-len: no longer listpack can be sent to a server


class Deferred(NamedTuple):
    """A hash with other expiries of its fields; `deferred`: some of them are deferred.

    `soonest` is the soonest of those that are not, as it is in `payload`, NEVER for none.
    """

    payload: bytes
    deferred: bool
    soonest: int


class _Unreadable(Exception):
    """The value is not what its type says."""


def deferred(payload: bytes, near: int, until: int, margin: int = 0) -> Deferred:
    """Return a DUMP payload with later expiries of fields, in Unix milliseconds: all other bytes mean the same.

    Those below `near` become `until`; all others get `margin` milliseconds more. A value without expiries of fields
    comes back as it is.
    """
    if len(payload) <= FOOTER_SIZE or payload[0] < NEWER_TYPES:
        return Deferred(payload, False, NEVER)
    times = _Times(near, until, margin)
    version = int.from_bytes(payload[-FOOTER_SIZE:-CHECKSUM_SIZE], "little")
    kind, end = payload[0], len(payload) - FOOTER_SIZE
    try:
        if kind == TABLE_CANDIDATE and version >= VALKEY_VERSION:
            value = _valkey_table(payload, 1, end, times)
        elif kind == TABLE_CANDIDATE:
            value = _table(payload, 1, end, times, 1)
        elif kind == TABLE:
            value = _table_with_first(payload, end, times)
        elif kind == LISTPACK_CANDIDATE:
            value = _listpack(payload, 1, times)[0]
        elif kind == LISTPACK:
            text, first = _listpack(payload, 1 + TIME_SIZE, times)
            value = first.to_bytes(TIME_SIZE, "little") + text
        else:
            return Deferred(payload, False, NEVER)
    except (_Unreadable, CorruptError, UnfaithfulError):
        return Deferred(payload, False, NEVER)
    body = payload[:1] + value + payload[-FOOTER_SIZE:-CHECKSUM_SIZE]
    return Deferred(body + crc64(body), times.deferred, times.soonest)


class _Times:
    """The rule for each expiry, and what became of those that it was applied to."""

    def __init__(self, near: int, until: int, margin: int) -> None:
        self.deferred = False
        self.soonest = NEVER
        self._near = near
        self._until = until
        self._margin = margin

    def later(self, at: int) -> int:
        """Return what becomes of the expiry `at`."""
        if not 0 <= at < NEVER:
            raise _Unreadable
        if at < self._near:
            self.deferred = True
            return max(at, self._until)
        at = max(at, min(at + self._margin, LAST_TIME))
        self.soonest = min(self.soonest, at)
        return at


def _length(payload: bytes, position: int, end: int) -> tuple[int, int]:
    value, behind = read_length(payload, position, end)
    if behind < 0:
        raise _Unreadable
    return value, behind


def _strings_end(payload: bytes, position: int, end: int) -> int:
    """Return the position behind the two strings at `position`: field and value."""
    for _ in range(2):
        if position >= end:
            raise _Unreadable
        position = string_end(payload, position, end)
    if position > end:
        raise _Unreadable
    return position


def _saved_length(number: int) -> bytes:
    """Return a length as an RDB has it (server file src/rdb.c, rdbSaveLen)."""
    if number < 1 << 6:
        return number.to_bytes(1, "big")
    if number < 1 << 14:
        return (0x4000 | number).to_bytes(2, "big")
    if number < 1 << 32:
        return LENGTH_32.to_bytes(1, "big") + number.to_bytes(4, "big")
    return LENGTH_64.to_bytes(1, "big") + number.to_bytes(8, "big")


def _valkey_table(payload: bytes, position: int, end: int, times: _Times) -> bytes:
    """Rewrite a count and so many fields, values and expiries, of eight bytes each."""
    count, behind = _length(payload, position, end)
    out = [payload[position:behind]]
    for _ in range(count):
        start, behind = behind, _strings_end(payload, behind, end)
        out.append(payload[start:behind])
        time = payload[behind : behind + TIME_SIZE]
        behind += TIME_SIZE
        if behind > end:
            raise _Unreadable
        if time != NO_EXPIRY:
            time = times.later(int.from_bytes(time, "little", signed=True)).to_bytes(TIME_SIZE, "little")
        out.append(time)
    return _all(out, behind, end)


def _table(payload: bytes, position: int, end: int, times: _Times, first: int, saved_first: int = 1) -> bytes:
    """Rewrite a count and so many expiries, fields and values.

    0 is no expiry; any other one counts from the millisecond before `first`, and from the one before `saved_first`
    in the returned table.
    """
    count, behind = _length(payload, position, end)
    out = [payload[position:behind]]
    for _ in range(count):
        relative, start = _length(payload, behind, end)
        behind = _strings_end(payload, start, end)
        if relative:
            relative = times.later(relative + first - 1) - saved_first + 1
        out.append(_saved_length(relative))
        out.append(payload[start:behind])
    return _all(out, behind, end)


def _table_with_first(payload: bytes, end: int, times: _Times) -> bytes:
    """Rewrite a table behind the soonest of its expiries, which becomes the base of the others again."""
    position = 1 + TIME_SIZE
    if position > end:
        raise _Unreadable
    first = int.from_bytes(payload[1:position], "little")
    # Found by a first pass: what the soonest expiry becomes is known when all of them are.
    soonest = NEVER
    count, behind = _length(payload, position, end)
    for _ in range(count):
        relative, start = _length(payload, behind, end)
        behind = _strings_end(payload, start, end)
        if relative:
            soonest = min(soonest, times.later(relative + first - 1))
    if soonest == NEVER:
        return payload[1:end]
    return soonest.to_bytes(TIME_SIZE, "little") + _table(payload, position, end, times, first, soonest)


def _all(out: list[bytes], behind: int, end: int) -> bytes:
    if behind != end:
        raise _Unreadable
    return b"".join(out)


def _listpack(payload: bytes, position: int, times: _Times) -> tuple[bytes, int]:
    """Rewrite the string at `position` that is a listpack of field, value and expiry, 0 for none.

    Returns it with the soonest expiry, 0 for none. Fields come in the order of their expiries, those without one
    last, as servers rely on (src/t_hash.c, listpackExAddInternal).
    """
    end = len(payload) - FOOTER_SIZE
    if position >= end or string_end(payload, position, end) != end:
        raise _Unreadable
    text = read_string(payload, position, MAX_TEXT)[0]
    last = check_listpack(text)
    fields: list[tuple[int, bytes]] = []
    start = LISTPACK_HEADER
    while start < last:
        value = element_end(text, start, last)
        time = element_end(text, value, last)
        behind = element_end(text, time, last)
        at = element_integer(text, time)
        if at:
            at = times.later(at)
            fields.append((at, text[start:time] + _element(at)))
        else:
            fields.append((NEVER, text[start:behind]))
        start = behind
    fields.sort(key=_expiry)
    body = b"".join([element for _, element in fields])
    size = LISTPACK_HEADER + len(body) + 1
    new = size.to_bytes(4, "little") + text[4:LISTPACK_HEADER] + body + LISTPACK_END.to_bytes(1, "little")
    first = fields[0][0] if fields else NEVER
    return _saved_length(len(new)) + new, 0 if first == NEVER else first


def _expiry(field: tuple[int, bytes]) -> int:
    return field[0]


def _element(number: int) -> bytes:
    """Return an element of a listpack that is an integer."""
    return INTEGER_64.to_bytes(1, "little") + number.to_bytes(8, "little") + b"\x09"
