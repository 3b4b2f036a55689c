"""Requests sent to the target and not answered yet."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from shaker.apply.command_locator import CommandLocator
from shaker.apply.records import Checkpoint
from shaker.apply.sent import Failed, Missed, Sent
from shaker.codec.resp.replies import encode
from shaker.codec.resp.requests import split
from shaker.model.batch import CommandRun
from shaker.model.items import Barrier, SnapshotFinish, SnapshotItem, SnapshotStart, StreamItem, SweepStep
from shaker.model.rejection import Rejection
from shaker.rules.expiring_commands import SWAPS

PING: Final = encode("PING")
UNKNOWN: Final = (b"?", None)  # a command whose bytes were dropped


@dataclass(slots=True)
class RepliesRead:
    """The replies of a transaction read so far."""

    opened: bool = False  # MULTI was answered
    queued: int = 0  # requests answered +QUEUED or refused
    refused: list[tuple[int, str]] = field(default_factory=list)  # numbers and errors of those refused
    results: int = -1  # replies of EXEC still to come, -1 before its header
    new_fields: int = 0  # how many the checkpoint got


@dataclass(slots=True)
class Failures:
    """Requests of a transaction that failed inside EXEC or its script."""

    rejections: list[Rejection] = field(default_factory=list)  # commands that failed in themselves
    failed: list[Failed] = field(default_factory=list)  # those that may have failed because a key differs
    locator: CommandLocator | None = None  # finds them
    missed: list[Missed] = field(default_factory=list)  # commands that failed because of the server's state
    passing: str = ""  # the error of one of them, or of the checkpoint
    unwritten: bool = False  # the checkpoint itself was refused, though all the rest took effect


@dataclass(slots=True)
class Transaction:
    """MULTI … EXEC: its requests, the replies read so far, and its commands that failed."""

    items: list[Barrier | StreamItem | SnapshotStart | SnapshotFinish] = field(default_factory=list)
    sweep: SweepStep | None = None  # what it does instead of items of the window
    layout: list[Sent] = field(default_factory=list)
    size: int = 0  # bytes of commands
    database: int = 0  # selected by the requests sent so far
    sealed: bool = False  # takes no more items
    unfinished: bool = False  # its last item continues in the next one
    cut: bool = False  # and so does the last command that was sent
    checkpoint: Checkpoint | None = None  # what its end writes; None while it is open
    commands: int = 0  # requests sent between MULTI and EXEC
    left_out: list[Rejection] = field(default_factory=list)  # commands of its items that were not sent
    scripted: bool = False  # it went as one script
    wipes: bool = False  # the worker's records are gone before its end writes them again
    read: RepliesRead = field(default_factory=RepliesRead)
    failures: Failures = field(default_factory=Failures)

    def run(self, sent: Sent, pieces: tuple[bytes, ...], out: list[bytes]) -> None:
        """Send a run of commands of an item, as `sent` describes it."""
        assert sent.part is not None  # an item's
        self.select(sent.part.database, out)
        out += pieces
        self._add(sent)

    def fragment(self, item: StreamItem, part: CommandRun, number: int, out: list[bytes]) -> None:
        """Send a fragment of a huge command: the target can answer, with an error, from its first byte on."""
        begins = not self.cut
        self.cut = not part.commands
        if begins:
            self.select(part.database, out)
        out.append(part.data)
        self._add(Sent(int(begins), item, part, number))

    @property
    def owed(self) -> bool:
        """Whether the target has something to answer now."""
        return not self.read.opened or self.checkpoint is not None or self.read.queued + self.cut < self.commands

    def _add(self, sent: Sent) -> None:
        self.layout.append(sent)
        self.commands += sent.requests

    def moved(self, database: int, behind: Sent | None = None) -> int:
        """Return the database to which its SWAPDBs, or those after one of its runs, move the keys of a database."""
        found = behind is None
        for sent in self.layout:
            if found and sent.part is not None and sent.part.expiries & SWAPS:
                _, *swapped = split(sent.part.data)
                first, second = map(int, swapped)
                if database in (first, second):
                    database = first + second - database
            found = found or sent is behind
        return database

    def moved_keys(self, keys: dict[int, set[bytes]], behind: Sent) -> dict[int, set[bytes]]:
        """Return keys by the database that SWAPDBs behind one of its runs leave them in."""
        return {self.moved(database, behind): found for database, found in keys.items()}

    def select(self, database: int, out: list[bytes]) -> None:
        """Have what follows carried out in a database."""
        if self.database != database:
            self.request(encode("SELECT", database), out)
            self.database = database

    def request(self, request: bytes, out: list[bytes]) -> None:
        """Send a request of the worker's own."""
        out.append(request)
        self._add(Sent(1))

    def remember(self, database: int, request: bytes, out: list[bytes]) -> None:
        """Send a request of the worker's own about keys of a database."""
        self.select(database, out)
        out.append(request)
        self._add(Sent(1, None, CommandRun(database, request, 1)))

    def send(self, parts: tuple[CommandRun, ...], out: list[bytes]) -> None:
        """Send requests of the worker's own, as the whole of it."""
        self.sealed = True
        for part in parts:
            self.select(part.database, out)
            out.append(part.data)
            self._add(Sent(part.commands, None, part))

    def notify_owners(self) -> None:
        """Notify the owners of barriers and of a step of a sweep that it has taken effect."""
        for item in self.items:
            if isinstance(item, Barrier):
                item.ended(True)
        if self.sweep is not None:
            self.sweep.ended(True)

    @property
    def taken(self) -> int:
        """The number of commands of the source that the target took."""
        return sum(item.batch.commands - item.left_out for item in self.items if isinstance(item, StreamItem))

    def release(self) -> None:
        """Forget the bytes of its commands, but for SWAPDB: those that fail are reported by number only."""
        for number, sent in enumerate(self.layout):
            part = sent.part
            if part is not None and not part.expiries & SWAPS:
                part = part._replace(data=b"", prefix=b"", label=part.label or UNKNOWN)
                self.layout[number] = sent._replace(part=part)


@dataclass(slots=True)
class Requests:
    """Requests outside transactions, those of a snapshot: each to be answered by +OK, the last by a number.

    `left` counts the replies still to come; a request is expected from its first byte. `unfinished`: the last request
    sent is not whole, and others will follow it.
    """

    items: list[SnapshotItem]
    size: int = 0  # bytes of requests that are sent again after a failure
    left: int = 0
    unfinished: bool = False
    new_fields: int = 0  # how many the checkpoint got

    @property
    def owed(self) -> bool:
        """Whether the target has something to answer now."""
        return self.left > self.unfinished


@dataclass(slots=True)
class Probe:
    """SELECT of each of `databases`, and back, outside transactions: proves that this connection may use them.

    The `needed` ones have to be there; of the others, `missing` gets those that are not.
    """

    databases: list[int]
    needed: frozenset[int]
    missing: set[int] = field(default_factory=set)
    answered: int = 0
    owed: Final = True


@dataclass(slots=True)
class Ping:
    """PING on an idle connection: servers and proxies between them see that it is in use."""

    owed: Final = True

    @classmethod
    def of(cls, expected: deque[Step]) -> bytes:
        """Return the request, entered in `expected`; nothing where an answer is expected anyway."""
        if expected:
            return b""
        expected.append(cls())
        return PING


class Progress(NamedTuple):
    """Items that the target has answered for since the last report, with counts."""

    items: tuple[Barrier | StreamItem | SnapshotStart | SnapshotItem | SnapshotFinish, ...]
    commands: int
    written: bool


Step = Transaction | Requests | Probe | Ping
