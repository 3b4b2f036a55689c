"""Whether one key holds the same value on two servers: one generator for each type, which asks both the same way.

A generator yields the commands for the source and those for the target, is sent both lists of replies, and returns
whether the values are the same. It does no I/O. Values of any size are read in bounded pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, NamedTuple

CHUNK_BYTES = 1 << 20

Argument = bytes | str | int
Command = tuple[Argument, ...]
Question = tuple[Sequence[Command], Sequence[Command]]
Answer = tuple[list[Any], list[Any]]
Check = Generator[Question, Answer, bool]


def pairs(flat: Iterable[Any]) -> dict[Any, Any]:
    """Return a flat reply of names and values as a dictionary."""
    items = iter(flat)
    return dict(zip(items, items, strict=True))


class Subject(NamedTuple):
    """A key to be compared. `size` is in bytes, the larger of the two sides; `fields` whether fields may expire.

    An expiry of a field may lie up to `later_ms` milliseconds later on the target.
    """

    key: bytes
    size: int
    fields: bool
    later_ms: int

    def piece(self, length: int) -> int:
        """Return how many of `length` elements are read at once: about CHUNK_BYTES of them."""
        return max(1, min(length, CHUNK_BYTES * length // max(1, self.size)))


def same(*commands: Command) -> Check:
    """Compare the replies to the same commands."""
    mine, theirs = yield commands, commands
    return mine == theirs


def _length(command: str, key: bytes) -> Generator[Question, Answer, int | None]:
    """Return the length that both sides give, None if they differ."""
    mine, theirs = yield [(command, key)], [(command, key)]
    return int(mine[0]) if mine == theirs else None


def string(subject: Subject) -> Check:
    """Compare two strings."""
    key = subject.key
    length = yield from _length("STRLEN", key)
    if length is None:
        return False
    for start in range(0, length, CHUNK_BYTES):
        if not (yield from same(("GETRANGE", key, start, start + CHUNK_BYTES - 1))):
            return False
    return True


def ordered(subject: Subject) -> Check:
    """Compare two lists, element by element."""
    key = subject.key
    length = yield from _length("LLEN", key)
    if length is None:
        return False
    step = subject.piece(length)
    for start in range(0, length, step):
        if not (yield from same(("LRANGE", key, start, start + step - 1))):
            return False
    return True


def _scores(flat: Sequence[Any]) -> list[tuple[bytes, float]]:
    """Return members with scores as numbers: since 7.2 they are printed shorter."""
    return [(member, float(score)) for member, score in pairs(flat).items()]


def ranked(subject: Subject) -> Check:
    """Compare two sorted sets: order, members and scores."""
    key = subject.key
    length = yield from _length("ZCARD", key)
    if length is None:
        return False
    step = subject.piece(length)
    for start in range(0, length, step):
        command: Command = ("ZRANGE", key, start, start + step - 1, "WITHSCORES")
        mine, theirs = yield [command], [command]
        if mine != theirs and _scores(mine[0]) != _scores(theirs[0]):
            return False
    return True


def members(subject: Subject) -> Check:
    """Compare two sets."""
    key = subject.key
    length = yield from _length("SCARD", key)
    if length is None:
        return False
    cursor = b"0"
    while True:  # as many members on both sides, and each of the source is one of the target
        (reply,), _ = yield [("SSCAN", key, cursor, "COUNT", subject.piece(length))], []
        cursor, found = reply
        if found:
            _, (known,) = yield [], [("SMISMEMBER", key, *found)]
            if not all(known):
                return False
        if cursor == b"0":
            return True


def fields(subject: Subject) -> Check:
    """Compare two hashes: fields, values and the expiries of fields."""
    key = subject.key
    length = yield from _length("HLEN", key)
    if length is None:
        return False
    cursor = b"0"
    while True:
        (reply,), _ = yield [("HSCAN", key, cursor, "COUNT", subject.piece(length))], []
        cursor, flat = reply
        if flat:
            _, (values,) = yield [], [("HMGET", key, *flat[::2])]
            if values != flat[1::2] or not (yield from _field_expiries(subject, flat[::2])):
                return False
        if cursor == b"0":
            return True


def _field_expiries(subject: Subject, names: Sequence[bytes]) -> Check:
    if not subject.fields or not names:
        return True
    asking: list[Command] = [("HPEXPIRETIME", subject.key, "FIELDS", len(names), *names)]
    (mine,), (theirs,) = yield asking, asking
    return len(mine) == len(theirs) and all(
        one == other or (one >= 0 and 0 <= other - one <= subject.later_ms)
        for one, other in zip(mine, theirs, strict=True)
    )


def stream(subject: Subject) -> Check:
    """Compare two streams: entries, ids, groups, consumers and their pending entries.

    Fields that Redis itself does not replicate are left out: `entries-read` of a group and when a consumer was seen.
    So are consumers without pending entries that only the source has: since 7.2 a read of nothing creates them.
    """
    key = subject.key
    mine, theirs = yield [("XINFO", "STREAM", key)], [("XINFO", "STREAM", key)]
    one, other = pairs(mine[0]), pairs(theirs[0])
    compared = (b"length", b"last-generated-id", b"max-deleted-entry-id", b"entries-added", b"groups")
    if any(one[name] != other[name] for name in compared if name in one and name in other):
        return False
    step = subject.piece(max(1, one[b"length"]))
    if not (yield from _entries(("XRANGE", key), "-", step)):
        return False
    if one[b"groups"] == 0:
        return True
    mine, theirs = yield [("XINFO", "GROUPS", key)], [("XINFO", "GROUPS", key)]
    groups = [
        {group[b"name"]: (group[b"pending"], group[b"last-delivered-id"]) for group in map(pairs, side)}
        for side in (mine[0], theirs[0])
    ]
    if groups[0] != groups[1]:
        return False
    for name in groups[0]:
        mine, theirs = yield [("XINFO", "CONSUMERS", key, name)], [("XINFO", "CONSUMERS", key, name)]
        consumers = [
            {found[b"name"]: found[b"pending"] for found in map(pairs, side)} for side in (mine[0], theirs[0])
        ]
        if any(consumers[0].get(consumer) != pending for consumer, pending in consumers[1].items()):
            return False
        if any(pending for consumer, pending in consumers[0].items() if consumer not in consumers[1]):
            return False
        if groups[0][name][0] and not (yield from _pending(key, name)):
            return False
    return True


def _entries(command: Command, start: str, step: int) -> Check:
    while True:
        asked: Command = (*command, start, "+", "COUNT", step)
        mine, theirs = yield [asked], [asked]
        if mine != theirs:
            return False
        if len(mine[0]) < step:
            return True
        start = "(" + mine[0][-1][0].decode()


def _pending(key: bytes, group: bytes) -> Check:
    start, step = "-", 1000
    while True:
        asked: Command = ("XPENDING", key, group, start, "+", step)
        mine, theirs = yield [asked], [asked]
        # id, consumer, milliseconds since the delivery (of each server's own clock), deliveries
        held = [[(entry, consumer, times) for entry, consumer, _, times in side[0]] for side in (mine, theirs)]
        if held[0] != held[1]:
            return False
        if len(held[0]) < step:
            return True
        start = "(" + held[0][-1][0].decode()


def opaque(subject: Subject) -> Check:
    """Compare values of a type that only the server knows by their DUMP, but for its version and checksum."""
    mine, theirs = yield [("DUMP", subject.key)], [("DUMP", subject.key)]
    return mine == theirs or (None not in (mine[0], theirs[0]) and mine[0][:-10] == theirs[0][:-10])


CHECKS: dict[bytes, Callable[[Subject], Check]] = {
    b"string": string,
    b"list": ordered,
    b"set": members,
    b"zset": ranked,
    b"hash": fields,
    b"stream": stream,
}
