"""One registered connection to the target, without I/O: items of the window out, replies in, progress to its owner.

The bytes of a transaction go out while the one before it is unanswered, all but its end: the HSET of the checkpoint
and EXEC follow only when the one before was answered by an array. A transaction that is aborted (OOM, READONLY, …)
can so never be followed by one that commits. Anything unexpected raises: the owner closes the connection, registers
anew and lines the window up with the checkpoint.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from shaker.codec.resp import MAX_ERRORS, ReplyScanner, encode
from shaker.errors import LinkError, UnfaithfulError
from shaker.replica.events import Part
from shaker.target.items import Rejection, SnapshotFinish, SnapshotKeys, SnapshotStart, StreamItem
from shaker.target.records import Checkpoint, Fence, checkpoint_key, fence_key
from shaker.target.rejections import Walk, describe, is_passing, passing_error, refused_request, without
from shaker.target.window import Counted, Window, position_of
from shaker.transform.commands import CommandTable

OK: Final = b"+OK\r\n"
QUEUED: Final = b"+QUEUED\r\n"
MULTI: Final = encode("MULTI")
EXEC: Final = encode("EXEC")
SELECT_0: Final = encode("SELECT", 0)

# Bytes of commands after which a transaction takes no more: bounds how long the target is busy with one EXEC.
TRANSACTION_BYTES: Final = 512 * 1024
# Bytes of snapshot requests on the wire unanswered: enough to keep the target busy over a long round trip.
PIPELINE_BYTES: Final = 8 * 1024 * 1024


class Progress(NamedTuple):
    """What the target has answered for: counts since the last report, and the item it reached."""

    items: tuple[StreamItem | SnapshotStart | SnapshotKeys | SnapshotFinish, ...]
    commands: int
    written: bool


@dataclass(slots=True)
class _Transaction:
    """MULTI … EXEC: what is in it, and how far its replies are."""

    items: list[StreamItem | SnapshotStart | SnapshotFinish] = field(default_factory=list)
    layout: list[tuple[StreamItem | None, Part | None, int]] = field(default_factory=list)
    size: int = 0
    sealed: bool = False
    checkpoint: Checkpoint | None = None  # what its end writes; None while it is open
    commands: int = 0  # requests sent between MULTI and EXEC
    opened: bool = False  # MULTI was answered
    queued: int = 0  # of them answered +QUEUED
    results: int = -1  # replies of EXEC still to come, -1 before its header
    walk: Walk | None = None  # finds the commands that failed inside EXEC

    def add(self, item: StreamItem | None, part: Part | None, commands: int) -> None:
        self.layout.append((item, part, commands))
        self.commands += commands


@dataclass(slots=True)
class _Requests:
    """Requests outside transactions: those of a snapshot, each to be answered by +OK or a value."""

    item: SnapshotKeys
    left: int
    total: int


@dataclass(slots=True)
class _Probe:
    """SELECT n and back, outside transactions: proves that the database is there for this connection."""

    database: int
    left: int = 2


class TargetSession:
    """Plans what to send for a window and matches the replies to it.

    `checkpoint` is the one read at the registration; `fence` the registration's own. `on_rejected` is called for
    each command that the target rejected in itself, before the checkpoint that counts it is written.
    """

    def __init__(
        self,
        *,
        name: str,
        window: Window,
        checkpoint: Checkpoint,
        fence: Fence,
        table: CommandTable,
        on_rejected: Callable[[Rejection], None],
    ) -> None:
        self.checkpoint = checkpoint  # the newest one that the target answered for
        self._name = name
        self._window = window
        self._fence = fence
        self._table = table
        self._on_rejected = on_rejected
        self._replies = ReplyScanner()
        self._expected: deque[_Transaction | _Requests | _Probe] = deque()
        self._open: _Transaction | None = None
        self._pipelined = 0
        self._proven = {0}
        self._persist = False
        self._halted = False
        self._progress: list[Progress] = []
        self._rejected, self._rejected_last = checkpoint.rejected, checkpoint.rejected_last
        counted = window.counted
        if counted is not None and counted.position == position_of(checkpoint):
            # Its replies were read, and the connection was lost before what they told was counted in it.
            self._rejected, self._rejected_last = counted.rejected, counted.last
        base = window.base
        self._applied = base.number if base is not None and base.phase == "stream" else checkpoint.offset

    @property
    def rejected(self) -> int:
        """How many commands the target is known to have rejected since the last full sync."""
        return self._rejected

    @property
    def rejected_last(self) -> str:
        """One line about the last of them, empty when there is none."""
        return self._rejected_last

    @property
    def idle(self) -> bool:
        """Whether nothing is unanswered and nothing waits."""
        return not self._expected and self._window.peek() is None

    @property
    def behind(self) -> bool:
        """Whether the checkpoint lacks something that the worker knows: an offset, replies read, a rejection."""
        checkpoint = self.checkpoint
        return checkpoint.phase == "stream" and (
            checkpoint.offset != self._applied
            or checkpoint.confirmed != self._applied
            or checkpoint.rejected != self._rejected
        )

    @property
    def unpersisted(self) -> bool:
        """Whether the applied offset is ahead of the checkpoint's, by commands without effect."""
        return self.checkpoint.phase == "stream" and self.checkpoint.offset != self._applied

    def persist(self) -> None:
        """Have the checkpoint written as soon as nothing else is under way, if it is behind."""
        self._persist = True

    def halt(self) -> None:
        """Take nothing more from the window; what is under way is finished and the checkpoint written."""
        if not self._halted:
            self._halted = True
            self._persist = True

    @property
    def halted(self) -> bool:
        """Whether a `halt` has been carried out."""
        return self._halted and not self._expected and not self._persist

    def progress(self) -> list[Progress]:
        """Return, once, what was answered since the last call."""
        out, self._progress = self._progress, []
        return out

    # --- out ---

    def data_to_send(self) -> bytes:
        """Return the bytes that can go out now."""
        out: list[bytes] = []
        while self._plan(out):
            pass
        return b"".join(out)

    def _plan(self, out: list[bytes]) -> bool:
        """Append the next step; False when there is nothing that may be sent now."""
        if self._fill(out):
            return True
        transaction = self._open
        if transaction is not None and self._expected[0] is transaction:
            self._end(transaction, out)
            return True
        return False

    def _fill(self, out: list[bytes]) -> bool:
        item = None if self._halted else self._window.peek()
        if item is None:
            if self._persist and not self._expected:
                self._persist = False
                if self.behind:
                    self._begin(out)
                    return True
            return False
        if isinstance(item, StreamItem):
            return self._fill_stream(item, out)
        if isinstance(item, SnapshotKeys):
            return self._fill_keys(item, out)
        if self._expected:
            return False  # the beginning and the end of a snapshot wait for all before them
        self._window.take()
        transaction = self._begin(out)
        transaction.items.append(item)
        transaction.sealed = True
        if isinstance(item, SnapshotStart) and item.flush:
            self._request(transaction, encode("FLUSHALL"), out)
            self._request(transaction, self._fence.command(self._name), out)
        elif isinstance(item, SnapshotFinish):
            self._load_libraries(item, transaction, out)
        return True

    def _load_libraries(self, item: SnapshotFinish, transaction: _Transaction, out: list[bytes]) -> None:
        if item.libraries:
            if "function" not in self._table:
                raise UnfaithfulError(
                    "the source has function libraries, the target knows no functions",
                    hint="take a target of Redis 7.0 or newer, or delete the libraries on the source",
                    kind="function",
                )
            policy = "REPLACE" if item.keep_libraries else "FLUSH"
            self._request(transaction, encode("FUNCTION", "RESTORE", item.libraries, policy), out)
        elif "function" in self._table and not item.keep_libraries:
            self._request(transaction, encode("FUNCTION", "FLUSH"), out)

    def _fill_stream(self, item: StreamItem, out: list[bytes]) -> bool:
        batch = item.batch
        transaction = self._open
        if not batch.parts and not item.rejections and not batch.persist and transaction is None:
            if self._expected:
                return False
            self._window.take()
            self._window.answered(1, written=False)
            self._applied = batch.end_offset
            self._progress.append(Progress((item,), 0, written=False))
            return True
        used = [part.database for part in batch.parts]
        if batch.records is not None and batch.records.moved_to is not None:
            used.append(batch.records.moved_to)
        unproven = next((database for database in used if database not in self._proven), None)
        if unproven is not None:
            if transaction is None and not any(isinstance(step, _Probe) for step in self._expected):
                self._expected.append(_Probe(unproven))
                out.append(encode("SELECT", unproven) + SELECT_0)
            return False
        if transaction is None:
            transaction = self._begin(out)
        elif transaction.sealed or batch.records is not None:
            return False
        elif transaction.size + batch.size > TRANSACTION_BYTES:
            transaction.sealed = True
            return False
        self._window.take()
        transaction.items.append(item)
        transaction.size += batch.size
        database = 0
        for part in batch.parts:
            if part.database != database:
                self._request(transaction, encode("SELECT", part.database), out)
                database = part.database
            out.append(part.data)
            transaction.add(item, part, part.commands)
        if batch.records is not None:
            transaction.sealed = True
            moved_to = batch.records.moved_to
            if moved_to is not None:
                if moved_to != database:
                    self._request(transaction, encode("SELECT", moved_to), out)
                    database = moved_to
                self._request(transaction, encode("DEL", fence_key(self._name), checkpoint_key(self._name)), out)
        if database != 0:
            self._request(transaction, SELECT_0, out)
        if batch.records is not None:
            self._request(transaction, self._fence.command(self._name), out)
        return True

    def _fill_keys(self, item: SnapshotKeys, out: list[bytes]) -> bool:
        if any(isinstance(step, _Transaction) for step in self._expected):
            return False
        if self._pipelined and self._pipelined + item.size > PIPELINE_BYTES:
            return False
        if item.database not in self._proven:
            if not any(isinstance(step, _Probe) for step in self._expected):
                self._expected.append(_Probe(item.database))
                out.append(encode("SELECT", item.database) + SELECT_0)
            return False
        self._window.take()
        self._pipelined += item.size
        requests = item.requests
        if item.database:
            out.append(encode("SELECT", item.database))
        out.append(item.data)
        if item.database:
            out.append(SELECT_0)
            requests += 2
        out.append(encode("HSET", checkpoint_key(self._name), "snapshot_batch", item.number))
        self._expected.append(_Requests(item, requests + 1, requests + 1))
        return True

    def _begin(self, out: list[bytes]) -> _Transaction:
        transaction = _Transaction()
        self._open = transaction
        self._expected.append(transaction)
        out.append(MULTI)
        return transaction

    def _request(self, transaction: _Transaction, request: bytes, out: list[bytes]) -> None:
        out.append(request)
        transaction.add(None, None, 1)

    def _end(self, transaction: _Transaction, out: list[bytes]) -> None:
        """Send the end of the open transaction: everything before it is answered."""
        for item in transaction.items:
            if not isinstance(item, SnapshotStart):
                for rejection in item.rejections:
                    self._reject(rejection)
        checkpoint = replace(
            self.checkpoint,
            epoch=self._fence.epoch,
            connection=self._fence.connection,
            offset=self._applied if self.checkpoint.phase == "stream" else self.checkpoint.offset,
            confirmed=self._applied,
            rejected=self._rejected,
            rejected_last=self._rejected_last,
        )
        for item in transaction.items:
            checkpoint = self._advance(checkpoint, item)
        transaction.checkpoint = checkpoint
        self._request(transaction, checkpoint.command(self._name), out)
        out.append(EXEC)
        self._open = None

    def _advance(self, checkpoint: Checkpoint, item: StreamItem | SnapshotStart | SnapshotFinish) -> Checkpoint:
        if isinstance(item, StreamItem):
            batch = item.batch
            return replace(
                checkpoint, phase="stream", replid=batch.replid, offset=batch.end_offset, database=batch.database
            )
        if isinstance(item, SnapshotStart):
            return replace(
                checkpoint, phase="snapshot", snapshot=item.snapshot, snapshot_batch=0,
                replid=item.replid, offset=item.offset, confirmed=item.offset, rejected=0, rejected_last="",
            )  # fmt: skip
        return replace(
            checkpoint, phase="stream", replid=item.replid, offset=item.offset, confirmed=item.offset,
            database=item.database, snapshot="", snapshot_batch=0,
        )  # fmt: skip

    # --- in ---

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the target's replies.

        Raises UnfaithfulError for data that the target cannot take, LinkError and its kinds where a new connection
        helps; after any of them the session is over.
        """
        self._replies.feed(data)
        while self._expected:
            step = self._expected[0]
            if isinstance(step, _Transaction):
                done = self._read_transaction(step)
            elif isinstance(step, _Requests):
                done = self._read_requests(step)
            else:
                done = self._read_probe(step)
            if not done:
                return
            self._expected.popleft()
            self._replies.clear_errors()
        if self._replies.pending:
            raise LinkError("the target sent a reply that nothing asked for", kind="protocol")

    def _read_probe(self, probe: _Probe) -> bool:
        probe.left -= self._replies.skip(probe.left)
        for _, text in self._replies.errors:
            if is_passing(text):
                raise passing_error(text)
            raise UnfaithfulError(
                f"the source uses database {probe.database}, which the target does not have: {text}",
                hint="give the target as many databases as the source (its setting `databases`)",
                kind="database",
            )
        if probe.left:
            return False
        self._proven.add(probe.database)
        return True

    def _read_requests(self, step: _Requests) -> bool:
        # The HSET at the end answers an integer, all before it +OK.
        step.left -= self._replies.skip_same(OK, step.left - 1)
        step.left -= self._replies.skip(step.left)
        for position, text in self._replies.errors:
            if is_passing(text):
                raise passing_error(text)
            raise refused_request(step.item, position, text)
        if step.left:
            return False
        self._window.answered(1)
        self._pipelined -= step.item.size
        self.checkpoint = replace(self.checkpoint, snapshot_batch=step.item.number)
        self._progress.append(Progress((step.item,), 0, written=True))
        return True

    def _read_transaction(self, transaction: _Transaction) -> bool:
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
            got = replies.skip_same(QUEUED, left) or replies.skip(1)
            transaction.queued += got
            if replies.error_count:
                self._check_queued(transaction)
            if not got:
                return False
        if transaction.checkpoint is None:
            return False
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
            got = replies.skip(min(transaction.results, MAX_ERRORS))
            if replies.errors:
                self._reject_results(transaction, transaction.commands - transaction.results)
            transaction.results -= got
            replies.clear_errors()
            if not got:
                return False
        self._committed(transaction)
        return True

    def _check_queued(self, transaction: _Transaction) -> None:
        """Raise for an error that the target gave instead of +OK or +QUEUED: the whole transaction is void."""
        for _, text in self._replies.errors:
            if is_passing(text):
                raise passing_error(text)
            item, part, index, arguments = Walk(transaction.layout).command(transaction.queued - 1)
            if item is None or part is None:
                raise LinkError(f"the target refuses the worker's own request: {text}", kind="refused")
            rejection = describe(arguments, text, self._table)
            self._window.replace(item, without(item, part, index, rejection))
            raise LinkError(f"the target rejects a command before it is executed: {text}", kind="rejected")

    def _reject_results(self, transaction: _Transaction, read: int) -> None:
        """Count the commands that failed inside EXEC; `read` results came before those at hand."""
        if transaction.walk is None:
            transaction.walk = Walk(transaction.layout)
        for position, text in self._replies.errors:
            item, _, _, arguments = transaction.walk.command(read + position)
            if item is None:
                raise UnfaithfulError(
                    f"the target refuses the worker's own request inside a transaction: {text}",
                    hint="is something else writing keys under shaker: on the target?",
                    kind="records",
                )
            self._reject(describe(arguments, text, self._table))

    def _committed(self, transaction: _Transaction) -> None:
        checkpoint = transaction.checkpoint
        assert checkpoint is not None  # its end was sent
        commands = sum(item.batch.commands for item in transaction.items if isinstance(item, StreamItem))
        self.checkpoint = checkpoint
        if checkpoint.phase == "snapshot":
            self._rejected, self._rejected_last = 0, ""
        else:
            self._applied = checkpoint.offset
        self._window.answered(len(transaction.items))
        self._window.written()
        self._window.counted = Counted(position_of(checkpoint), self._rejected, self._rejected_last)
        self._progress.append(Progress(tuple(transaction.items), commands, written=True))
        if self._rejected != checkpoint.rejected:
            self._persist = True

    def _reject(self, rejection: Rejection) -> None:
        self._rejected += 1
        self._rejected_last = rejection.summary
        self._on_rejected(rejection)
