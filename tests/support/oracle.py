"""The oracle: every difference between two servers that stand still, read by commands, without code of the product.

It judges the verification, and the codec that the verification shares with the worker. Other tests compare by
`tests/support/compare.py`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import redis

from tests.support.servers import Server

# The records of workers.
RECORD = re.compile(
    rb"shaker:(fence|checkpoint|stale|expiring|copying|doubtful|unconfirmed|building|rebuilding):[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
)
CHUNK = 1000
# Seconds: a key that expires so soon is looked at again. In follow mode an expiry lies up to LATER milliseconds later
# on the target: `expiry.margin_seconds`, and four times what a lag that lasts can be on a busy machine.
EXPIRING = 3
LATER = 6000
LOOKS = 3  # at what differs, before it counts
SHOWN = 20
# Redis 6.2 cannot tell the time of an expiry; what is left and the clock are read within one script.
EXPIRY_TOLERANCE = 50

_EXPIRIES = "local out = {} for i, key in ipairs(KEYS) do out[i] = redis.call('PEXPIRETIME', key) end return out"
_EXPIRIES_BY_CLOCK = (
    "local out = {} for i, key in ipairs(KEYS) do "
    "local now = redis.call('TIME') local left = redis.call('PTTL', key) "
    "out[i] = left < 0 and left or now[1] * 1000 + math.floor(now[2] / 1000) + left end return out"
)
_FIELD_EXPIRIES = (
    "local out = {} for i, key in ipairs(KEYS) do local found = {} local fields = redis.call('HKEYS', key) "
    "for j, field in ipairs(fields) do "
    "local at = redis.call('HPEXPIRETIME', key, 'FIELDS', 1, field)[1] "
    "if at > 0 then found[#found + 1] = field found[#found + 1] = at end end out[i] = found end return out"
)


class Side:
    """One server, read by plain replies: no parsing by command, so versions and protocols read alike."""

    def __init__(self, server: Server) -> None:
        info = server.info("server")
        self.build = (info.get("server_name", "redis"), info.get("valkey_version", info["redis_version"]))
        self.old = info["redis_version"].startswith(("5.", "6."))
        self.other_clock = False  # than the server it is compared with
        self._server = server
        self._clients: dict[int, redis.Redis] = {}
        self.databases = {int(name[2:]) for name in server.info("keyspace")}
        self.field_expiries = bool(self.client(0).execute_command("COMMAND", "INFO", "HPEXPIRETIME")[0])
        self.whole_streams = not info["redis_version"].startswith("5.")

    def client(self, database: int) -> redis.Redis:
        """Return the client of one database."""
        if database not in self._clients:
            client = self._server.client(db=database, protocol=2, socket_timeout=120)
            client.response_callbacks.clear()
            self._clients[database] = client
        return self._clients[database]

    def keys(self, database: int, kind: str | None = None) -> set[bytes]:
        """Return all keys of one database, or those of one type."""
        cursor: bytes | int = 0
        found: set[bytes] = set()
        while True:
            words = ["SCAN", cursor, "COUNT", 10_000, *(["TYPE", kind] if kind else [])]
            cursor, keys = self.client(database).execute_command(*words)
            found.update(key for key in keys if not RECORD.fullmatch(key))
            if cursor in (b"0", "0", 0):
                return found

    def each(self, database: int, commands: Iterable[Sequence[Any]]) -> list[Any]:
        """Return the replies of pipelined commands; an error is a reply."""
        pipeline = self.client(database).pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies

    def script(self, database: int, script: str, keys: Sequence[bytes]) -> list[Any]:
        """Return what a script answers for `keys`."""
        replies: list[Any] = self.client(database).execute_command("EVAL", script, len(keys), *keys)
        return replies

    def digests(self, database: int, keys: Sequence[bytes]) -> list[Any]:
        """Return the server's own digest of each value: type, value and whether it expires."""
        replies: list[Any] = self.client(database).execute_command("DEBUG", "DIGEST-VALUE", *keys)
        return replies

    def expiries(self, database: int, keys: Sequence[bytes]) -> list[Any]:
        """Return for each key when it expires in Unix milliseconds, -1 for never, -2 where there is no key."""
        return self.script(database, _EXPIRIES_BY_CLOCK if self.old else _EXPIRIES, keys)

    def hash_expiries(self, database: int, keys: Sequence[bytes]) -> list[Any]:
        """Return for each hash the expiries of its fields."""
        if not self.field_expiries:
            return [{} for _ in keys]
        return [_pairs(found) for found in self.script(database, _FIELD_EXPIRIES, keys)]

    def streams(self, database: int, keys: Sequence[bytes]) -> list[Any]:
        """Return for each stream its entries, groups, consumers and pending entries."""
        if not self.whole_streams:
            return [self._stream_by_parts(database, key) for key in keys]
        replies = self.each(database, [("XINFO", "STREAM", key, "FULL", "COUNT", 0) for key in keys])
        streams = [_stream(reply) for reply in replies]
        if self.other_clock:
            # A delivery is replicated as XCLAIM, which takes no time that lies ahead of the server's clock.
            for stream in streams:
                for group in stream[b"groups"].values() if isinstance(stream, dict) else ():
                    del group[b"pending"]  # the consumers' own are looked at
                    for consumer in group[b"consumers"].values():
                        consumer[b"pending"] = [[entry, None, times] for entry, _, times in consumer[b"pending"]]
        return streams

    def _stream_by_parts(self, database: int, key: bytes) -> Any:
        """Return the same of Redis 5.0, whose XINFO knows no FULL, and which cannot tell the time of a delivery."""
        ask = self.client(database).execute_command
        groups = {}
        for group in map(_pairs, ask("XINFO", "GROUPS", key)):
            pending = ask("XPENDING", key, group[b"name"], "-", "+", 1_000_000)
            held = {
                name: {
                    b"name": name,
                    b"pel-count": count,
                    b"pending": [[entry, None, times] for entry, owner, _, times in pending if owner == name],
                }
                for consumer in map(_pairs, ask("XINFO", "CONSUMERS", key, group[b"name"]))
                for name, count in [(consumer[b"name"], consumer[b"pending"])]
            }
            groups[group[b"name"]] = {
                b"last-delivered-id": group[b"last-delivered-id"],
                b"pel-count": group[b"pending"],
                b"consumers": held,
            }
        stream = _pairs(ask("XINFO", "STREAM", key))
        return {
            b"length": stream[b"length"],
            b"last-generated-id": stream[b"last-generated-id"],
            b"entries": ask("XRANGE", key, "-", "+"),
            b"groups": groups,
        }

    def values(self, database: int, keys: Sequence[bytes]) -> list[Any]:
        """Return for each key its type and its value in a form that all versions share."""
        kinds = [kind.decode() for kind in self.each(database, [("TYPE", key) for key in keys])]
        commands = [
            (*_READ.get(kind, ("DUMP",))[:1], key, *_READ.get(kind, ())[1:])
            for kind, key in zip(kinds, keys, strict=True)
        ]
        replies = self.each(database, commands)
        return [
            (kind, _FORM.get(kind, lambda reply: reply)(reply)) for kind, reply in zip(kinds, replies, strict=True)
        ]

    def functions(self) -> Any:
        """Return the libraries of functions with their code."""
        if self.old:
            return []
        libraries = [_pairs(library) for library in self.client(0).execute_command("FUNCTION", "LIST", "WITHCODE")]
        return sorted((library[b"library_name"], library[b"library_code"]) for library in libraries)


