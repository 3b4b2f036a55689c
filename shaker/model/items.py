"""Items of the window: nouns from which the requests to the target are made, each with the position it leads to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from shaker.model.batch import Batch, CommandRun
from shaker.model.entries import Entries, LargeEntry, held_bytes
from shaker.model.position import Phase, Position
from shaker.model.rejection import Rejection


@dataclass(slots=True)
class StreamItem:
    """A batch of the stream; `received_at` is when its last byte came, in monotonic seconds.

    `rejections` are commands already left out of it, to be counted when it takes effect. `first` is the number of
    its first command in the window's count.
    """

    batch: Batch
    received_at: float
    rejections: tuple[Rejection, ...] = ()
    released: bool = False  # its bytes were sent and dropped: it cannot be sent again
    first: int = 0
    left_out: int = 0  # how many of its commands were not sent

    def release(self) -> None:
        """Drop the bytes."""
        self.batch = self.batch._replace(parts=(), size=0)
        self.released = True

    @property
    def size(self) -> int:
        """Bytes held."""
        return self.batch.size

    @property
    def position(self) -> Position:
        """The position of the checkpoint once it has taken effect."""
        return Position(Phase.STREAM, self.batch.replid, self.batch.end_offset)


@dataclass(slots=True)
class ReviewItem(StreamItem):
    """Requests that remember keys to be compared: of commands that took effect and whose replies nobody read.

    It does not move the stream. With the `last` of them all of it up to there counts as confirmed.
    """

    last: bool = False


@dataclass(slots=True)
class SnapshotStart:
    """The beginning of a snapshot: `flush` empties the target first, `sweep` removes behind it what it lacks."""

    snapshot: str
    replid: str
    offset: int
    flush: bool
    sweep: bool = False
    size: int = 0

    @property
    def position(self) -> Position:
        """The position of the checkpoint once it has taken effect."""
        return Position(Phase.SNAPSHOT, self.snapshot, 0)


@dataclass(slots=True)
class SnapshotBatch:
    """Something of a snapshot that is safe to apply again. `number` counts them from 1."""

    snapshot: str
    number: int

    @property
    def position(self) -> Position:
        """The position of the checkpoint once it has taken effect."""
        return Position(Phase.SNAPSHOT, self.snapshot, self.number)


@dataclass(slots=True)
class SnapshotKeys(SnapshotBatch):
    """Keys of one database, in any order.

    `listed`: the keys of the target were listed as stale before the snapshot; these keys leave the list.
    """

    entries: Entries
    listed: bool = False
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = held_bytes(self.entries)

    @property
    def database(self) -> int:
        """The database of the keys."""
        return self.entries.database


@dataclass(slots=True)
class SnapshotChunk(SnapshotBatch):
    """Bytes of the payload of a value that is too large to hold, the `first` of them, the last or between.

    `more` chunks follow. Chunks that were sent are released: they can only come from the source again.
    """

    entry: LargeEntry
    data: bytes
    first: bool
    more: bool
    listed: bool = False
    released: bool = False

    def release(self) -> None:
        """Drop the bytes."""
        self.data = b""
        self.released = True

    @property
    def size(self) -> int:
        """Bytes held."""
        return len(self.data)

    @property
    def database(self) -> int:
        """The database of the key."""
        return self.entry.database


@dataclass(slots=True)
class SnapshotScripts(SnapshotBatch):
    """Lua scripts that the source keeps."""

    bodies: tuple[bytes, ...]
    database: int = 0

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(map(len, self.bodies))


@dataclass(slots=True)
class SnapshotLibraries(SnapshotBatch):
    """The function libraries of the source; with `keep` those of the target stay beside them."""

    codes: tuple[bytes, ...]
    keep: bool
    database: int = 0

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(map(len, self.codes))


SnapshotItem = SnapshotKeys | SnapshotChunk | SnapshotScripts | SnapshotLibraries


@dataclass(slots=True)
class SnapshotFinish:
    """The end of a snapshot, of which everything has taken effect: the stream begins."""

    replid: str
    offset: int
    database: int
    rejections: tuple[Rejection, ...] = ()
    size: int = 0

    @property
    def position(self) -> Position:
        """The position of the checkpoint once it has taken effect."""
        return Position(Phase.STREAM, self.replid, self.offset)


@dataclass(slots=True, eq=False)
class Barrier:
    """A point of the stream where the target is held until the owner resumes it, perhaps with writes of its own.

    `reached` is called when everything before has taken effect and nothing behind; then `go_on` may give `parts`,
    which are applied there in one transaction. `ended` is called with True when that is done, with False when the
    hold was given up because a link was lost: then nothing or all of the parts took effect.
    """

    replid: str
    offset: int
    reached: Callable[[], None]
    ended: Callable[[bool], None]
    parts: tuple[CommandRun, ...] = ()
    held: bool = True
    reported: bool = False
    size: int = 0

    def go_on(self, parts: tuple[CommandRun, ...] = ()) -> None:
        """Resume the stream after `parts`."""
        self.parts = parts
        self.held = False

    @property
    def position(self) -> Position:
        """The position of the checkpoint at it."""
        return Position(Phase.STREAM, self.replid, self.offset)


@dataclass(slots=True, eq=False)
class SweepStep:
    """The writes of a sweep in one transaction, which sets the checkpoint's `sweep` and `listed` to these.

    It is for the checkpoint's phase `phase` and not written in another one. `ended` is called with True when it has
    taken effect, with False when it was given up because another snapshot has begun.
    """

    phase: Phase
    parts: tuple[CommandRun, ...]
    sweep: str
    ended: Callable[[bool], None]
    listed: int = 0


Item = Barrier | StreamItem | SnapshotStart | SnapshotItem | SnapshotFinish
