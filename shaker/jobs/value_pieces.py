"""Reads a large value in pieces by commands, as elements of the codec. Does no I/O.

A generator yields the requests of its next piece and is sent their replies; the elements are appended to the list that
it was given. The value must not change meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, NamedTuple

from shaker.codec.values.decoder import Kind
from shaker.codec.values.elements import (
    UNKNOWN,
    Consumer,
    Element,
    ExpiringFields,
    Fields,
    Group,
    Items,
    Members,
    Pending,
    PendingEntry,
    Scores,
    StreamEntries,
    StreamEntry,
    StreamId,
    StreamInfo,
    StringPart,
    StringStart,
)
from shaker.compare.values import pairs
from shaker.net.client import Request
from shaker.net.reply_types import array, blob, number

PIECE_BYTES: Final = 512 * 1024  # of memory that the elements of a piece take on the source
PENDING: Final = 2000  # pending entries of a piece
LAST_SEQUENCE: Final = (1 << 64) - 1


class Value(NamedTuple):
    """A value to be read: `size` by MEMORY USAGE; `fields_expire`: the source knows expiries of hash fields."""

    key: bytes
    size: int
    fields_expire: bool

    def step(self, length: int) -> int:
        """Return how many of `length` elements make a piece."""
        return max(1, min(length, PIECE_BYTES * length // max(1, self.size)))


class Replies(NamedTuple):
    """The replies to a piece's requests, and the source's clock with them in Unix milliseconds."""

    replies: list[Any]
    source_ms: int


Reading = Generator[Sequence[Request], Replies, None]
Read = Callable[[Value, list[Element]], Reading]


def string(value: Value, out: list[Element]) -> Reading:
    """Read a string."""
    length = number((yield [("STRLEN", value.key)]).replies[0])
    out.append(StringStart(length))
    for start in range(0, length, PIECE_BYTES):
        (part,) = (yield [("GETRANGE", value.key, start, start + PIECE_BYTES - 1)]).replies
        out.append(StringPart(blob(part)))


def items(value: Value, out: list[Element]) -> Reading:
    """Read a list."""
    length = number((yield [("LLEN", value.key)]).replies[0])
    step = value.step(length)
    for start in range(0, length, step):
        (found,) = (yield [("LRANGE", value.key, start, start + step - 1)]).replies
        out.append(Items(_blobs(found)))


def members(value: Value, out: list[Element]) -> Reading:
    """Read a set."""
    step = value.step(number((yield [("SCARD", value.key)]).replies[0]))
    cursor = b"0"
    while True:
        (reply,) = (yield [("SSCAN", value.key, cursor, "COUNT", step)]).replies
        cursor, found = array(reply, 2)
        out.append(Members(_blobs(found)))
        if cursor == b"0":
            return


def scores(value: Value, out: list[Element]) -> Reading:
    """Read a sorted set. Servers print scores with all their digits."""
    length = number((yield [("ZCARD", value.key)]).replies[0])
    step = value.step(length)
    for start in range(0, length, step):
        (found,) = (yield [("ZRANGE", value.key, start, start + step - 1, "WITHSCORES")]).replies
        flat = _blobs(found)
        out.append(Scores([(member, float(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)]))


def fields(value: Value, out: list[Element]) -> Reading:
    """Read a hash, with the expiries of its fields."""
    step = value.step(number((yield [("HLEN", value.key)]).replies[0]))
    cursor = b"0"
    while True:
        (reply,) = (yield [("HSCAN", value.key, cursor, "COUNT", step)]).replies
        cursor, found = array(reply, 2)
        flat = _blobs(found)
        if value.fields_expire and flat:
            names = flat[::2]
            (at,) = (yield [("HPEXPIRETIME", value.key, "FIELDS", len(names), *names)]).replies
            expiries = map(number, array(at, len(names)))
            # A field below -1 has expired since the scan.
            known = [each for each in zip(names, flat[1::2], expiries, strict=True) if each[2] >= -1]
            out.append(ExpiringFields(known))
        else:
            out.append(Fields(flat))
        if cursor == b"0":
            return


def stream(value: Value, out: list[Element]) -> Reading:
    """Read a stream: entries, counters, groups, consumers and pending entries."""
    (reply,) = (yield [("XINFO", "STREAM", value.key)]).replies
    info = pairs(array(reply))
    length = number(info[b"length"])
    step = value.step(length)
    start: StreamId = (0, 0)
    while True:
        (found,) = (yield [("XRANGE", value.key, _written(start), "+", "COUNT", step)]).replies
        entries = [StreamEntry(_id(name), _blobs(flat)) for name, flat in map(array, array(found))]
        out.append(StreamEntries(entries))
        if len(entries) < step:
            break
        start = _after(entries[-1].id)
    deleted, added = info.get(b"max-deleted-entry-id", b"0-0"), info.get(b"entries-added", UNKNOWN)
    out.append(StreamInfo(length, _id(info[b"last-generated-id"]), _id(deleted), number(added)))
    (reply,) = (yield [("XINFO", "GROUPS", value.key)]).replies
    for group in (pairs(array(each)) for each in array(reply)):
        name = blob(group[b"name"])
        read = group.get(b"entries-read", UNKNOWN)
        out.append(Group(name, _id(group[b"last-delivered-id"]), -1 if read is None else number(read)))
        (reply,) = (yield [("XINFO", "CONSUMERS", value.key, name)]).replies
        for consumer in (pairs(array(each)) for each in array(reply)):
            out.append(Consumer(blob(consumer[b"name"]), 0, UNKNOWN))
            if number(consumer[b"pending"]):
                yield from _pending(value.key, name, blob(consumer[b"name"]), out)


def _pending(key: bytes, group: bytes, consumer: bytes, out: list[Element]) -> Reading:
    start: StreamId = (0, 0)
    while True:
        reply, now = yield [("XPENDING", key, group, _written(start), "+", PENDING, consumer)]
        found = [
            PendingEntry(_id(name), now - number(idle), number(times))
            for name, _, idle, times in (array(each, 4) for each in array(reply[0]))
        ]
        if found:
            out.append(Pending(found))
        if len(found) < PENDING:
            return
        start = _after(found[-1].id)


READS: Final[dict[bytes, tuple[Kind, Read]]] = {
    b"string": (Kind.STRING, string),
    b"list": (Kind.LIST, items),
    b"set": (Kind.SET, members),
    b"zset": (Kind.ZSET, scores),
    b"hash": (Kind.HASH, fields),
    b"stream": (Kind.STREAM, stream),
}


def _blobs(reply: Any) -> list[bytes]:
    return [blob(each) for each in array(reply)]


def _id(reply: Any) -> StreamId:
    milliseconds, _, sequence = blob(reply).partition(b"-")
    return int(milliseconds), int(sequence)


def _written(entry: StreamId) -> str:
    return f"{entry[0]}-{entry[1]}"


def _after(entry: StreamId) -> StreamId:
    """Return the next id; servers before 6.2 know no exclusive ranges."""
    return (entry[0] + 1, 0) if entry[1] == LAST_SEQUENCE else (entry[0], entry[1] + 1)