def _pairs(flat: Sequence[Any]) -> dict[Any, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _scores(reply: Any) -> Any:
    return [(member, float(score)) for member, score in zip(reply[::2], reply[1::2], strict=True)]


# What depends on the encoding or on when somebody looked, and the counters that Redis does not replicate itself:
# a native replica tells no `entries-read` of a group created at `$`.
_VOLATILE = (b"radix-tree-keys", b"radix-tree-nodes", b"seen-time", b"active-time", b"lag", b"entries-read")


def _stream(reply: Any) -> Any:
    if isinstance(reply, Exception):
        return repr(reply)
    stream = {name: value for name, value in _pairs(reply).items() if name not in _VOLATILE}
    groups = {}
    for group in map(_pairs, stream[b"groups"]):
        consumers = {
            consumer[b"name"]: {name: value for name, value in consumer.items() if name not in _VOLATILE}
            for consumer in map(_pairs, group[b"consumers"])
        }
        rest = {name: value for name, value in group.items() if name not in _VOLATILE}
        groups[group[b"name"]] = {**rest, b"consumers": consumers}
    return {**stream, b"groups": groups}


_READ: dict[str, tuple[Any, ...]] = {
    "string": ("GET",),
    "list": ("LRANGE", 0, -1),
    "set": ("SMEMBERS",),
    "hash": ("HGETALL",),
    "zset": ("ZRANGE", 0, -1, "WITHSCORES"),
    "stream": ("XRANGE", "-", "+"),
    "none": ("EXISTS",),
}
_FORM: dict[str, Callable[[Any], Any]] = {"set": frozenset, "hash": _pairs, "zset": _scores}


def _shared(one: Any, other: Any) -> tuple[Any, Any]:
    """Reduce the stream of the source and that of the target to what both servers know and Redis replicates."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return one, other
    groups: tuple[dict[bytes, Any], dict[bytes, Any]] = ({}, {})
    for mine, side, peer in zip(groups, (one, other), (other, one), strict=True):
        for name, group in side[b"groups"].items():
            known = peer[b"groups"].get(name, group)
            # Since 7.2 a read that finds nothing makes a consumer on the source, which Redis does not replicate.
            consumers = {
                consumer: _as_told_by(known[b"consumers"].get(consumer, held), held)
                for consumer, held in group[b"consumers"].items()
                if consumer in known[b"consumers"] or held[b"pel-count"] or side is other
            }
            mine[name] = {field: value for field, value in group.items() if field in known}
            mine[name][b"consumers"] = consumers
    both = set(one) & set(other)
    return (
        {field: one[field] for field in both} | {b"groups": groups[0]},
        {field: other[field] for field in both} | {b"groups": groups[1]},
    )


def _as_told_by(peer: dict[bytes, Any], consumer: dict[bytes, Any]) -> dict[bytes, Any]:
    """Leave out the times of deliveries where the other server, of 5.0 or with another clock, cannot tell them."""
    if all(time is not None for _, time, _ in peer[b"pending"]):
        return consumer
    return consumer | {b"pending": [[entry, None, times] for entry, _, times in consumer[b"pending"]]}


class _Comparison:
    def __init__(self, source: Server, target: Server, later: int, tolerance: int) -> None:
        self.later = later
        self.sides = (Side(source), Side(target))
        self.same_build = self.sides[0].build == self.sides[1].build
        self.tolerance = tolerance if self.sides[0].old or self.sides[1].old else 0

    def _both(self, read: str, database: int, keys: Sequence[bytes]) -> Iterator[tuple[bytes, Any, Any]]:
        replies = [getattr(side, read)(database, keys) for side in self.sides]
        return zip(keys, *replies, strict=True)

    def differing(self, database: int, keys: Sequence[bytes], *, only: str | None = None) -> dict[bytes, str]:
        """Return what differs in `keys` of one database."""
        found: dict[bytes, str] = {}

        def note(key: bytes, what: str) -> None:
            found[key] = f"{found[key]}, {what}" if key in found else what

        streams, hashes = [], []
        for key, *kinds in self._kinds(database, keys):
            if kinds[0] != kinds[1]:
                note(key, f"type is {kinds[0]} on the source and {kinds[1]} on the target")
            elif kinds[0] == "stream":
                streams.append(key)
            elif kinds[0] == "hash":
                hashes.append(key)
        value = "digests" if self.same_build else "values"
        for key, one, other in self._both(value, database, keys):
            if one != other and key not in found:
                note(key, "value differs")
        for key, one, other in self._both("expiries", database, keys):
            if min(one, other) > -2 and not self.same_expiry(one, other):
                note(key, f"expires at {one} on the source and {other} on the target")
        for key, one, other in self._both("streams", database, streams):
            one, other = _shared(one, other)
            if one != other:
                note(key, f"stream differs in {_where(one, other)}")
        for key, one, other in self._both("hash_expiries", database, hashes):
            if not self.same_field_expiries(one, other):
                note(key, "expiries of fields differ")
        return found

    def same_expiry(self, one: int, other: int) -> bool:
        """Whether an expiry of the source fits one of the target."""
        if min(one, other) < 0:
            return one == other
        return -self.tolerance <= other - one <= self.later + self.tolerance

    def same_field_expiries(self, one: Any, other: Any) -> bool:
        """Whether the expiries of a hash's fields on the source fit those on the target."""
        if not (isinstance(one, dict) and isinstance(other, dict)):
            return bool(one == other)
        return one.keys() == other.keys() and all(self.same_expiry(one[name], other[name]) for name in one)

    def _kinds(self, database: int, keys: Sequence[bytes]) -> Iterator[tuple[bytes, str, str]]:
        script = "local out = {} for i, key in ipairs(KEYS) do out[i] = redis.call('TYPE', key).ok end return out"
        one, other = ([kind.decode() for kind in side.script(database, script, keys)] for side in self.sides)
        return zip(keys, one, other, strict=True)

    def database(self, database: int) -> dict[bytes, str]:
        """Return what differs in one database."""
        mine, theirs = (side.keys(database) for side in self.sides)
        found = dict.fromkeys(mine - theirs, "missing on the target")
        found |= dict.fromkeys(theirs - mine, "only on the target")
        common = sorted(mine & theirs)
        for start in range(0, len(common), CHUNK):
            found |= self.differing(database, common[start : start + CHUNK])
        return found

    def settled(self, database: int, found: dict[bytes, str]) -> dict[bytes, str]:
        """Return what of `found` still differs: a key that expired between the two reads was no difference.

        The first look can be what makes the source expire a key: its deletion takes a moment to the target.
        """
        for look in range(20):
            if not found or len(found) > CHUNK:
                break
            keys = sorted(found)
            soon = (time.time() + EXPIRING) * 1000
            near = any(0 <= at < soon for at in self._expiring(database, keys))
            kinds = {key: (one, other) for key, one, other in self._kinds(database, keys)}
            again = {
                key: "missing on the target" if kinds[key][1] == "none" else "only on the target"
                for key in keys
                if "none" in kinds[key] and kinds[key][0] != kinds[key][1]
            }
            present = [key for key in keys if "none" not in kinds[key]]
            found = again | (self.differing(database, present) if present else {})
            if look >= LOOKS and not near:
                break
            time.sleep(0.2)  # an expiry that is so near may still make the two sides one
        return found

    def _expiring(self, database: int, keys: Sequence[bytes]) -> list[int]:
        return [at for side in self.sides for at in side.expiries(database, keys)]


def _where(one: Any, other: Any) -> str:
    """Return the path of names to the first difference."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return ""
    name = min(name for name in set(one) | set(other) if one.get(name) != other.get(name))
    return f"{name.decode()} {_where(one.get(name), other.get(name))}".strip()


def differences(
    source: Server,
    target: Server,
    *,
    later: int = LATER,
    clocks_differ: bool = False,
    tolerance: int = EXPIRY_TOLERANCE,
) -> list[str]:
    """Return every difference between two servers that stand still, at most SHOWN for each database; [] if equal.

    Compared in all databases: the keys (but for the records of workers), type, value, expiry (up to `later`
    milliseconds later on the target), stream groups, consumers and pending entries, expiries of hash fields; and the
    libraries of functions. Where the clocks differ the times of deliveries may, too, as they do on a native replica.
    Expiries may differ by `tolerance` milliseconds where one of the servers is old.
    """
    out: list[str] = []
    for place, found in groupby(
        every_difference(source, target, later=later, clocks_differ=clocks_differ, tolerance=tolerance).items(),
        lambda item: item[0].database,
    ):
        lines = [str(place) + what for place, what in found]
        out += lines[:SHOWN]
        if len(lines) > SHOWN:
            out.append(f"database {place}: {len(lines) - SHOWN} differences more")
    return out


class Place(NamedTuple):
    """Where a difference lies: a key, or the libraries of functions, which have neither key nor database."""

    database: int | None
    key: bytes | None

    def __str__(self) -> str:
        return "the libraries of functions" if self.key is None else f"database {self.database} key {self.key!r}: "


def every_difference(
    source: Server,
    target: Server,
    *,
    later: int = LATER,
    clocks_differ: bool = False,
    tolerance: int = EXPIRY_TOLERANCE,
) -> dict[Place, str]:
    """Return what differs by its place, by databases and keys; as `differences`, without a limit."""
    comparison = _Comparison(source, target, later, tolerance)
    comparison.sides[1].other_clock = clocks_differ
    out = {}
    for database in sorted(comparison.sides[0].databases | comparison.sides[1].databases):
        found = comparison.settled(database, comparison.database(database))
        out |= {Place(database, key): found[key] for key in sorted(found)}
    libraries = [side.functions() for side in comparison.sides]
    if libraries[0] != libraries[1]:
        out[Place(None, None)] = " differ"
    return out
