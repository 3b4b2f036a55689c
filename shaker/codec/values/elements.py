"""Nouns: the elements that a value consists of, in batches of bounded size.

The same value gives the same elements in every encoding, but for the order of sets, hashes and sorted sets and
the size of batches. Integers come as decimal text. Times are Unix times in milliseconds.
"""

from __future__ import annotations

from typing import Final, NamedTuple

# A number that older RDB types do not have.
UNKNOWN: Final = -2
NEVER: Final = -1  # no expiry

StreamId = tuple[int, int]  # milliseconds and sequence number


class StringStart(NamedTuple):
    """A plain string of `size` bytes begins; its bytes follow as `StringPart`s."""

    size: int


class StringPart(NamedTuple):
    """Bytes of a plain string."""

    data: bytes


class Items(NamedTuple):
    """Elements of a list, in its order."""

    values: list[bytes]


class Members(NamedTuple):
    """Members of a set."""

    values: list[bytes]


class Scores(NamedTuple):
    """Members of a sorted set with their scores; no score is NaN or -0.0."""

    pairs: list[tuple[bytes, float]]


class Fields(NamedTuple):
    """Fields of a hash without expiries: `flat` alternates field and value."""

    flat: list[bytes]


class ExpiringFields(NamedTuple):
    """Fields of a hash: field, value and expiry, NEVER for none."""

    fields: list[tuple[bytes, bytes, int]]


class PathFields(NamedTuple):
    """Fields of one path of a path hash (Valkey 9.2): `flat` alternates field and value."""

    path: bytes
    flat: list[bytes]


class StreamEntry(NamedTuple):
    """An entry of a stream; `flat` alternates field and value."""

    id: StreamId
    flat: list[bytes]


class StreamEntries(NamedTuple):
    """Entries of a stream, in the order of their ids."""

    entries: list[StreamEntry]


class StreamInfo(NamedTuple):
    """The counters of a stream, after all its entries.

    `max_deleted` and `added` (entries ever added) are (0, 0) and UNKNOWN where the type predates them (before RDB 10).
    """

    length: int
    last: StreamId
    max_deleted: StreamId
    added: int


class Group(NamedTuple):
    """A consumer group begins. `read` entries were read: -1 where the server does not know, UNKNOWN before RDB 10."""

    name: bytes
    last: StreamId
    read: int


class Consumer(NamedTuple):
    """A consumer of the last group begins. `active` is -1 where it never was, UNKNOWN before RDB 11."""

    name: bytes
    seen: int
    active: int


class PendingEntry(NamedTuple):
    """An entry delivered and not acknowledged; the entry itself may be deleted."""

    id: StreamId
    delivered: int
    deliveries: int


class Pending(NamedTuple):
    """Pending entries of the last consumer, in the order of their ids."""

    entries: list[PendingEntry]


class Released(NamedTuple):
    """Pending entries of the last group that no consumer holds (XNACK of Redis 8.8), in the order of their ids."""

    entries: list[PendingEntry]


class Idempotence(NamedTuple):
    """Limits and counters by which a stream recognises messages sent twice (Redis 8.6)."""

    duration: int
    limit: int
    added: int
    duplicates: int


class Producer(NamedTuple):
    """A producer of idempotent messages: its name, and message ids with the entries that they became."""

    name: bytes
    messages: list[tuple[bytes, StreamId]]


class ModuleStart(NamedTuple):
    """A value of a module's own type begins; vector sets of Redis 8 are of the type `vectorset`."""

    name: bytes
    version: int


class ModuleParts(NamedTuple):
    """Parts of a module's value as saved: opcode (rdb.h, RDB_MODULE_OPCODE_*) and content, integers as text."""

    parts: list[tuple[int, bytes]]


class Libraries(NamedTuple):
    """Code of function libraries."""

    codes: list[bytes]


Element = (
    StringStart
    | StringPart
    | Items
    | Members
    | Scores
    | Fields
    | ExpiringFields
    | PathFields
    | StreamEntries
    | StreamInfo
    | Group
    | Consumer
    | Pending
    | Released
    | Idempotence
    | Producer
    | ModuleStart
    | ModuleParts
    | Libraries
)
