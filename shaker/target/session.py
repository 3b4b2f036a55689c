"""One registered connection to the target, without I/O: items of the window out, replies in, progress to its owner.

The bytes of a transaction go out while the one before it is unanswered, all but its end: the HSET of the checkpoint
and EXEC follow only when the one before was answered by an array. A transaction that is aborted (OOM, READONLY, …)
can so never be followed by one that commits. Anything unexpected raises: the owner closes the connection, registers
anew and lines the window up with the checkpoint.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from shaker.codec.resp import encode
from shaker.errors import RecordsWipedError
from shaker.target.advance import concluding, snapshot_requests
from shaker.target.databases import SELECT_0, Databases
from shaker.target.expiries import Expiries
from shaker.target.forwarding import Forwarder
from shaker.target.items import Hold, Rejection, SnapshotKeys, SnapshotStart, StreamItem, SweepStep
from shaker.target.records import Checkpoint, Fence, checkpoint_key, fence_key
from shaker.target.rejections import DEFAULT_MAX_BULK, check_lengths
from shaker.target.steps import Progress, ReplyReader, Requests, Step, Transaction
from shaker.target.unconfirmed import Unconfirmed
from shaker.target.window import Counted, Window, position_of
from shaker.transform.commands import CommandTable

MULTI: Final = encode("MULTI")
EXEC: Final = encode("EXEC")

# Bytes of commands after which a transaction takes no more: bounds how long the target is busy with one EXEC.
TRANSACTION_BYTES: Final = 512 * 1024
# Bytes of snapshot requests on the wire unanswered: enough to keep the target busy over a long round trip.
PIPELINE_BYTES: Final = 8 * 1024 * 1024


class TargetSession:
    """Plans what to send for a window and matches the replies to it.

    `checkpoint` is the one read at the registration; `fence` the registration's own. `on_rejected` is called for
    each command that the target rejected in itself, before the checkpoint that counts it is written. A transaction
    of more than `max_transaction` bytes is one that the target cannot take, and so is an argument of more than
    `max_bulk`. `lacks` is how many fields of the record the target lacked at the registration.
    """

    def __init__(
        self,
        *,
        name: str,
        window: Window,
        checkpoint: Checkpoint,
        fence: Fence,
        table: CommandTable,
        expiries: Expiries,
        unconfirmed: Unconfirmed,
        on_rejected: Callable[[Rejection], None],
        max_transaction: int = 1 << 62,
        max_bulk: int = DEFAULT_MAX_BULK,
        lacks: int = len(Checkpoint._fields),
    ) -> None:
        # The newest one that the target answered for, by whom the next one is written.
        self.checkpoint = checkpoint._replace(epoch=fence.epoch, connection=fence.connection)
        self._name = name
        self._window = window
        self._fence = fence
        self._table = table
        self._expiries = expiries
        self._unconfirmed = unconfirmed
        self._on_rejected = on_rejected
        self._max_bulk = max_bulk
        self._expected: deque[Step] = deque()
        self._reader = ReplyReader(self._expected, window, table)
        self._cut: Requests | None = None  # a huge request of a snapshot is not whole yet
        self._open: Transaction | None = None
        self.pipelined = 0  # bytes of snapshot requests on the wire unanswered
        self._databases = Databases(self._expected, window)
        self._forwarder = Forwarder(
            window,
            expiries,
            unconfirmed,
            self._databases,
            table,
            max_transaction=max_transaction,
            max_bulk=max_bulk,
        )
        self._lacks = lacks  # how many fields the checkpoint may get by the next write
        self.source = checkpoint.named_source  # as the next checkpoint names it
        self._sweep: SweepStep | None = None  # to be written
        self._sweeps_first = checkpoint.sweeps_first  # as the newest transaction leaves the checkpoint
        self._persist = False
        self._halted = False
        self._progress: list[Progress] = []
        self._rejected, self._rejected_last = window.rejections_at(checkpoint)
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
    def waiting(self) -> bool:
        """Whether the target owes an answer."""
        return any(step.owed for step in self._expected)

    @property
    def behind(self) -> bool:
        """Whether the checkpoint lacks something that the worker knows: an offset, replies read, a rejection."""
        checkpoint = self.checkpoint
        return checkpoint.phase == "stream" and (
            checkpoint.expiring != self._expiries.waiting
            or checkpoint.offset != self._applied
            or self._unconfirmed.lacks(checkpoint, self._applied)
            or checkpoint.rejected != self._rejected
            or bool(self._expiries.lacking)
            or checkpoint.named_source != self.source
        )

    @property
    def unpersisted(self) -> bool:
        """Whether all that the checkpoint lacks is an offset that commands without effect have led to."""
        moved = self.checkpoint.phase == "stream" and self.checkpoint.offset != self._applied
        return moved and self.checkpoint.expiring == self._expiries.waiting

    def persist(self) -> None:
        """Have the checkpoint written as soon as nothing else is under way, if it is behind."""
        self._persist = True

    def sweep(self, step: SweepStep) -> None:
        """Have a step of the sweep written; the next one is given when it has ended."""
        self._sweep = step

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

    def data_to_send(self) -> bytes:
        """Return the bytes that can go out now."""
        out: list[bytes] = []
        while self._plan(out):
            pass
        transaction = self._open
        if transaction is not None and transaction.unfinished and self._window.full and self._window.peek() is None:
            # Too large to keep until it is answered; from here on it can only be read from the source again.
            self._window.release(item for item in transaction.items if isinstance(item, StreamItem))
            transaction.release()
        return b"".join(out)

    def _plan(self, out: list[bytes]) -> bool:
        """Append the next step; False when there is nothing that may be sent now."""
        if self._fill(out):
            return True
        transaction = self._open
        if transaction is not None and not transaction.unfinished and self._expected[0] is transaction:
            self._end(transaction, out)
            return True
        return False

    def _fill(self, out: list[bytes]) -> bool:
        if self._open is None and self._cut is None and not self._databases.begin(out):
            return False
        if self._sweep is not None and not self._halted:
            return self._fill_sweep(self._sweep, out)
        item = None if self._halted else self._window.peek()
        if self._sweeps_first and not isinstance(item, SnapshotStart):
            item = None
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
        if isinstance(item, Hold):
            return self._fill_hold(item, out)
        if self._expected:
            return False  # the beginning and the end of a snapshot wait for all before them
        self._window.take()
        transaction = self._begin(out)
        transaction.items.append(item)
        transaction.sealed = True
        transaction.wipes = isinstance(item, SnapshotStart) and item.flush
        for request in snapshot_requests(item, self._fence.command(self._name)):
            transaction.request(request, out)
        return True

    def _fill_stream(self, item: StreamItem, out: list[bytes]) -> bool:
        batch = item.batch
        transaction = self._open
        moves = batch.persist or batch.database != self.checkpoint.database  # what only a checkpoint carries
        if not batch.parts and not item.rejections and not moves and transaction is None:
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
        if not self._databases.proven(used, out, within=transaction):
            return False
        begins = batch.more and (transaction is None or not transaction.unfinished)
        if begins and not self._databases.proven_ahead(out, within=transaction):
            if transaction is not None:
                transaction.sealed = True
            return False
        if transaction is None:
            transaction = self._begin(out)
        elif not transaction.unfinished:
            if transaction.sealed or batch.records is not None:
                return False
            if transaction.size + batch.size > TRANSACTION_BYTES:
                transaction.sealed = True
                return False
        self._window.take()
        self._forwarder.send(item, transaction, out)
        if batch.records is not None:
            transaction.sealed = transaction.wipes = True
            if batch.records.moved_to is not None:
                transaction.select(batch.records.moved_to, out)
                transaction.request(encode("DEL", fence_key(self._name), checkpoint_key(self._name)), out)
            transaction.select(0, out)
            transaction.request(self._fence.command(self._name), out)
        return True

    def _fill_hold(self, item: Hold, out: list[bytes]) -> bool:
        if self._expected:
            return False  # everything before has to take effect first
        if not item.told:
            item.told = True
            item.reached()
        if item.held:
            return False
        if not self._databases.proven([part.database for part in item.parts], out):
            return False
        self._window.take()
        if not item.parts:
            self._window.answered(1, written=False)
            item.ended(True)
            return True
        transaction = self._begin(out)
        transaction.items.append(item)
        transaction.send(item.parts, out)
        return True

    def _fill_sweep(self, step: SweepStep, out: list[bytes]) -> bool:
        if self._expected:
            return False
        if not self.checkpoint.sweeps_first or self.checkpoint.phase != step.phase:
            self._sweep = None
            step.ended(False)
            return True
        if not self._databases.proven([part.database for part in step.parts], out):
            return False
        self._sweep = None
        transaction = self._begin(out)
        transaction.sweep = step
        transaction.send(step.parts, out)
        return True

    def _fill_keys(self, item: SnapshotKeys, out: list[bytes]) -> bool:
        step = self._cut
        if step is None:
            if any(isinstance(step, Transaction) for step in self._expected):
                return False
            if self.pipelined and self.pipelined + item.size > PIPELINE_BYTES:
                return False
            if not self._databases.proven([item.database], out):
                return False
            if item.label is not None or item.size > self._max_bulk:
                check_lengths(item, self._max_bulk)
            step = Requests([], item.requests if not item.more else 1)
            self._expected.append(step)
            if item.database:
                step.left += 1
                out.append(encode("SELECT", item.database))
        self._window.take()
        step.items.append(item)
        out.append(item.data)
        if item.label is not None:
            self._window.release([item])
        step.unfinished = item.more
        self._cut = step if item.more else None
        if item.more:
            return True
        step.left += item.beside + 1
        if item.database:
            step.left += 1
            out.append(SELECT_0)
        # The whole record: one that was deleted meanwhile must not come back as a stump.
        expiring = int(self._expiries.waiting)
        out.append(self.checkpoint._replace(snapshot_batch=item.number, expiring=expiring).command(self._name))
        self.pipelined += item.size
        return True

    def _begin(self, out: list[bytes]) -> Transaction:
        transaction = Transaction()
        self._open = transaction
        self._expected.append(transaction)
        out.append(MULTI)
        return transaction

    def _end(self, transaction: Transaction, out: list[bytes]) -> None:
        """Send the end of the open transaction: everything before it is answered."""
        for item in transaction.items:
            if not isinstance(item, SnapshotStart | Hold):
                for rejection in item.rejections:
                    self._reject(rejection)
        for rejection in transaction.left_out:
            self._reject(rejection)
        self._forwarder.beside(self._expiries.owed(transaction.moved), transaction, out)
        known = self.checkpoint.naming(self.source)
        known = known._replace(rejected=self._rejected, rejected_last=self._rejected_last)
        checkpoint = concluding(known, transaction, self._applied, self._expiries, self._unconfirmed)
        transaction.checkpoint = checkpoint
        self._sweeps_first = checkpoint.sweeps_first
        transaction.select(0, out)
        transaction.request(checkpoint.command(self._name), out)
        out.append(EXEC)
        self._open = None

    def receive_data(self, data: bytes) -> bool:
        """Take bytes of the target's replies; return whether that may let something be sent.

        Raises UnfaithfulError for data that the target cannot take, LinkError and its kinds where a new connection
        helps; after any of them the session is over.
        """
        answered = False
        for step in self._reader.receive(data):
            answered = True
            if isinstance(step, Transaction):
                self._committed(step)
            elif isinstance(step, Requests):
                self._restored(step)
            else:
                self._databases.answered(step)
        return answered

    def _check_record(self, new_fields: int, *, wiped: bool = False) -> None:
        """Raise RecordsWipedError where the checkpoint got fields that it had; `wiped`: the worker took them."""
        lacks, self._lacks = self._lacks, 0
        if new_fields > lacks and not wiped:
            raise RecordsWipedError(
                f"the checkpoint on the target was removed or replaced: {new_fields} fields of it were gone",
                hint="who used FLUSHALL, FLUSHDB, SWAPDB or DEL there? what else is gone only a full resync brings",
            )

    def _restored(self, step: Requests) -> None:
        self._check_record(step.new_fields)
        last = step.items[-1]
        self.pipelined -= sum(item.size for item in step.items)
        self._window.answered(len(step.items))
        self.checkpoint = self.checkpoint._replace(snapshot_batch=last.number)
        self._progress.append(Progress(tuple(step.items), 0, written=True))

    def _committed(self, transaction: Transaction) -> None:
        checkpoint = transaction.checkpoint
        assert checkpoint is not None  # its end was sent
        self._check_record(transaction.new_fields, wiped=transaction.wipes)
        for rejection in (*transaction.rejections, *self._expiries.committed(transaction.lacking)):
            self._reject(rejection)
        commands = sum(
            item.batch.commands - item.left_out for item in transaction.items if isinstance(item, StreamItem)
        )
        self.checkpoint = checkpoint
        if checkpoint.phase == "snapshot":
            self._rejected, self._rejected_last = 0, ""
        else:
            self._applied = checkpoint.offset
        self._window.answered(len(transaction.items))
        self._window.written()
        self._unconfirmed.committed(transaction.items)
        for item in transaction.items:
            if isinstance(item, Hold):
                item.ended(True)
        if transaction.sweep is not None:
            transaction.sweep.ended(True)
        self._window.counted = Counted(position_of(checkpoint), self._rejected, self._rejected_last)
        self._progress.append(Progress(tuple(transaction.items), commands, written=True))
        if self._rejected != checkpoint.rejected or self._expiries.lacking:
            self._persist = True

    def _reject(self, rejection: Rejection) -> None:
        self._rejected += 1
        self._rejected_last = rejection.summary
        self._on_rejected(rejection)
