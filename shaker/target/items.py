"""What waits in the window for the target: encoded, sized, and with the position that it leads to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from shaker.replica.events import Batch


class Rejection(NamedTuple):
    """A command that cannot be applied on the target: never its values."""

    command: str
    key: str
    error: str

    @property
    def summary(self) -> str:
        """One line for the checkpoint."""
        return f"{self.command} {self.key}: {self.error}" if self.key else f"{self.command}: {self.error}"


class Position(NamedTuple):
    """A point that the checkpoint can stand at: in the stream (replid, offset) or in a snapshot (id, batch)."""

    phase: str
    history: str
    number: int


@dataclass(slots=True)
class StreamItem:
    """A batch of the stream; `received_at` is when its last byte came, in monotonic seconds.

    `rejections` are commands already left out of it, to be counted when it takes effect.
    """

    batch: Batch
    received_at: float
    rejections: tuple[Rejection, ...] = ()
    released: bool = False  # its bytes were sent and dropped: it cannot be sent again

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
        """Where the checkpoint stands once it has taken effect."""
        return Position("stream", self.batch.replid, self.batch.end_offset)


@dataclass(slots=True)
class SnapshotStart:
    """The beginning of a snapshot: `flush` empties the target first."""

    snapshot: str
    replid: str
    offset: int
    flush: bool
    size: int = 0

    @property
    def position(self) -> Position:
        """Where the checkpoint stands once it has taken effect."""
        return Position("snapshot", self.snapshot, 0)


@dataclass(slots=True)
class SnapshotKeys:
    """RESTORE requests of a snapshot: safe to repeat, in any order among each other.

    With a `label`, the key, it is a piece of one huge request; `more` pieces follow, and the last one counts it.
    """

    snapshot: str
    number: int
    database: int
    data: bytes
    requests: int
    size: int
    label: bytes | None = None
    more: bool = False
    released: bool = False

    def release(self) -> None:
        """Drop the bytes."""
        self.data = b""
        self.size = 0
        self.released = True

    @property
    def position(self) -> Position:
        """Where the checkpoint stands once it has taken effect."""
        return Position("snapshot", self.snapshot, self.number)


@dataclass(slots=True)
class SnapshotFinish:
    """The end of a snapshot: the stream begins.

    `libraries` is the payload of FUNCTION RESTORE, empty where the source has none; they replace those of the
    target, or with `keep_libraries` join them.
    """

    replid: str
    offset: int
    database: int
    libraries: bytes = b""
    keep_libraries: bool = False
    rejections: tuple[Rejection, ...] = ()
    size: int = 0

    @property
    def position(self) -> Position:
        """Where the checkpoint stands once it has taken effect."""
        return Position("stream", self.replid, self.offset)


Item = StreamItem | SnapshotStart | SnapshotKeys | SnapshotFinish
