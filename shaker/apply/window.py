"""The one window between source and target: items received and not answered, bounded in bytes.

Items enter at the back, are handed to the target in order, and leave at the front when the target has answered.
Those handed out and not answered are kept: after a reconnect the checkpoint shows which of them took effect.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from shaker.apply.left_out import LeftOut
from shaker.apply.records import Checkpoint
from shaker.model.items import Barrier, Item, SnapshotBatch, SnapshotChunk, SnapshotStart, StreamItem
from shaker.model.position import Phase, Position
from shaker.rules.mset import without_prefixes

# Memory of an item beyond its bytes: a stream of tiny batches may not grow the window without bound.
ITEM_OVERHEAD = 512
ENDLESS = 1 << 62  # more than commands can be counted


class RejectionsAt(NamedTuple):
    """The number of commands that the target rejected up to `position`, replies read, and one line about the last."""

    position: Position | None
    rejected: int
    last: str


class Window:
    """A bounded queue of items with a mark between those handed out and those waiting. Sizes in bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._items: deque[Item] = deque()
        self._handed = 0
        # Positions whose effect is that of everything that left the window: the last one answered, and those of
        # items without effect that followed it and were not written.
        self._applied_positions: list[Position] = []
        self.databases: set[int] = set()  # used by now: a connection that has to prove one proves all of them
        self.required: set[int] = set()  # those of them that are to be proven before anything else
        self.recovered: tuple[Item, ...] = ()  # what the last `recover` found to have taken effect, its answer lost
        self._joins = True  # whether the target may get commands joined to one
        self.left_out = LeftOut()  # commands that the target does not take, by their numbers
        self._numbered = 0  # the number of the next command to enter
        self._answered = 0  # the number of the first one that was not answered
        self.tight = False  # the target was out of memory when it was last written to
        self._scripts = True  # whether it lets the worker use scripts
        # Counted with the last answered transaction, before a checkpoint says so.
        self.known_rejections: RejectionsAt | None = None

    def __len__(self) -> int:
        return len(self._items)

    @property
    def full(self) -> bool:
        """Whether the source has to wait."""
        return self.size >= self.limit

    @property
    def learned(self) -> int:
        """The number of times that a connection learned something for the next ones: it grows."""
        return self.left_out.added + len(self.required) + (not self._joins)

    @property
    def applied_position(self) -> Position | None:
        """The position of everything that left the window."""
        return self._applied_positions[-1] if self._applied_positions else None

    @property
    def last(self) -> Item | None:
        """The item that entered last, None when all are answered."""
        return self._items[-1] if self._items else None

    def put(self, item: Item) -> None:
        """Append an item; the caller looks at `full` before."""
        if isinstance(item, StreamItem):
            item.first = self._numbered
            self._numbered += item.batch.commands
            if not self._joins:
                item.batch = without_prefixes(item.batch)
        elif isinstance(item, SnapshotStart):
            self.left_out.keep(0, self._numbered)  # numbers after that are another history's
        self._items.append(item)
        self.size += _cost(item)

    def put_first(self, item: Item) -> None:
        """Put an item without commands before all others; nothing is handed out."""
        if isinstance(item, StreamItem):
            item.first = self._answered
        self._items.appendleft(item)
        self.size += _cost(item)

    def peek(self) -> Item | None:
        """Return the next item that was not handed out."""
        return self._items[self._handed] if self._handed < len(self._items) else None

    def waiting(self) -> Iterator[Item]:
        """Return the items that were not handed out."""
        return islice(self._items, self._handed, None)

    def take(self) -> Item:
        """Hand out the next item."""
        item = self._items[self._handed]
        self._handed += 1
        return item

    def answered(self, count: int, *, written: bool = True) -> None:
        """Drop the first `count` items: they took effect. `written`: the checkpoint says so."""
        for _ in range(count):
            item = self._items.popleft()
            self.size -= _cost(item)
            if isinstance(item, StreamItem):
                self._answered = item.first + item.batch.commands
            if written:
                self._applied_positions = [item.position]
            else:
                self._applied_positions = [*self._applied_positions[:1], item.position]
        self._handed = max(0, self._handed - count)
        self.left_out.keep(self._answered, ENDLESS)

    def rejections_at(self, checkpoint: Checkpoint) -> tuple[int, str]:
        """Return how many commands were rejected up to a checkpoint just read, and one line about the last."""
        counted = self.known_rejections
        if counted is not None and counted.position == position_of(checkpoint):
            # Its replies were read, and the connection was lost before they were counted in it.
            return counted.rejected, counted.last
        return checkpoint.rejected, checkpoint.rejected_last

    def written(self) -> None:
        """Note that the checkpoint is at `applied_position`."""
        self._applied_positions = self._applied_positions[-1:]

    @property
    def scripted(self) -> bool:
        """Whether to write by scripts: the target is out of memory, and they are not forbidden."""
        return self.tight and self._scripts

    def out_of_memory(self, *, scripts: bool = True) -> None:
        """Note that the target is out of memory, and whether to try scripts: forbidden, they are tried by turns."""
        self.tight, self._scripts = True, scripts

    def stop_joining(self) -> None:
        """Have no commands joined from now on, nor of those in the window: the target does not take it."""
        self._joins = False
        for item in self._items:
            if isinstance(item, StreamItem) and not item.released:
                before = item.size
                item.batch = without_prefixes(item.batch)
                self.size += item.size - before

    def release(self, items: Iterable[StreamItem | SnapshotChunk]) -> None:
        """Drop the bytes of `items`, which were sent and are too large to keep: only the source has them."""
        for item in items:
            before = _cost(item)
            item.release()
            self.size += _cost(item) - before

    def drop_unfinished(self) -> bool:
        """Drop the beginning of what the source did not finish; True if part of it was handed out already."""
        self._give_up_barriers(self._handed)
        handed = False
        while self._items and _is_unfinished(self._items[-1]):
            self._drop_last()
            if self._handed > len(self._items):
                self._handed = len(self._items)
                handed = True
        return handed

    def give_up_barriers(self) -> None:
        """Give up every barrier: the target link was lost, and the stream resumes without it."""
        self._give_up_barriers(0)

    def _give_up_barriers(self, first: int) -> None:
        """Give up the barriers from the item number `first` on: those handed out are still to be answered."""
        for index in range(len(self._items) - 1, first - 1, -1):
            item = self._items[index]
            if isinstance(item, Barrier):
                del self._items[index]
                self.size -= ITEM_OVERHEAD
                self._handed -= index < self._handed
                item.ended(False)

    def discard_waiting(self) -> None:
        """Drop items not handed out, except the rest of one that was begun: the source begins again."""
        self._give_up_barriers(self._handed)
        first = self._handed
        while 0 < first < len(self._items) and _is_unfinished(self._items[first - 1]):
            first += 1
        while len(self._items) > first:
            self._drop_last()

    def _drop_last(self) -> None:
        item = self._items.pop()
        self.size -= _cost(item)
        if isinstance(item, StreamItem):
            self._numbered = item.first

    def clear(self, base: Position | None) -> None:
        """Drop everything; the target is at `base`."""
        self.give_up_barriers()
        self._items.clear()
        self.size = self._handed = 0
        # Commands are counted from where the stream is read again; anywhere else their numbers are not known.
        self.left_out.keep(self._answered, ENDLESS if base in self._applied_positions else 0, shift=self._answered)
        self._numbered = self._answered = 0
        self._applied_positions = [base] if base else []

    def recover(self, checkpoint: Checkpoint | None, *, same_server_run: bool) -> bool:
        """Line the window up with the checkpoint read at a registration; False when that cannot be done.

        True: everything that the checkpoint covers has left, the rest will be handed out again. False: what the
        checkpoint says is no boundary of the kept items, so the target lost or gained something that the window does
        not know; the caller has to resume from the checkpoint alone.
        """
        self.give_up_barriers()
        aligned = self._align(checkpoint, same_server_run)
        return aligned and not any(
            isinstance(item, StreamItem | SnapshotChunk) and item.released for item in self._items
        )

    def _align(self, checkpoint: Checkpoint | None, same_server_run: bool) -> bool:
        self.recovered = ()
        here = position_of(checkpoint)
        if here is None:
            return False
        if here.phase == Phase.SNAPSHOT:
            return self._recover_snapshot(here, same_server_run)
        if here in self._applied_positions:
            self._handed = 0
            return True
        for index, item in enumerate(self._items):
            if item.position == here and not _is_unfinished(item):
                self.recovered = tuple(islice(self._items, index + 1))
                self.answered(index + 1)
                self._handed = 0
                return True
        return self._restart_at_snapshot()

    def _recover_snapshot(self, here: Position, same_server_run: bool) -> bool:
        """Hand out unanswered items again: a snapshot's are safe to repeat, but none may be missing."""
        base = self.applied_position
        if base is not None and base.phase == Phase.SNAPSHOT and base.history == here.history:
            handed = [item for item in islice(self._items, self._handed) if isinstance(item, SnapshotBatch)]
            newest = handed[-1].number if handed else base.number
            if not same_server_run or not base.number <= here.number <= newest:
                return False
            self._handed = 0
            return True
        first = self._items[0] if self._items else None
        if isinstance(first, SnapshotStart) and first.position == here:
            self.answered(1)
            self._handed = 0
            return same_server_run
        return self._restart_at_snapshot()

    def _restart_at_snapshot(self) -> bool:
        """Begin at a snapshot that waits to begin: it replaces everything on the target."""
        for index, item in enumerate(self._items):
            if isinstance(item, SnapshotStart):
                for _ in range(index):
                    dropped = self._items.popleft()
                    self.size -= _cost(dropped)
                self._handed = 0
                return True
        return False


def _cost(item: Item) -> int:
    """Return what an item takes of the window.

    One whose bytes were dropped takes nothing: it leaves only with the rest of what it belongs to, which may come
    in any number of pieces, and must find room.
    """
    released = isinstance(item, StreamItem | SnapshotChunk) and item.released
    return 0 if released else item.size + ITEM_OVERHEAD


def _is_unfinished(item: Item) -> bool:
    """Whether the rest of `item` is in later items: the target is at its position only with the last of them."""
    return item.batch.more if isinstance(item, StreamItem) else isinstance(item, SnapshotChunk) and item.more


def position_of(checkpoint: Checkpoint | None) -> Position | None:
    """Return the position of a checkpoint."""
    if checkpoint is None:
        return None
    if checkpoint.phase == Phase.SNAPSHOT:
        return Position(Phase.SNAPSHOT, checkpoint.snapshot, checkpoint.snapshot_batch)
    return Position(Phase.STREAM, checkpoint.replid, checkpoint.offset)
