"""Commands that make a value again on a target that cannot take its payload, each of bounded size.

All are for a temporary key, which readers of the real one do not see; `publish` gives it the real name and its
expiry. Lossless: scores are exact, and streams whole but for the times when consumers were seen. `survey` refuses
what the target cannot hold, before anything is written. A value without elements, which servers do not load either,
makes no key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from shaker.codec.rdb.value_types import NEWER_TYPES
from shaker.codec.resp.replies import encode
from shaker.codec.values.buffer import MAX_STRING
from shaker.codec.values.decoder import Kind, PayloadDecoder
from shaker.codec.values.elements import (
    NEVER,
    Element,
    ExpiringFields,
    Fields,
    Items,
    Libraries,
    Members,
    ModuleStart,
    PathFields,
    Pending,
    Scores,
    StreamEntries,
    StreamId,
    StringPart,
    StringStart,
)
from shaker.codec.values.requests import Gatherer
from shaker.codec.values.stream_commands import EntryIds, StreamCommands, refuse
from shaker.codec.values.target import DEFAULT_LIMITS, Limits, Target
from shaker.errors import CorruptError, UnsupportedError

# By kind: the command that adds elements, and how many arguments each has.
_ADDING: Final[dict[Kind, tuple[bytes, int]]] = {
    Kind.LIST: (b"RPUSH", 1),
    Kind.SET: (b"SADD", 1),
    Kind.ZSET: (b"ZADD", 2),
    Kind.HASH: (b"HSET", 2),
}
# All commands make them again, but for expiries of fields.
SIMPLE: Final = frozenset((Kind.STRING, Kind.LIST, Kind.SET, Kind.ZSET, Kind.HASH))
NO_GROUP: Final = (b"", 1)
LIBRARY_LOAD: Final = (b"FUNCTION", b"LOAD", b"REPLACE")


class Survey(NamedTuple):
    """The kind of a value, and the ids that are pending in a stream without their entries, None where nobody looked."""

    kind: Kind
    missing: list[StreamId] | None


def survey(
    chunks: Iterable[bytes],
    target: Target,
    *,
    version: int = 0,
    functions: bool = False,
    max_string: int = MAX_STRING,
) -> Survey:
    """Look through a DUMP payload; UnsupportedError where commands cannot make it again on the target.

    Only the beginning is decoded where that is enough to know. Takes 16 bytes for each entry of a stream.
    """
    surveyor = Surveyor(target, version=version, functions=functions, max_string=max_string)
    for chunk in chunks:
        surveyor.receive(chunk)
        while surveyor.look():
            pass
        if surveyor.enough:
            break
    return surveyor.found()


class Surveyor:
    """Looks through a payload, a batch of elements at a time; see `survey`."""

    def __init__(
        self, target: Target, *, version: int = 0, functions: bool = False, max_string: int = MAX_STRING
    ) -> None:
        self._target = target
        self._decoder = PayloadDecoder(version=version, functions=functions, max_string=max_string)
        self._missing: set[StreamId] = set()
        self._live = EntryIds()

    @property
    def enough(self) -> bool:
        """Whether all is known without the rest."""
        return self._decoder.kind in SIMPLE and (self._decoder.number < NEWER_TYPES or self._target.field_expiry)

    def receive(self, chunk: bytes) -> None:
        """Append bytes of the payload."""
        self._decoder.receive(chunk)

    def look(self) -> bool:
        """Look at a batch; False where there is none."""
        element = None if self.enough else self._decoder.next_element()
        if element is None:
            return False
        _check(element, self._target)
        if isinstance(element, StreamEntries):
            self._live.add(element.entries)
        elif isinstance(element, Pending):
            for entry in element.entries:
                if entry.id not in self._live:
                    self._missing.add(entry.id)
        return True

    def found(self) -> Survey:
        """Return the findings; CorruptError where the payload is cut or damaged."""
        kind = self._decoder.kind
        if kind is None:
            raise CorruptError("a DUMP payload is empty")
        if not self.enough:
            self._decoder.finish()
        return Survey(kind, sorted(self._missing))


def _check(element: Element, target: Target) -> None:
    if isinstance(element, ModuleStart):
        raise UnsupportedError(f"commands that make a value of the module type {element.name.decode('latin-1')}")
    if isinstance(element, ExpiringFields):
        for _, _, at in element.fields:
            if at != NEVER and not (target.field_expiry or target.drops_field_expiry):
                raise UnsupportedError("hash fields that expire (HPEXPIREAT)")
    elif isinstance(element, PathFields) and not target.path_hashes:
        raise UnsupportedError("path hashes (PHSET)")
    elif isinstance(element, Libraries) and not target.functions:
        raise UnsupportedError("functions (FUNCTION LOAD)")


class ValueCommands:
    """Makes commands of the elements of a value, under the key `key`, which must not exist before."""

    def __init__(self, key: bytes, found: Survey, target: Target, limits: Limits = DEFAULT_LIMITS) -> None:
        self._key = key
        self._target = target
        self._limits = limits
        self._begun = False  # the first part of a string was set
        name, group = _ADDING.get(found.kind, NO_GROUP)
        self._gatherer = Gatherer((name, key), group, limits)
        self._stream: StreamCommands | None = None
        if found.kind is Kind.STREAM:
            self._stream = StreamCommands(key, target, limits, found.missing)

    def add(self, element: Element) -> list[bytes]:
        """Return the commands for the next element."""
        if self._stream is not None:
            return self._stream.add(element)
        gatherer = self._gatherer
        if isinstance(element, Items | Members):
            gatherer.extend(element.values)
        elif isinstance(element, Fields):
            gatherer.extend(element.flat)
        elif isinstance(element, Scores):
            flat: list[bytes] = []
            for member, score in element.pairs:
                flat.append(repr(score).encode())
                flat.append(member)
            gatherer.extend(flat)
        elif isinstance(element, ExpiringFields):
            return self._expiring(element.fields)
        elif isinstance(element, PathFields):
            _check(element, self._target)
            return self._path_fields(element)
        elif isinstance(element, StringStart):
            return [] if element.size else [encode(b"SET", self._key, b"")]
        elif isinstance(element, StringPart):
            return self._string(element.data)
        elif isinstance(element, Libraries):
            return [encode(*LIBRARY_LOAD, code) for code in element.codes]
        else:
            _check(element, self._target)
            refuse(element)
        return gatherer.take()

    def finish(self) -> list[bytes]:
        """Return the commands that come last."""
        if self._stream is not None:
            return self._stream.finish()
        self._gatherer.flush()
        return self._gatherer.take()

    def _string(self, data: bytes) -> list[bytes]:
        out = []
        for start in range(0, len(data), self._limits.bytes):
            name = b"APPEND" if self._begun else b"SET"
            self._begun = True
            out.append(encode(name, self._key, data[start : start + self._limits.bytes]))
        return out

    def _path_fields(self, element: PathFields) -> list[bytes]:
        gatherer = Gatherer((b"PHSET", self._key, element.path, b"FIELDS"), 2, self._limits, counted=True)
        gatherer.extend(element.flat)
        gatherer.flush()
        return gatherer.take()

    def _expiring(self, fields: list[tuple[bytes, bytes, int]]) -> list[bytes]:
        """Set fields, then their expiries, those that are alike at once."""
        flat: list[bytes] = []
        expiries: dict[int, list[bytes]] = {}
        for field, value, at in fields:
            flat.append(field)
            flat.append(value)
            if at != NEVER and self._target.field_expiry:
                expiries.setdefault(at, []).append(field)
        _check(ExpiringFields(fields), self._target)
        self._gatherer.extend(flat)
        self._gatherer.flush()
        out = self._gatherer.take()
        most = self._limits.elements
        for at, names in expiries.items():
            for start in range(0, len(names), most):
                some = names[start : start + most]
                prefix = [b"HPEXPIREAT", self._key, b"%d" % at, b"FIELDS", b"%d" % len(some)]
                out.append(encode(*prefix, *some))
        return out


def make(
    chunks: Iterable[bytes],
    key: bytes,
    found: Survey,
    target: Target,
    *,
    version: int = 0,
    functions: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    max_string: int = MAX_STRING,
) -> Iterator[bytes]:
    """Yield the requests that make a surveyed value under `key`, which must not exist before."""
    commands = ValueCommands(key, found, target, limits)
    decoder = PayloadDecoder(version=version, functions=functions, max_string=max_string)
    for chunk in chunks:
        decoder.receive(chunk)
        while (element := decoder.next_element()) is not None:
            yield from commands.add(element)
    decoder.finish()
    yield from commands.finish()
