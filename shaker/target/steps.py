"""What was sent to the target and is not answered yet, and how its replies are read; one step after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from shaker.codec.requests import split
from shaker.codec.resp import MAX_ERRORS, ReplyScanner, encode
from shaker.errors import LinkError, UnfaithfulError, counted
from shaker.replica.events import Part
from shaker.target.items import (
    Hold,
    Lacking,
    Rejection,
    Sent,
    SnapshotFinish,
    SnapshotKeys,
    SnapshotStart,
    StreamItem,
    SweepStep,
)
from shaker.target.records import Checkpoint
from shaker.target.rejections import (
    Walk,
    describe,
    is_passing,
    passing_error,
    refused_request,
    rejection_of,
)
from shaker.target.window import Window
from shaker.transform.commands import CommandTable
from shaker.transform.expiry import MISSING, SWAPS

OK: Final = b"+OK\r\n"
QUEUED: Final = b"+QUEUED\r\n"
# Replies compared at a time once one is an error: others follow, and each comparison builds what it compares.
MIXED: Final = 16
# Refused commands after which a transaction that is too large to keep is not sent any further.
MANY: Final = 10_000
# Behind such an error the target closes the connection (server file src/networking.c, setProtocolError).
PROTOCOL_ERROR: Final = "Protocol error"
UNKNOWN: Final = (b"?", None)  # a command whose bytes were dropped


@dataclass(slots=True)
class Transaction:
    """MULTI … EXEC: what is in it, and how far its replies are."""

    items: list[Hold | StreamItem | SnapshotStart | SnapshotFinish] = field(default_factory=list)
    sweep: SweepStep | None = None  # what it does instead of items of the window
    layout: list[Sent] = field(default_factory=list)
    size: int = 0  # bytes of commands
    database: int = 0  # selected by what was sent of it
    sealed: bool = False  # takes no more items
    unfinished: bool = False  # its last item goes on in the next one
    cut: bool = False  # and so does the last command that was sent
    checkpoint: Checkpoint | None = None  # what its end writes; None while it is open
    commands: int = 0  # requests sent between MULTI and EXEC
    opened: bool = False  # MULTI was answered
    queued: int = 0  # of them answered +QUEUED or refused
    refused: list[tuple[int, str]] = field(default_factory=list)  # numbers and errors of those refused
    results: int = -1  # replies of EXEC still to come, -1 before its header
    left_out: list[Rejection] = field(default_factory=list)  # commands of its items that were not sent
    rejections: list[Rejection] = field(default_factory=list)  # commands that failed inside EXEC
    lacking: list[Lacking] = field(default_factory=list)  # those of them whose key may have expired early
    walk: Walk | None = None  # finds them
    wipes: bool = False  # the worker's records are gone before its end writes them again
    new_fields: int = 0  # how many the checkpoint got

    def run(self, sent: Sent, pieces: tuple[bytes, ...], out: list[bytes]) -> None:
        """Send a run of commands of an item, as `sent` describes it."""
        assert sent.part is not None  # an item's
        self.select(sent.part.database, out)
        out += pieces
        self._add(sent)

    def fragment(self, item: StreamItem, part: Part, number: int, out: list[bytes]) -> None:
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
        return not self.opened or self.checkpoint is not None or self.queued + self.cut < self.commands

    def _add(self, sent: Sent) -> None:
        self.layout.append(sent)
        self.commands += sent.requests

    def moved(self, database: int, behind: Sent | None = None) -> int:
        """Return where its SWAPDBs, or those behind one of its runs, leave what is in a database."""
        found = behind is None
        for sent in self.layout:
            if found and sent.part is not None and sent.part.expiries & SWAPS:
                _, *swapped = split(sent.part.data)
                first, second = map(int, swapped)
                if database in (first, second):
                    database = first + second - database
            found = found or sent is behind
        return database

    def select(self, database: int, out: list[bytes]) -> None:
        """Have what follows carried out in a database."""
        if self.database != database:
            self.request(encode("SELECT", database), out)
            self.database = database

    def request(self, request: bytes, out: list[bytes]) -> None:
        """Send a request of the worker's own."""
        out.append(request)
        self._add(Sent(1))

    def send(self, parts: tuple[Part, ...], out: list[bytes]) -> None:
        """Send requests of the worker's own, as the whole of it."""
        self.sealed = True
        for part in parts:
            self.select(part.database, out)
            out.append(part.data)
            self._add(Sent(part.commands))

    def release(self) -> None:
        """Forget the bytes of its commands, but for SWAPDB: those that fail are told by number only."""
        for number, sent in enumerate(self.layout):
            part = sent.part
            if part is not None and not part.expiries & SWAPS:
                part = part._replace(data=b"", head=b"", label=part.label or UNKNOWN)
                self.layout[number] = sent._replace(part=part)


