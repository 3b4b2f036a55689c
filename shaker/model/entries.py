"""The nouns of a snapshot: immutable, no behaviour."""

from __future__ import annotations

from typing import Final, NamedTuple

# Memory of an element of a list beside its bytes, in CPython 3.11: of an object of bytes, and of a tuple with two
# of them and numbers.
OBJECT_BYTES: Final = 48
ENTRY_BYTES: Final = 256


class Entry(NamedTuple):
    """One key of the snapshot: its value as a whole DUMP payload, its expiry, its use.

    `expires_at_ms` is an absolute Unix time in milliseconds; there and in the other numbers, -1 means none.
    """

    key: bytes
    payload: bytes
    expires_at_ms: int
    idle_seconds: int
    frequency: int


class ExpiringString(NamedTuple):
    """A plain string that expires, its value as it is."""

    key: bytes
    value: bytes
    expires_at_ms: int


class Entries(NamedTuple):
    """Keys of one database, by what becomes of them.

    `strings` and `values` alternate a key and what it holds: a string as it is, any other value, or a compressed
    string, as a whole DUMP payload. Neither has an expiry or a record of its use. `expiring` are strings that have
    an expiry and no more. All other keys are in `entries`, and hashes whose fields can expire. Left out are the
    keys `empty`, aggregates without elements, and so many that had `expired` before the snapshot was made.
    `version` is the RDB version of the snapshot: no payload has a higher one. `rare`: there may be values of modules,
    or hashes whose fields expire.
    """

    database: int
    strings: list[bytes]
    values: list[bytes]
    expiring: list[ExpiringString]
    entries: list[Entry]
    empty: tuple[bytes, ...] = ()
    expired: int = 0
    version: int = 0
    rare: bool = False


def keys_in(entries: Entries) -> int:
    """Return how many keys there are, those left out not counted."""
    pairs = len(entries.strings) + len(entries.values)
    return pairs // 2 + len(entries.expiring) + len(entries.entries)


def held_bytes(entries: Entries) -> int:
    """Return the memory that the keys take, in bytes."""
    size = sum(map(len, entries.strings)) + sum(map(len, entries.values))
    size += OBJECT_BYTES * (len(entries.strings) + len(entries.values))
    size += ENTRY_BYTES * (len(entries.expiring) + len(entries.entries))
    for key, value, _ in entries.expiring:
        size += len(key) + len(value)
    for key, payload, *_ in entries.entries:
        size += len(key) + len(payload)
    return size


class Aux(NamedTuple):
    """A field about the snapshot, such as repl-stream-db; integers as decimal text.

    `module-aux` is data of a module that belong to no key, its value is the module's type name: they cannot
    be transferred by any command, so the caller has to report them.
    """

    name: bytes
    value: bytes


class Library(NamedTuple):
    """The code of one function library."""

    code: bytes


class Resize(NamedTuple):
    """The number of keys in the database, and of those that expire, by the source's own count."""

    database: int
    keys: int
    expires: int


class LargeEntry(NamedTuple):
    """A key whose payload follows in pieces; `size` is the payload's length in bytes, -1 where it is not known yet.

    `number` is its RDB type, and `version` the RDB version that it will name at its end.
    """

    database: int
    key: bytes
    size: int
    expires_at_ms: int
    idle_seconds: int
    frequency: int
    number: int = 0
    version: int = 0


class LargeChunk(NamedTuple):
    """The next bytes of the payload of the LargeEntry before it."""

    data: bytes
    last: bool


Event = Entries | Aux | Library | Resize | LargeEntry | LargeChunk
