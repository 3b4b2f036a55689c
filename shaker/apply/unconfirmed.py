"""Work that took effect on the target and whose replies were not read: a command of it may have failed unnoticed.

The worker was killed, or its connection lost, between the EXEC and its replies. The keys of those commands enter a
set in their database, `shaker:unconfirmed:<name>`, in one transaction with the first commands behind them, and stay
there until a comparison with the source finds them equal. Up to that transaction the checkpoint's `confirmed` stays
where it is, so that a worker that is killed again finds the same place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from shaker.apply.records import Checkpoint, checkpoint_key, unconfirmed_key
from shaker.apply.window import Window
from shaker.codec.resp.replies import encode
from shaker.codec.resp.requests import whole
from shaker.model.batch import Batch, CommandRun, held_bytes
from shaker.model.items import Item, ReviewItem, SnapshotStart, StreamItem
from shaker.rules.command_table import CommandTable
from shaker.rules.expiring_commands import NEEDS, NOTED, SWAPS
from shaker.rules.touched_keys import Touched

# Keys in one request: the target does nothing else while it carries it out.
REQUEST_KEYS: Final = 1000
# Keys that are known by name, at most: a set that has more is read only once it has shrunk.
KNOWN_KEYS: Final = 10_000
# Commands that make one key of another.
DERIVING: Final = frozenset(name for name, note in NOTED.items() if note.bits & NEEDS)


class Place(NamedTuple):
    """A point of the stream: offset in bytes, and the database selected there, None where nobody knows."""

    offset: int
    database: int | None


class Unconfirmed:
    """The state of unconfirmed work. One for the worker's life.

    `place` is where the checkpoint's `confirmed` has to stay, None where all replies were read; `unread`: what lies
    behind it has to be read from the source again, unless that is `unreadable` there. `waiting`: there may be keys
    to be compared; `known` has all of them by database, and maybe others, or is None where nobody knows them. `bytes`
    is how much of the stream that concerns.
    """

    def __init__(self, name: str) -> None:
        self.place: Place | None = None
        self.unread = False
        self.unreadable = False
        self.waiting = False
        self.known: dict[int, set[bytes]] | None = {}
        self.remembered = 0  # how often keys were
        self.bytes = 0
        self.error = ""  # the last interruption of the comparison, empty once it continues
        self.key = unconfirmed_key(name)
        # Members that mean all keys of the database, and all keys of all databases. The stream has no such
        # keys: they are the worker's own.
        self.whole = self.key.encode()
        self.everything = checkpoint_key(name).encode()

    @property
    def pending(self) -> bool:
        """Whether something is still to be compared."""
        return self.place is not None or self.waiting

    @property
    def recorded(self) -> int:
        """The bytes of the stream whose keys wait to be compared, as the checkpoint records them; 0 for none."""
        return max(self.bytes, 1) if self.waiting else 0

    def found(self, checkpoint: Checkpoint | None) -> None:
        """Take over, from a checkpoint, work that this process has not done or no longer knows."""
        self.place, self.unread, self.unreadable = None, False, False
        if checkpoint is None:
            return
        self.waiting = self.waiting or checkpoint.unconfirmed > 0
        if self.waiting:
            self.known = None
        self.bytes = checkpoint.unconfirmed
        if checkpoint.resumable and checkpoint.offset > checkpoint.confirmed:
            self._begin(checkpoint)
            self.unread = True

    def recovered(self, checkpoint: Checkpoint | None, window: Window, table: CommandTable) -> bool:
        """Look after what `window` has just found to have taken effect; False where its keys are not at hand."""
        if any(isinstance(item, ReviewItem) and item.last for item in window.recovered):
            self.place = None
        lost = [
            item
            for item in window.recovered
            if isinstance(item, StreamItem)
            and not isinstance(item, ReviewItem)
            and (item.batch.parts or item.released)
        ]
        if checkpoint is None or not lost:
            return True
        if any(item.released for item in lost):
            return False
        self._begin(checkpoint)
        self.unread = False
        touched = Touched(table)
        for item in lost:
            add(touched, item.batch.parts)
        batch = self.batch(touched, checkpoint.replid, checkpoint.offset, checkpoint.database)
        window.put_first(ReviewItem(batch, lost[-1].received_at, last=True))
        return True

    def begin_snapshot(self) -> None:
        """Note that a snapshot is on its way: unread work is settled by it."""
        self.unread = False

    def _begin(self, checkpoint: Checkpoint) -> None:
        self.place = Place(checkpoint.confirmed, checkpoint.confirmed_database)
        self.bytes = (self.bytes if self.waiting else 0) + checkpoint.offset - checkpoint.confirmed

    def batch(self, touched: Touched, replid: str, offset: int, database: int) -> Batch:
        """Return what remembers `touched`, for a position that the stream has reached already."""
        parts = self._parts(touched)
        return Batch(parts, 0, held_bytes(parts), replid, offset, database, persist=True)

    def _parts(self, touched: Touched) -> tuple[CommandRun, ...]:
        parts = [CommandRun(database, request, 1) for database, request in touched.again]
        parts += [CommandRun(database, request, 1) for database, request in self._remember(touched)]
        return tuple(parts)

    def _remember(self, touched: Touched) -> list[tuple[int, bytes]]:
        keys = {database: sorted(found) for database, found in touched.keys.items()}
        for database in touched.whole:
            keys[database] = [self.whole]  # covers the others
        if touched.everything:
            keys = {0: [self.everything]}
        requests = [
            (database, encode("SADD", self.key, *found[start : start + REQUEST_KEYS]))
            for database, found in sorted(keys.items())
            for start in range(0, len(found), REQUEST_KEYS)
        ]
        if requests:
            self.waiting = True
            self.remembered += 1
            self._know(None if touched.whole or touched.everything else touched.keys)
        return requests

    def _know(self, keys: dict[int, set[bytes]] | None) -> None:
        if keys is None or self.known is None:
            self.known = None
            return
        for database, found in keys.items():
            self.known.setdefault(database, set()).update(found)
        if sum(map(len, self.known.values())) > KNOWN_KEYS:
            self.known = None

    def found_equal(self, database: int, keys: Iterable[bytes]) -> None:
        """Note at a barrier that keys are equal there, and so are all keys that later commands make of them."""
        if self.known is not None and database in self.known:
            self.known[database].difference_update(keys)

    def compared(self) -> None:
        """Note that no key waits any longer."""
        self.waiting = False
        self.known = {}

    def derived(self, part: CommandRun, table: CommandTable) -> list[tuple[int, bytes]]:
        """Return requests that remember the keys that a part makes of keys that may differ.

        Otherwise a stream that makes keys of others all the time would add some to each comparison, which never ended.
        """
        if not self.waiting:
            return []
        if part.expiries & SWAPS:
            self.known = None
        if not part.expiries & NEEDS:
            return []
        spreading = None if self.known is None else self.known.get(part.database, set())
        touched = Touched(table)
        touched.add(part.database, whole(part.data, part.prefix), DERIVING, spreading)
        return self._remember(touched)

    def ends(self, items: Iterable[object]) -> bool:
        """Whether `items` of a transaction leave nothing behind `place` that is unconfirmed."""
        return any(
            isinstance(item, SnapshotStart) or (isinstance(item, ReviewItem) and item.last) for item in items
        )

    def committed(self, items: Sequence[Item]) -> None:
        """Note that `items` have taken effect and their replies were read."""
        if self.place is not None and self.ends(items):
            self.place, self.unread = None, False

    def lacks(self, checkpoint: Checkpoint, applied: int) -> bool:
        """Whether the checkpoint of a stream applied up to `applied` does not say what it could."""
        confirmed = applied if self.place is None else self.place.offset
        return checkpoint.confirmed != confirmed or checkpoint.unconfirmed != self.recorded


def add(touched: Touched, parts: Iterable[CommandRun]) -> None:
    """Add to `touched` what parts of the stream may have changed."""
    for part in parts:
        if part.label is None:
            touched.add(part.database, whole(part.data, part.prefix))
        elif part.commands:
            touched.add_huge(part.database, *part.label)