@dataclass(slots=True)
class Requests:
    """Requests outside transactions, those of a snapshot: each to be answered by +OK, the last by a number.

    `left` counts the replies still to come to what was sent, from its first byte. `unfinished`: the last request
    sent is not whole, and others will follow it.
    """

    items: list[SnapshotKeys]
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


class Progress(NamedTuple):
    """What the target has answered for: counts since the last report, and the item it reached."""

    items: tuple[Hold | StreamItem | SnapshotStart | SnapshotKeys | SnapshotFinish, ...]
    commands: int
    written: bool


Step = Transaction | Requests | Probe


class ReplyReader:
    """Matches replies to the steps in `expected`; a step leaves it when it is answered whole."""

    def __init__(self, expected: deque[Step], window: Window, table: CommandTable) -> None:
        self._expected = expected
        self._window = window
        self._table = table
        self._replies = ReplyScanner()

    def receive(self, data: bytes) -> Iterator[Step]:
        """Take bytes of the target's replies; yield each step that is answered whole, in order.

        Raises UnfaithfulError for data that the target cannot take, LinkError and its kinds where a new connection
        helps; nothing can be read after any of them.
        """
        self._replies.feed(data)
        while self._expected:
            step = self._expected[0]
            if isinstance(step, Transaction):
                done = self._transaction(step)
            elif isinstance(step, Requests):
                done = self._requests(step)
            else:
                done = self._probe(step)
            if not done:
                return
            self._expected.popleft()
            self._replies.clear_errors()
            yield step
        if self._replies.pending:
            raise LinkError("the target sent a reply that nothing asked for", kind="protocol")

    def _probe(self, probe: Probe) -> bool:
        while left := len(probe.databases) + 1 - probe.answered:  # one for the way back
            got = self._replies.skip_same(OK, left) or self._replies.skip(min(left, MAX_ERRORS))
            for position, text in self._replies.errors:
                self._missing(probe, probe.answered + position, text)
            self._replies.clear_errors()
            probe.answered += got
            if not got:
                return False
        return True

    def _missing(self, probe: Probe, number: int, text: str) -> None:
        """Note the database of a question that was answered by an error; raise where it is needed."""
        database = probe.databases[number] if number < len(probe.databases) else 0
        needed = number == len(probe.databases) or database in probe.needed
        if is_passing(text) and (needed or not text.startswith("NOPERM")):
            raise passing_error(text)
        if needed:
            raise UnfaithfulError(
                f"the source uses database {database}, which the target does not have: {text}",
                hint="give the target as many databases as the source (its setting `databases`)",
                kind="database",
            )
        probe.missing.add(database)

    def _requests(self, step: Requests) -> bool:
        # The HSET of the checkpoint at the end answers an integer, all before it +OK.
        before = step.left if step.unfinished else step.left - 1
        before -= self._replies.skip_same(OK, before)
        before -= self._replies.skip(before)
        step.left = before + (not step.unfinished)
        if step.left == 1 and not step.unfinished and (new_fields := self._replies.integer()) is not None:
            step.left, step.new_fields = 0, new_fields
        for position, text in self._replies.errors:
            if is_passing(text):
                raise passing_error(text)
            raise refused_request(step.items[-1], position, text)
        return step.left == 0 and not step.unfinished

    def _transaction(self, transaction: Transaction) -> bool:
        replies = self._replies
        if not transaction.opened:
            if not replies.skip(1):
                return False
            if replies.errors:
                text = replies.errors[0][1]
                raise passing_error(text) if is_passing(text) else LinkError(f"the target refuses MULTI: {text}")
            transaction.opened = True
            replies.clear_errors()
        while transaction.queued < transaction.commands:
            left = transaction.commands - transaction.queued
            if transaction.refused:
                left = min(left, MIXED)
            got = replies.skip_same(QUEUED, left) or replies.skip(1)
            transaction.queued += got
            for _, text in replies.errors:
                if is_passing(text):
                    raise passing_error(text)
                transaction.refused.append((transaction.queued - 1, text))
            replies.clear_errors()
            if not got:
                return False
        if transaction.refused and self._void(transaction):
            self._leave_out(transaction)
        if transaction.checkpoint is None:
            return False
        return self._results(transaction)

    def _results(self, transaction: Transaction) -> bool:
        replies = self._replies
        if transaction.results < 0:
            replies.clear_errors()
            header = replies.array_header()
            if header is None:
                return False
            if header != transaction.commands:
                text = replies.errors[0][1] if replies.errors else f"{header} results"
                if is_passing(text):
                    raise passing_error(text)
                raise LinkError(f"the target did not execute a transaction: {text}", kind="aborted")
            transaction.results = header
            replies.clear_errors()
        while transaction.results:
            left = transaction.results - 1  # before the HSET of the checkpoint
            if left:
                got = replies.skip_same(OK, left) or replies.skip(min(left, MAX_ERRORS))
            elif (new_fields := replies.integer()) is not None:
                got, transaction.new_fields = 1, new_fields
            else:
                got = 0
            if replies.errors:
                self._reject_results(transaction, transaction.commands - transaction.results)
            transaction.results -= got
            replies.clear_errors()
            if not got:
                return False
        return True

    def _void(self, transaction: Transaction) -> bool:
        """Whether there is no more to learn from a transaction with refused commands.

        What is too large to keep has to come from the source again: it is sent to its end, for all that it holds.
        """
        text = transaction.refused[-1][1]
        return not transaction.unfinished or len(transaction.refused) >= MANY or PROTOCOL_ERROR in text

    def _leave_out(self, transaction: Transaction) -> None:
        """Have the commands that the target did not queue left out, and raise: the transaction is void.

        All of them at once: each time costs a new connection.
        """
        walk = Walk(transaction.layout)
        first = ""
        for number, text in transaction.refused:
            sent, index, arguments = walk.command(number)
            part = sent.part
            if part is None:
                raise LinkError(f"the target refuses the worker's own request: {text}", kind="refused")
            label = part.label or (arguments[0], self._table.first_key(arguments))
            if sent.joined:
                label = (b"MSET", None)
            first = first or rejection_of(label, text).summary
            if sent.joined:
                self._window.take_apart()  # what it has against the commands is said of each of them then
                raise LinkError(f"the target rejects {first}", kind="rejected")
            self._window.left_out.add(sent.first + index, text)
        raise LinkError(
            f"the target rejects {first} before it is executed ({counted(len(transaction.refused), 'command')} in all)",
            kind="rejected",
        )

    def _reject_results(self, transaction: Transaction, read: int) -> None:
        """Note the commands that failed inside EXEC; `read` results came before those at hand."""
        if transaction.walk is None:
            transaction.walk = Walk(transaction.layout)
        for position, text in self._replies.errors:
            sent, _, arguments = transaction.walk.command(read + position)
            part = sent.part
            if part is None:
                raise UnfaithfulError(
                    f"the target refuses the worker's own request inside a transaction: {text}",
                    hint="is something else writing the worker's records on the target?",
                    kind="records",
                )
            rejection = (
                describe(arguments, text, self._table) if part.label is None else rejection_of(part.label, text)
            )
            if sent.joined:
                transaction.rejections += [rejection] * part.commands
            elif arguments and sent.item is not None and text.startswith(MISSING):
                database = transaction.moved(part.database, behind=sent)
                transaction.lacking.append(Lacking(database, arguments, rejection, sent.item))
            else:
                transaction.rejections.append(rejection)
