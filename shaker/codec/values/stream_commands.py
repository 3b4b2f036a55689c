"""Elements of a stream to the commands that make it again: ids, counters, groups, consumers, pending entries.

A server claims a pending entry only while the entry exists, and adds entries in ascending order only. So entries that
are pending and deleted are added again at their place, claimed, and removed at the end. XTRIM removes those below all
others, as a trim may have done before; XDEL removes the others, as XDEL alone can have done. The last XSETID sets the
counters.

Not kept: when consumers were seen and active, which no command sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shaker.codec.resp.replies import encode
from shaker.codec.values.elements import (
    UNKNOWN,
    Consumer,
    Element,
    Group,
    Idempotence,
    Pending,
    PendingEntry,
    Producer,
    Released,
    StreamEntries,
    StreamEntry,
    StreamId,
    StreamInfo,
)
from shaker.codec.values.pending_table import MAX_TABLE
from shaker.codec.values.requests import Gatherer
from shaker.codec.values.target import Limits, Target
from shaker.errors import CorruptError, UnfaithfulError, UnsupportedError

MAKER: Final = b"shaker"  # a group that makes an empty stream, and is destroyed at once
ID_SIZE: Final = 16
# Ids in one XCLAIM or XDEL: a server looks each of them up, for 0.1 ms.
MOST_IDS: Final = 100
PLACEHOLDER: Final = (b"", b"")
# The greatest id but one: the greatest itself means ">" inside Redis 5.0.
ABOVE_ALL: Final = b"18446744073709551615-18446744073709551614"


def written(entry: StreamId) -> bytes:
    """Return an id as commands spell it."""
    return b"%d-%d" % entry


class EntryIds:
    """The ids of a stream's entries, added in ascending order: 16 bytes each.

    None are kept above MAX_TABLE bytes. Then looking for one raises UnfaithfulError.
    """

    def __init__(self) -> None:
        self._ids = bytearray()
        self._full = False

    def add(self, entries: Sequence[StreamEntry]) -> None:
        """Add entries."""
        if self._full:
            return
        if len(self._ids) + len(entries) * ID_SIZE > MAX_TABLE:
            self._full, self._ids = True, bytearray()
            return
        parts = []
        for ms, sequence in [entry.id for entry in entries]:
            parts.append((ms << 64 | sequence).to_bytes(ID_SIZE, "big"))
        self._ids += b"".join(parts)

    def __contains__(self, entry: StreamId) -> bool:
        if self._full:
            raise UnfaithfulError(
                f"a stream has pending entries and more than {MAX_TABLE // ID_SIZE} entries",
                hint="acknowledge the pending entries of its groups on the source (XACK), or trim the stream (XTRIM)",
                kind="too_large",
            )
        wanted = (entry[0] << 64 | entry[1]).to_bytes(ID_SIZE, "big")
        ids = self._ids
        low, high = 0, len(ids) // ID_SIZE
        while low < high:
            middle = (low + high) // 2
            if bytes(ids[middle * ID_SIZE : middle * ID_SIZE + ID_SIZE]) < wanted:
                low = middle + 1
            else:
                high = middle
        return bytes(ids[low * ID_SIZE : low * ID_SIZE + ID_SIZE]) == wanted


class StreamCommands:
    """Makes commands of the elements of a stream, under the key `key`.

    `missing` are the ids that are pending in a group and whose entries are not there, sorted. With None, a value that
    has any raises UnfaithfulError when its groups come.
    """

    def __init__(self, key: bytes, target: Target, limits: Limits, missing: Sequence[StreamId] | None) -> None:
        self._key = key
        self._target = target
        self._limits = limits._replace(elements=min(limits.elements, MOST_IDS))
        self._ids = EntryIds() if missing is None else None
        self._missing = missing or ()
        self._index = 0  # of the next one in `missing` that no entry has passed
        self._live = 0
        self._below = 0  # placeholders below all entries
        self._between: list[StreamId] = []
        self._info: StreamInfo | None = None
        self._group = b""
        self._consumer = b""
        self._out: list[bytes] = []

    def add(self, element: Element) -> list[bytes]:
        """Return the commands for the next element; UnsupportedError for what the target cannot hold."""
        if isinstance(element, StreamEntries):
            if self._ids is not None:
                self._ids.add(element.entries)
            for entry in element.entries:
                self._placeholders(entry.id)
                self._live += 1
                self._command(b"XADD", written(entry.id), *entry.flat)
        elif isinstance(element, Pending):
            self._claim(element.entries)
        elif isinstance(element, StreamInfo):
            self._begin(element)
        elif isinstance(element, Group):
            self._create_group(element)
        elif isinstance(element, Consumer):
            self._create_consumer(element)
        else:
            refuse(element)
        return self._take()

    def finish(self) -> list[bytes]:
        """Return the commands that come last."""
        info = self._info
        assert info is not None  # each stream has it
        gatherer = Gatherer((b"XDEL", self._key), 1, self._limits)
        gatherer.extend([written(entry) for entry in self._between])
        gatherer.flush()
        self._out += gatherer.take()
        if self._below:
            self._command(b"XTRIM", b"MAXLEN", b"%d" % self._live)
        self._set_counters(info, self._live)
        return self._take()

    def _take(self) -> list[bytes]:
        out, self._out = self._out, []
        return out

    def _command(self, name: bytes, *arguments: bytes) -> None:
        self._out.append(encode(name, self._key, *arguments))

    def _placeholders(self, before: StreamId) -> None:
        """Add the missing entries below an id that is added next."""
        missing = self._missing
        while self._index < len(missing) and missing[self._index] < before:
            entry = missing[self._index]
            self._index += 1
            if entry == (0, 0):
                raise CorruptError("a stream has a pending entry of the id 0-0")
            self._command(b"XADD", written(entry), *PLACEHOLDER)
            if self._live:
                self._between.append(entry)
            else:
                self._below += 1

    def _begin(self, info: StreamInfo) -> None:
        self._info = info
        self._placeholders((info.last[0], info.last[1] + 1))
        if self._index < len(self._missing):
            raise CorruptError("a stream has a pending entry above its last id")
        if not self._live and not self._below:
            self._out.append(encode(b"XGROUP", b"CREATE", self._key, MAKER, b"0", b"MKSTREAM"))
            self._out.append(encode(b"XGROUP", b"DESTROY", self._key, MAKER))
        # Before the groups: newer servers let none read more than was added. Exact once the placeholders are gone.
        self._set_counters(info, self._live + self._below + len(self._between))

    def _set_counters(self, info: StreamInfo, length: int) -> None:
        arguments = [written(info.last)]
        if self._target.stream_counters:
            added = self._live if info.added == UNKNOWN else info.added
            arguments += [b"ENTRIESADDED", b"%d" % max(added, length), b"MAXDELETEDID", written(info.max_deleted)]
        self._command(b"XSETID", *arguments)

    def _create_group(self, group: Group) -> None:
        self._group = group.name
        arguments = [b"XGROUP", b"CREATE", self._key, group.name, written(group.last)]
        if self._target.stream_counters and group.read != UNKNOWN:
            arguments += [b"ENTRIESREAD", b"%d" % group.read]
        self._out.append(encode(*arguments))

    def _create_consumer(self, consumer: Consumer) -> None:
        self._consumer = consumer.name
        if self._target.create_consumer:
            self._out.append(encode(b"XGROUP", b"CREATECONSUMER", self._key, self._group, consumer.name))
        else:  # reading its pending entries above all ids makes a consumer and does nothing else
            self._out.append(
                encode(
                    *(b"XREADGROUP", b"GROUP", self._group, consumer.name),
                    *(b"COUNT", b"1", b"STREAMS", self._key, ABOVE_ALL),
                )
            )

    def _claim(self, entries: list[PendingEntry]) -> None:
        """Claim entries, as many at once as follow each other with the same time and count."""
        ids: list[bytes] = []
        last = entries[0]
        for entry in entries:
            if self._ids is not None and entry.id not in self._ids:
                raise UnfaithfulError(
                    f"the entry {written(entry.id).decode()} of a stream is deleted and still pending, and the stream "
                    "is too large to be read twice",
                    hint="raise snapshot.max_value (SHAKER_SNAPSHOT__MAX_VALUE), or acknowledge the entry",
                    kind="too_large",
                )
            alike = entry.delivered == last.delivered and entry.deliveries == last.deliveries
            if ids and (not alike or len(ids) >= self._limits.elements):
                self._claim_alike(ids, last)
                ids = []
            ids.append(written(entry.id))
            last = entry
        self._claim_alike(ids, last)

    def _claim_alike(self, ids: list[bytes], like: PendingEntry) -> None:
        options = [b"TIME", b"%d" % like.delivered, b"RETRYCOUNT", b"%d" % like.deliveries, b"FORCE", b"JUSTID"]
        self._command(b"XCLAIM", self._group, self._consumer, b"0", *ids, *options)


def refuse(element: Element) -> None:
    """Raise UnsupportedError for elements of a stream that no command makes again."""
    if isinstance(element, Released):
        raise UnsupportedError("pending stream entries that no consumer holds (XNACK)")
    if isinstance(element, Producer):
        raise UnsupportedError("idempotent stream messages (XADD ... IDMP)")
    if not isinstance(element, Idempotence):
        raise CorruptError("a stream has an element of another type")
