"""One registered connection to the target, without I/O: items of the window out, replies in, progress to its owner.

The bytes of a transaction go out while the one before it is unanswered, all but its end: the HSET of the checkpoint
and EXEC follow only when the one before was answered by an array. A transaction that is aborted (OOM, READONLY, …)
can so never be followed by one that commits. Anything unexpected raises: the owner closes the connection, registers
anew and lines the window up with the checkpoint.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import Final

from shaker.apply.databases import Databases, used_by
from shaker.apply.deferred_expiries import Expiries
from shaker.apply.forwarding import Forwarder, Limits
from shaker.apply.in_flight import Ping, Probe, Progress, Requests, Step, Transaction
from shaker.apply.missed import copy_missed
from shaker.apply.next_checkpoint import concluding, snapshot_requests
from shaker.apply.record_watch import RecordWatch
from shaker.apply.records import Checkpoint, Fence, checkpoint_key
from shaker.apply.rejections import DEFAULT_MAX_BULK, passing_error
from shaker.apply.reply_reader import ReplyReader
from shaker.apply.scripted import freeing, removes, script
from shaker.apply.sending_keys import KeySender
from shaker.apply.snapshot_requests import SnapshotEncoder
from shaker.apply.tally import Tally
from shaker.apply.unconfirmed import Unconfirmed
from shaker.apply.window import Window, position_of
from shaker.codec.resp.replies import encode
from shaker.errors import ServerBusyError
from shaker.model.items import Barrier, Item, SnapshotBatch, SnapshotStart, StreamItem, SweepStep
from shaker.model.position import Phase
from shaker.model.rejection import Rejection
from shaker.rules.chain import Chain

MULTI: Final = encode("MULTI")
EXEC: Final = encode("EXEC")
# Bytes of commands after which a transaction takes no more: bounds how long the target is busy with one EXEC.
TRANSACTION_BYTES: Final = 512 * 1024


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
        chain: Chain,
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
        self._table = chain.table
        self._expiries = expiries
        self._unconfirmed = unconfirmed
        self._expected: deque[Step] = deque()
        self._reader = ReplyReader(self._expected, window, chain.table)
        self._open: Transaction | None = None
        self._databases = Databases(self._expected, window)
        limits = Limits(max_transaction, max_bulk)
        self._forwarder = Forwarder(name, fence, window, expiries, unconfirmed, self._databases, chain, limits)
        encoder = SnapshotEncoder(name, chain, expiries)
        self._keys = KeySender(
            self._expected, window, self._databases, encoder, self._restored_up_to, max_bulk=max_bulk
        )
        self._record = RecordWatch(lacks)
        self.source = checkpoint.named_source  # as the next checkpoint names it
        self._sweep: SweepStep | None = None  # to be written
        self._sweeps_first = checkpoint.sweeps_first  # as the newest transaction leaves the checkpoint
        self._halted = False
        self._progress: list[Progress] = []
        self._tally = Tally(*window.rejections_at(checkpoint), on_rejected)
        base = window.applied_position
        self._applied = base.number if base is not None and base.phase == Phase.STREAM else checkpoint.offset
        lags = self._applied != checkpoint.offset or self._tally.count != checkpoint.rejected
        self._persist = lags and checkpoint.phase == Phase.STREAM  # at once, not with the next command

    @property
    def rejected(self) -> int:
        """How many commands the target is known to have rejected since the last full sync."""
        return self._tally.count

    @property
    def rejected_last(self) -> str:
        """One line about the last of them, empty when there is none."""
        return self._tally.last

    @property
    def pipelined(self) -> int:
        """Bytes of keys of a snapshot on the wire unanswered."""
        return self._keys.pipelined

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
        return checkpoint.phase == Phase.STREAM and (
            (checkpoint.expiring, checkpoint.named_source) != (self._expiries.waiting, self.source)
            or checkpoint.offset != self._applied
            or self._unconfirmed.lacks(checkpoint, self._applied)
            or checkpoint.rejected != self._tally.count
            or bool(self._expiries.lacking)
        )

    @property
    def unpersisted(self) -> bool:
        """Whether all that the checkpoint lacks is an offset that commands without effect have led to."""
        checkpoint, known = self.checkpoint, (self._expiries.waiting, self.source)
        moved = checkpoint.phase == Phase.STREAM and checkpoint.offset != self._applied
        return moved and (checkpoint.expiring, checkpoint.named_source) == known

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

    def ping(self) -> bytes:
        """Return what keeps an idle connection in use; nothing where it is not idle."""
        return Ping.of(self._expected) if self.idle else b""

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
            out.append(EXEC)
            return True
        return False

    def _fill(self, out: list[bytes]) -> bool:
        if self._open is None and not self._keys.cut and not self._databases.begin(self._expiries.lacking, out):
            return False
        item = None if self._halted else self._window.peek()
        if self._sweeps_first and not isinstance(item, SnapshotStart):
            item = None
        scripted = self._window.scripted and self._open is None and self.checkpoint.phase == Phase.STREAM
        if scripted and (self._expected or self._fill_scripted(item, out)):
            return False  # what comes behind a script may need memory: it waits for the answer
        if self._sweep is not None and not self._halted:
            return self._fill_sweep(self._sweep, out)
        if item is None:
            if self._persist and not self._expected:
                self._persist = False
                if self.behind:
                    self._begin(out)
                    return True
            return False
        if isinstance(item, StreamItem):
            return self._fill_stream(item, out)
        if isinstance(item, SnapshotBatch):
            return self._keys.send(item, out)
        if isinstance(item, Barrier):
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
        if not self._databases.proven(used_by(item), out, within=transaction):
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
        return True

    def _fill_hold(self, item: Barrier, out: list[bytes]) -> bool:
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

    def _restored_up_to(self, number: int) -> bytes:
        # The whole record: one that was deleted meanwhile must not come back as a stump.
        expiring = int(self._expiries.waiting)
        return self.checkpoint._replace(snapshot_batch=number, expiring=expiring).command(self._name)

    def _begin(self, out: list[bytes]) -> Transaction:
        transaction = Transaction()
        self._open = transaction
        self._expected.append(transaction)
        out.append(MULTI)
        return transaction

    def _fill_scripted(self, item: Item | None, out: list[bytes]) -> bool:
        """Send what frees memory as a script, or the checkpoint alone; False where the next is none of that."""
        sweep = None if self._halted else self._sweep
        if sweep is not None and not (self.checkpoint.sweeps_first and removes(sweep)):
            return False
        items = freeing(self._window.waiting(), self._table) if item is not None and sweep is None else []
        if not items and sweep is None and not (self._persist and self.behind):
            return False
        used = chain(*map(used_by, items), (part.database for part in (sweep.parts if sweep is not None else ())))
        if not self._databases.proven(set(used), out):
            return True
        requests: list[bytes] = []
        transaction = self._begin([])
        transaction.scripted, self._persist = True, False
        if sweep is not None:
            self._sweep = None
            transaction.sweep = sweep
            transaction.send(sweep.parts, requests)
        for each in items:
            self._window.take()
            self._forwarder.send(each, transaction, requests)
        self._end(transaction, requests)
        out.append(script(b"".join(requests), checkpoint_key(self._name)))
        return True

    def _end(self, transaction: Transaction, out: list[bytes]) -> None:
        """Send the end of the open transaction: everything before it is answered."""
        for item in transaction.items:
            self._tally.add(() if isinstance(item, SnapshotStart | Barrier) else item.rejections)
        self._tally.add(transaction.left_out)
        self._forwarder.send_extra(self._expiries.owed(transaction.moved), transaction, out)
        known = self._tally.counted_in(self.checkpoint.naming(self.source))
        checkpoint = concluding(known, transaction, self._applied, self._expiries, self._unconfirmed)
        transaction.checkpoint = checkpoint
        self._sweeps_first = checkpoint.sweeps_first
        transaction.select(0, out)
        transaction.request(checkpoint.command(self._name), out)
        self._open = None

    def receive_data(self, data: bytes) -> bool:
        """Take bytes of the target's replies; return whether that may let something be sent.

        Raises UnfaithfulError for data that the target cannot take, LinkError and its kinds where a new connection
        helps; after any of them the session is over.
        """
        try:
            return self._receive(data)
        except ServerBusyError as error:
            if error.kind == "oom":
                self._window.out_of_memory()
            raise

    def _receive(self, data: bytes) -> bool:
        answered = False
        for step in self._reader.receive(data):
            answered = True
            if isinstance(step, Transaction):
                self._committed(step)
            elif isinstance(step, Requests):
                self._restored(step)
            elif isinstance(step, Probe):
                self._databases.answered(step)
        return answered

    def _restored(self, step: Requests) -> None:
        self._record.written(step.new_fields)
        self._keys.answered(step)
        self._window.answered(len(step.items))
        self.checkpoint = self.checkpoint._replace(snapshot_batch=step.items[-1].number)
        self._progress.append(Progress(tuple(step.items), 0, written=True))

    def _committed(self, transaction: Transaction) -> None:
        checkpoint = transaction.checkpoint
        assert checkpoint is not None  # its end was sent
        self._record.written(transaction.new_fields, wiped=transaction.wipes)
        if not transaction.scripted and not transaction.unwritten:
            self._window.tight = False
        self._tally.add(transaction.rejections)
        self._tally.add(self._expiries.committed(transaction.lacking))
        self._tally.add(copy_missed(transaction, self._expiries, self._applied))
        if transaction.unwritten:  # only this process knows what took effect; it writes that later
            self._window.answered(len(transaction.items), written=False)
            transaction.tell_owners()
            raise passing_error(transaction.passing)
        self.checkpoint = checkpoint
        if checkpoint.phase == Phase.SNAPSHOT:
            self._tally.clear()
        else:
            self._applied = checkpoint.offset
        self._window.answered(len(transaction.items))
        self._window.written()
        self._unconfirmed.committed(transaction.items)
        transaction.tell_owners()
        self._window.known_rejections = self._tally.at(position_of(checkpoint))
        self._progress.append(Progress(tuple(transaction.items), transaction.taken, written=True))
        if self._tally.count != checkpoint.rejected or self._expiries.lacking:
            self._persist = True
        if transaction.passing:
            raise passing_error(transaction.passing)
