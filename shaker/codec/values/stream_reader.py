"""Reader of streams, in the five layouts of RDB 9 to 14.

Source: server file src/rdb.c, rdbSaveObject and rdbLoadObject. Each layout adds to the one before: 2 (Redis 7.0)
the greatest deleted id, entries added and read; 3 (7.2) when a consumer was active; 4 (8.6) idempotent messages; 5
(8.8) entries that no consumer holds. Layouts 4 and 5 follow descriptions by others: no server at hand writes them.
"""

from __future__ import annotations

from typing import Final

from shaker.codec.values.buffer import Buffer
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
from shaker.codec.values.pending_table import PendingTable
from shaker.codec.values.readers import Reader
from shaker.codec.values.stream_node import StreamNode
from shaker.errors import CorruptError

BATCH_ENTRIES: Final = 256
BATCH_STRINGS: Final = 4096
BATCH_PENDING: Final = 1024
NO_COUNT: Final = (1 << 64) - 1  # -1 as a length: the server does not know how many entries a group has read

# Where the reader is.
_START, _NODES, _INFO, _GROUP, _PENDING, _CONSUMERS, _HELD, _RELEASED, _IDEMPOTENCE, _PRODUCER, _END = range(11)


class ProducersRead:
    """Idempotent messages as far as read: `left` producers follow the one called `name`."""

    def __init__(self) -> None:
        self.limits = (0, 0)
        self.left = 0
        self.name = b""
        self.messages: list[tuple[bytes, StreamId]] = []


