"""Canonical content: equal for equal values in all encodings, versions and orders of elements.

Computed in bounded memory: lists and streams by one running hash; sets, hashes and sorted sets by the sum of one
strong hash for each element, which no order changes. Values that hold an element twice, as no server does, count it
twice.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, NamedTuple

from shaker.codec.values.buffer import MAX_STRING
from shaker.codec.values.decoder import Kind, PayloadDecoder
from shaker.codec.values.elements import (
    UNKNOWN,
    Consumer,
    Element,
    ExpiringFields,
    Fields,
    Group,
    Idempotence,
    Items,
    Libraries,
    Members,
    ModuleParts,
    ModuleStart,
    PathFields,
    Pending,
    PendingEntry,
    Producer,
    Released,
    Scores,
    StreamEntries,
    StreamId,
    StreamInfo,
    StringPart,
    StringStart,
)
from shaker.errors import CorruptError

DIGEST: Final = 32
MODULUS: Final = 1 << 8 * DIGEST


class StreamCounters(NamedTuple):
    """Counters of a stream beside its entries; UNKNOWN, before Redis 7.0, equals everything."""

    max_deleted: StreamId
    added: int


class Content(NamedTuple):
    """The content of a value. `elements` counts bytes of a string, entries of a stream, else elements."""

    kind: Kind
    elements: int
    digest: bytes
    counters: StreamCounters | None = None

    def same(self, other: Content) -> bool:
        """Return whether the values are equal, where both sides know."""
        if self[:3] != other[:3]:
            return False
        mine, theirs = self.counters, other.counters
        return mine is None or theirs is None or UNKNOWN in (mine.added, theirs.added) or mine == theirs


class Digester:
    """Computes the content of a value from its elements.

    Unless `exact`, what servers do not replicate does not count: how many entries a group has read, when consumers
    were seen and active, consumers with nothing pending, times and counts of deliveries. Neither do limits and
    counters of idempotent messages, which older layouts do not have.
    """

    def __init__(self, *, exact: bool = False) -> None:
        self._exact = exact
        self._elements = 0
        self._sum = 0
        self._running = blake2b(digest_size=DIGEST)
        self._counters: StreamCounters | None = None
        self._consumer: bytes | None = None  # the consumer whose pending entries come, until it has one

    def add(self, element: Element) -> None:
        """Add the next element."""
        if isinstance(element, Fields):
            self._add_fields(b"-1:", element.flat)
        elif isinstance(element, ExpiringFields):
            for field, value, at in element.fields:
                self._sum += _hash(b"%d:%d:" % (at, len(field)) + field + value)
            self._elements += len(element.fields)
        elif isinstance(element, Members):
            total = 0
            for member in element.values:
                total += _hash(member)
            self._sum += total
            self._elements += len(element.values)
        elif isinstance(element, Scores):
            total = 0
            for member, score in element.pairs:
                total += _hash(struct.pack("<d", score) + member)
            self._sum += total
            self._elements += len(element.pairs)
        elif isinstance(element, Items):
            self._run(element.values)
            self._elements += len(element.values)
        elif isinstance(element, StringPart):
            self._running.update(element.data)
            self._elements += len(element.data)
        elif isinstance(element, StreamEntries):
            for entry in element.entries:
                self._run([_id(entry.id), b"%d" % len(entry.flat), *entry.flat])
            self._elements += len(element.entries)
        elif not isinstance(element, StringStart):
            self._add_rare(element)

    def content(self, kind: Kind) -> Content:
        """Return the content of all elements added."""
        self._running.update((self._sum % MODULUS).to_bytes(DIGEST, "little"))
        return Content(kind, self._elements, self._running.digest(), self._counters)

    def _add_fields(self, head: bytes, flat: list[bytes]) -> None:
        total = 0
        for index in range(0, len(flat), 2):
            field = flat[index]
            total += _hash(b"%b%d:" % (head, len(field)) + field + flat[index + 1])
        self._sum += total
        self._elements += len(flat) // 2

    def _run(self, values: list[bytes]) -> None:
        parts: list[bytes] = []
        for value in values:
            parts.append(b"%d:" % len(value))
            parts.append(value)
        self._running.update(b"".join(parts))

    def _add_rare(self, element: Element) -> None:
        if isinstance(element, StreamInfo):
            self._counters = StreamCounters(element.max_deleted, element.added)
            self._run([b"info", _id(element.last)])
        elif isinstance(element, Group):
            read = b"%d" % element.read if self._exact and element.read != UNKNOWN else b""
            self._run([b"group", element.name, _id(element.last), read])
        elif isinstance(element, Consumer):
            self._consumer = element.name
            if self._exact:
                self._begin_consumer()
                self._run([b"%d" % element.seen, b"%d" % element.active])
        elif isinstance(element, Pending):
            self._begin_consumer()
            self._run_pending(element.entries)
        elif isinstance(element, Released):
            self._run([b"released"])
            self._run_pending(element.entries)
        elif isinstance(element, Producer):
            for message, entry in element.messages:
                self._sum += _hash(
                    b"%d:%d:" % (len(element.name), len(message)) + element.name + message + _id(entry)
                )
        elif isinstance(element, Idempotence):
            if self._exact:
                self._run([b"%d" % number for number in element])
        elif isinstance(element, PathFields):
            self._add_fields(b"%d:" % len(element.path) + element.path, element.flat)
        elif isinstance(element, ModuleStart):
            self._run([element.name, b"%d" % element.version])
        elif isinstance(element, ModuleParts):
            for opcode, part in element.parts:
                self._run([b"%d" % opcode, part])
            self._elements += len(element.parts)
        elif isinstance(element, Libraries):
            for code in element.codes:
                self._sum += _hash(code)
            self._elements += len(element.codes)

    def _begin_consumer(self) -> None:
        if self._consumer is not None:
            self._run([b"consumer", self._consumer])
            self._consumer = None

    def _run_pending(self, entries: list[PendingEntry]) -> None:
        values: list[bytes] = []
        for entry, delivered, deliveries in entries:
            values.append(_id(entry))
            if self._exact:
                values += (b"%d" % delivered, b"%d" % deliveries)
        self._run(values)


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=DIGEST).digest(), "little")


def _id(entry: StreamId) -> bytes:
    return b"%d-%d" % entry


def content(
    chunks: Iterable[bytes],
    *,
    version: int = 0,
    exact: bool = False,
    functions: bool = False,
    max_string: int = MAX_STRING,
) -> Content:
    """Return the content of a DUMP payload that comes in chunks; see `PayloadDecoder` and `Digester`.

    Raises CorruptError and UnfaithfulError as decoding does.
    """
    decoder = PayloadDecoder(version=version, functions=functions, max_string=max_string)
    digester = Digester(exact=exact)
    for chunk in chunks:
        decoder.receive(chunk)
        while (element := decoder.next_element()) is not None:
            digester.add(element)
    decoder.finish()
    if decoder.kind is None:
        raise CorruptError("a DUMP payload is empty")
    return digester.content(decoder.kind)
