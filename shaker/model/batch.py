"""The nouns that flow from the source to the target: immutable, no behaviour.

Offsets are bytes of the source's replication history `replid`; databases are numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from shaker.model.entries import Entries, LargeChunk, LargeEntry
from shaker.model.server_info import ServerInfo

# Memory of a run and of a command that is left out, beside their bytes (CPython 3.11, with the requests for them).
RUN_BYTES = 384
LEFT_OUT_BYTES = 640


class CommandRun(NamedTuple):
    """A run of commands as they came, for one database.

    With a `label`, a fragment of one huge command instead, which the label names: its name and its first key. It
    counts as a command with its last fragment. `longest` is the length of the longest argument that begins in a
    fragment, in bytes; `reserved`: it names a record of a worker, so that the command must not take effect.
    `expiries` has the bits of `shaker.rules.expiry` for the commands that may be in it. Each command lacks `prefix` at
    its beginning, which is empty where they are whole.
    """

    database: int
    data: bytes
    commands: int
    label: tuple[bytes, bytes | None] | None = None
    expiries: int = 0
    prefix: bytes = b""
    longest: int = 0
    reserved: bool = False


class RecordsWiped(NamedTuple):
    """A batch wipes the worker's own records in database 0 of the target: they have to be written again.

    `moved_to` is the database in which SWAPDB left the old ones, None where they were only deleted.
    """

    moved_to: int | None


class Batch(NamedTuple):
    """Commands of the stream that are applied together or not at all, and the position of the stream after them.

    Without parts it has no effect and only moves the offset (PING) or the selected database (SELECT). With `more`
    it is the beginning of something too large to hold: what follows up to the first batch without `more` is applied
    with it, and only there the stream is at `end_offset`.
    """

    parts: tuple[CommandRun, ...]
    commands: int
    size: int
    replid: str
    end_offset: int
    database: int
    records: RecordsWiped | None = None
    more: bool = False
    persist: bool = False  # the position itself must reach the target soon: a new replication id
    rejected: tuple[bytes, ...] = ()  # commands left out because they would write to the worker's records
    skipped: int = 0  # commands left out because they are another worker's records, not data
    scripts: tuple[bytes, ...] = ()  # that are in the commands
    unsupported: int = 0  # commands left out, whole or in part, because the target cannot hold what they set


def held_bytes(parts: Sequence[CommandRun], left_out: int = 0) -> int:
    """Return what `parts` of a batch, and so many commands that are left out of it, take of the worker's memory."""
    return sum(len(part.data) for part in parts) + RUN_BYTES * len(parts) + LEFT_OUT_BYTES * left_out


class Reviewed(NamedTuple):
    """A batch from before the offset to resume from: it has already taken effect and is not applied."""

    batch: Batch


class ReviewEnd(NamedTuple):
    """The stream is at the offset to resume from. By the commands read, `database` is selected there, -1 unknown."""

    database: int


class FullSync(NamedTuple):
    """The source begins a snapshot of history `replid` at `offset`."""

    replid: str
    offset: int


class Continued(NamedTuple):
    """The source continues where it was asked to, under `replid`."""

    replid: str


class RecordWritten(NamedTuple):
    """Another worker writes its checkpoint on the source: its key, and field and value in turn."""

    key: bytes
    fields: tuple[bytes, ...]


class SnapshotSize(NamedTuple):
    """The length of the snapshot in bytes; 0 when the source does not know it (diskless)."""

    size: int


class KeyCount(NamedTuple):
    """The number of keys that the source announced for one database of the snapshot."""

    keys: int


class SnapshotLibrary(NamedTuple):
    """A function library of the snapshot."""

    code: bytes


class SnapshotScript(NamedTuple):
    """A Lua script that the source keeps for EVALSHA: its stream may name it by its digest alone."""

    body: bytes


class SnapshotLoss(NamedTuple):
    """Data of the snapshot that no command can carry: what kind it is and whose."""

    kind: str
    name: str


class SnapshotEnd(NamedTuple):
    """The snapshot is complete and its checksum right; the stream continues at `offset` with `database` selected."""

    replid: str
    offset: int
    database: int


class AckRequested(NamedTuple):
    """The source asked for the applied offset (REPLCONF GETACK); it counts as answered from `offset` on."""

    offset: int


class BarrierReached(NamedTuple):
    """The stream is cut at `offset`, the `wanted` one or right behind the EXEC that follows it.

    Not `clean`: in the middle of a command or a transaction there.
    """

    offset: int
    wanted: int
    clean: bool


class Introduced(NamedTuple):
    """The source has answered the handshake; `info` is its INFO, parsed. PSYNC comes next."""

    info: ServerInfo


Event = (
    Batch
    | Reviewed
    | ReviewEnd
    | FullSync
    | Continued
    | RecordWritten
    | SnapshotSize
    | KeyCount
    | Entries
    | LargeEntry
    | LargeChunk
    | SnapshotLibrary
    | SnapshotScript
    | SnapshotLoss
    | SnapshotEnd
    | AckRequested
    | BarrierReached
    | Introduced
)
