"""Commands gathered for a batch that is not complete."""

from __future__ import annotations

from dataclasses import dataclass

from shaker.model.batch import LEFT_OUT_BYTES, RUN_BYTES, CommandRun, RecordsWiped
from shaker.rules.expiring_commands import SWAPS

Label = tuple[bytes, bytes | None]  # name and first key of a huge command


@dataclass(slots=True)
class PendingRun:
    """A run of commands on its way into a batch."""

    database: int
    pieces: list[bytes]
    commands: int
    label: Label | None = None
    expiries: int = 0
    prefix: bytes = b""
    longest: int = 0
    reserved: bool = False

    def whole(self) -> CommandRun:
        """Return it as a part of a batch."""
        return CommandRun(
            self.database,
            b"".join(self.pieces),
            self.commands,
            self.label,
            self.expiries,
            self.prefix,
            self.longest,
            self.reserved,
        )


class Pending:
    """Commands gathered for one batch."""

    def __init__(self) -> None:
        self.parts: list[PendingRun] = []
        self.commands = 0
        self.size = 0
        self.begin = 0  # offset before the MULTI of a transaction
        self.end: tuple[int, int] | None = None  # offset and selected database behind it
        self.records: RecordsWiped | None = None
        self.location = 0  # the database that the worker's records are in by now
        self.rejected: list[bytes] = []
        self.skipped = 0
        self.unsupported = 0
        self.scripts: list[bytes] = []
        self.unfinished = False  # a huge command is under way
        self.spilled = False  # its beginning was given out

    @property
    def held(self) -> int:
        """Bytes that it takes of the worker's memory."""
        return self.size + RUN_BYTES * len(self.parts) + LEFT_OUT_BYTES * len(self.rejected)

    def add(self, database: int, data: bytes, commands: int, expiries: int, prefix: bytes = b"") -> None:
        """Append a run of whole commands."""
        self._extend(PendingRun(database, [data], commands, None, expiries, prefix))
        self.commands += commands
        self.size += len(data)

    def add_fragment(self, run: PendingRun) -> None:
        """Append a fragment of a huge command."""
        self.parts.append(run)
        self.commands += run.commands
        self.size += len(run.pieces[0])
        self.unfinished = run.commands == 0

    def merge(self, other: Pending) -> None:
        """Append a transaction, which ends with the commands before it in one batch."""
        for run in other.parts:
            self._extend(run)
        self.commands += other.commands
        self.size += other.size
        self.rejected += other.rejected
        self.skipped += other.skipped
        self.unsupported += other.unsupported
        self.scripts += other.scripts

    def spill(self) -> None:
        """Drop the commands that were given out in a batch with `more`."""
        self.parts, self.rejected, self.scripts = [], [], []
        self.commands = self.size = self.skipped = self.unsupported = 0
        self.spilled = True

    def _extend(self, run: PendingRun) -> None:
        last = self.parts[-1] if self.parts else None
        # Databases are swapped by a part of its own: what belongs to the keys of the others stays with them.
        if (
            last is None
            or last.database != run.database
            or last.label is not None
            or run.label is not None
            or last.prefix != run.prefix
            or (last.expiries | run.expiries) & SWAPS
        ):
            self.parts.append(run)
            return
        last.pieces.extend(run.pieces)
        last.commands += run.commands
        last.expiries |= run.expiries