class StreamValueReader(Reader):
    """A stream of `layout` 1 to 5."""

    def __init__(self, layout: int) -> None:
        super().__init__()
        self._layout = layout
        self._state = _START
        self._left = 0  # nodes, then pending entries, ids of a consumer, messages of a producer
        self._groups = 0
        self._consumers = 0
        self._node: StreamNode | None = None
        self._last: StreamId = (-1, 0)
        self._table = PendingTable()
        self._entries: list[StreamEntry] = []
        self._strings = 0  # in the entries of the batch
        self._held: list[PendingEntry] = []
        self._producers = ProducersRead()
        self._out: list[Element] = []

    def read(self, buffer: Buffer) -> None:
        """Take whole elements, until there is a full batch."""
        while not self.finished and not self._out:
            self._step(buffer)
            buffer.commit()

    def take(self) -> Element | None:
        """Return the next element that was read."""
        if self._entries and not self._out:
            self._flush_entries()
        return self._out.pop(0) if self._out else None

    def _flush_entries(self) -> None:
        self._out.append(StreamEntries(self._entries))
        self._entries = []
        self._strings = 0

    def _step(self, buffer: Buffer) -> None:
        state = self._state
        if state == _NODES:
            self._read_node(buffer)
        elif state == _HELD:
            self._read_held(buffer)
        elif state == _PENDING:
            self._read_pending(buffer)
        elif state == _START:
            self._left = buffer.length()
            self._state = _NODES
        elif state == _INFO:
            self._read_info(buffer)
        elif state == _GROUP:
            self._read_group(buffer)
        elif state == _CONSUMERS:
            self._read_consumer(buffer)
        elif state == _RELEASED:
            self._read_released(buffer)
        elif state == _IDEMPOTENCE:
            self._read_idempotence(buffer)
        elif state == _PRODUCER:
            self._read_message(buffer)
        else:
            self.finished = True

    def _read_node(self, buffer: Buffer) -> None:
        node = self._node
        if node is None:
            if not self._left:
                if self._entries:
                    self._flush_entries()
                self._state = _INFO
                return
            name = buffer.string()
            node = StreamNode(name, buffer.string())
            self._left -= 1
            self._node = node
        while len(self._entries) < BATCH_ENTRIES and self._strings < BATCH_STRINGS:
            entry = node.next_entry()
            if entry is None:
                self._node = None
                return
            if entry.id <= self._last:
                raise CorruptError("the entries of a stream are not in ascending order")
            self._last = entry.id
            self._entries.append(entry)
            self._strings += len(entry.flat)
        self._flush_entries()

    def _id(self, buffer: Buffer) -> StreamId:
        ms = buffer.length()
        return ms, buffer.length()

    def _read_info(self, buffer: Buffer) -> None:
        length = buffer.length()
        last = self._id(buffer)
        deleted, added = (0, 0), UNKNOWN
        if self._layout >= 2:
            self._id(buffer)  # the first entry's id, known from the entries
            deleted = self._id(buffer)
            added = buffer.length()
        groups = buffer.length()
        if self._last > last:
            raise CorruptError("a stream has an entry above its last id")
        self._groups = groups
        self._out.append(StreamInfo(length, last, deleted, added))
        self._state = _GROUP

    def _read_group(self, buffer: Buffer) -> None:
        if not self._groups:
            self._state = _IDEMPOTENCE if self._layout >= 4 else _END
            return
        name = buffer.string()
        last = self._id(buffer)
        read = buffer.length() if self._layout >= 2 else UNKNOWN
        pending = buffer.length()
        self._groups -= 1
        self._left = pending
        self._table = PendingTable(pending)
        self._out.append(Group(name, last, -1 if read == NO_COUNT else read))
        self._state = _PENDING

    def _read_pending(self, buffer: Buffer) -> None:
        while self._left:
            raw = buffer.raw(16)
            delivered = buffer.milliseconds()
            self._table.add(raw, delivered, buffer.length())
            self._left -= 1
            buffer.commit()
        self._consumers = buffer.length()
        self._state = _CONSUMERS

    def _read_consumer(self, buffer: Buffer) -> None:
        if not self._consumers:
            self._end_consumers(buffer)
            return
        name = buffer.string()
        seen = buffer.milliseconds()
        active = buffer.milliseconds() if self._layout >= 3 else UNKNOWN
        held = buffer.length()
        self._consumers -= 1
        self._left = held
        self._table.begin_consumer()
        self._out.append(Consumer(name, seen, active))
        self._state = _HELD

    def _read_held(self, buffer: Buffer) -> None:
        while self._left and len(self._held) < BATCH_PENDING:
            self._held.append(self._table.take(buffer.raw(16)))
            self._left -= 1
            buffer.commit()
        if self._held:
            self._out.append(Pending(self._held))
            self._held = []
        if not self._left:
            self._state = _CONSUMERS

    def _end_consumers(self, buffer: Buffer) -> None:
        if self._layout >= 5:
            self._left = buffer.length()
            self._state = _RELEASED
            return
        if not self._table.all_taken:
            raise CorruptError("a pending entry of a stream belongs to no consumer")
        self._state = _GROUP

    def _read_released(self, buffer: Buffer) -> None:
        while self._left:
            self._held.append(self._table.take(buffer.raw(16)))
            self._left -= 1
            buffer.commit()
        if not self._table.all_taken:
            raise CorruptError("a pending entry of a stream belongs to no consumer")
        held, self._held = sorted(self._held), []
        for start in range(0, len(held), BATCH_PENDING):
            self._out.append(Released(held[start : start + BATCH_PENDING]))
        self._state = _GROUP

    def _read_idempotence(self, buffer: Buffer) -> None:
        duration = buffer.length()
        limit = buffer.length()
        self._producers.left = buffer.length()
        self._producers.limits = (duration, limit)
        self._state = _PRODUCER
        self._left = -1

    def _read_message(self, buffer: Buffer) -> None:
        producers = self._producers
        if self._left > 0:
            message = buffer.string()
            producers.messages.append((message, self._id(buffer)))
            self._left -= 1
            if self._left and len(producers.messages) < BATCH_PENDING:
                return
        elif self._left < 0:
            if not producers.left:
                self._end_idempotence(buffer)
                return
            name = buffer.string()
            self._left = buffer.length()
            producers.name = name
            producers.left -= 1
            if self._left:
                return
        self._out.append(Producer(producers.name, producers.messages))
        producers.messages = []
        if not self._left:
            self._left = -1

    def _end_idempotence(self, buffer: Buffer) -> None:
        added = buffer.length()
        duplicates = buffer.length()
        self._out.append(Idempotence(*self._producers.limits, added, duplicates))
        self._state = _END
