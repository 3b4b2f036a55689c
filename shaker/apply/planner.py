"""Plans a registered connection: items of the window become steps, each written when it may be sent.

The bytes of a transaction go out while the one before it is unanswered, all but its end. The HSET of the checkpoint
and EXEC follow only when the one before was answered by an array. So a transaction that is aborted (OOM, READONLY,
…) is never followed by one that commits.
"""

from __future__ import annotations

from collections import deque
from itertools import chain
from typing import Final

from shaker.apply.databases import Databases, used_by
from shaker.apply.forwarding import Forwarder, Limits
from shaker.apply.in_flight import Progress, Step, Transaction
from shaker.apply.ledger import Ledger
from shaker.apply.next_checkpoint import concluding, snapshot_requests
from shaker.apply.records import Fence, checkpoint_key
from shaker.apply.scripted import freeing, removes, script
from shaker.apply.sending_keys import KeySender
from shaker.apply.snapshot_requests import SnapshotEncoder
from shaker.apply.window import Window
from shaker.codec.resp.replies import encode
from shaker.model.items import Barrier, Item, SnapshotBatch, SnapshotStart, StreamItem, SweepStep
from shaker.model.position import Phase
from shaker.rules.chain import Chain

MULTI: Final = encode("MULTI")
EXEC: Final = encode("EXEC")
# Bytes of commands after which a transaction takes no more: bounds how long the target is busy with one EXEC.
TRANSACTION_BYTES: Final = 512 * 1024


class Planner:
    """Appends steps to `expected`. A transaction of more than `limits` is one that the target cannot take."""

    def __init__(
        self,
        *,
        name: str,
        window: Window,
        fence: Fence,
        chain: Chain,
        ledger: Ledger,
        expected: deque[Step],
        limits: Limits,
    ) -> None:
        self._name = name
        self._window = window
        self._fence = fence
        self._table = chain.table
        self._ledger = ledger
        self._expected = expected
        self.databases = Databases(expected, window)
        self._forwarder = Forwarder(
            name, fence, window, ledger.expiries, ledger.unconfirmed, self.databases, chain, limits
        )
        encoder = SnapshotEncoder(name, chain, ledger.expiries)
        self.keys = KeySender(expected, window, self.databases, encoder, self._restored_up_to, max_bulk=limits.bulk)
        self._open: Transaction | None = None
        self._sweep: SweepStep | None = None  # to be written
        self._sweeps_first = ledger.checkpoint.sweeps_first  # as the newest transaction leaves the checkpoint
        self._halted = False
        self._persist = (
            ledger.lags and ledger.checkpoint.phase == Phase.STREAM
        )  # at once, not with the next command

    def persist(self) -> None:
        """Have the checkpoint written as soon as nothing else is in flight, if it is behind."""
        self._persist = True

    def sweep(self, step: SweepStep) -> None:
        """Have a step of the sweep written; the next one is given when it has ended."""
        self._sweep = step

    def halt(self) -> None:
        """Take nothing more from the window; steps in flight are finished and the checkpoint is written."""
        if not self._halted:
            self._halted = True
            self._persist = True

    @property
    def halted(self) -> bool:
        """Whether a `halt` has been carried out."""
        return self._halted and not self._expected and not self._persist

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
        if (
            self._open is None
            and not self.keys.cut
            and not self.databases.begin(self._ledger.expiries.lacking, out)
        ):
            return False
        if self.keys.busy and not self._halted:
            return self.keys.go_on(out)
        item = None if self._halted else self._window.peek()
        if self._sweeps_first and not isinstance(item, SnapshotStart):
            item = None
        scripted = self._window.scripted and self._open is None and self._ledger.checkpoint.phase == Phase.STREAM
        if scripted and (self._expected or self._fill_scripted(item, out)):
            return False  # the items after a script may need memory: they wait for the answer
        if self._sweep is not None and not self._halted:
            return self._fill_sweep(self._sweep, out)
        if item is None:
            if self._persist and not self._expected:
                self._persist = False
                if self._ledger.behind:
                    self._begin(out)
                    return True
            return False
        if isinstance(item, StreamItem):
            return self._fill_stream(item, out)
        if isinstance(item, SnapshotBatch):
            return self.keys.send(item, out)
        if isinstance(item, Barrier):
            return self._fill_barrier(item, out)
        if self._expected:
            return False  # the beginning and the end of a snapshot wait for all before them
        self._window.take()
        if isinstance(item, SnapshotStart):
            self._ledger.expiries.begin_snapshot()
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
        moves = (
            batch.persist or batch.database != self._ledger.checkpoint.database
        )  # what only a checkpoint carries
        if not batch.parts and not item.rejections and not moves and transaction is None:
            if self._expected:
                return False
            self._window.take()
            self._window.answered(1, written=False)
            self._ledger.applied = batch.end_offset
            self._ledger.progress.append(Progress((item,), 0, written=False))
            return True
        if not self.databases.proven(used_by(item), out, within=transaction):
            return False
        begins = batch.more and (transaction is None or not transaction.unfinished)
        if begins and not self.databases.proven_ahead(out, within=transaction):
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

    def _fill_barrier(self, item: Barrier, out: list[bytes]) -> bool:
        if self._expected:
            return False  # everything before has to take effect first
        if not item.reported:
            item.reported = True
            item.reached()
        if item.held:
            return False
        if not self.databases.proven([part.database for part in item.parts], out):
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
        if not self._ledger.checkpoint.sweeps_first or self._ledger.checkpoint.phase != step.phase:
            self._sweep = None
            step.ended(False)
            return True
        if not self.databases.proven([part.database for part in step.parts], out):
            return False
        self._sweep = None
        transaction = self._begin(out)
        transaction.sweep = step
        transaction.send(step.parts, out)
        return True

    def _restored_up_to(self, number: int) -> bytes:
        # The whole record: one that was deleted meanwhile must not come back as a stump.
        checkpoint, expiries = self._ledger.checkpoint, self._ledger.expiries
        checkpoint = checkpoint._replace(
            snapshot_batch=number, expiring=int(expiries.waiting), margin=expiries.margin
        )
        return checkpoint.command(self._name)

    def _begin(self, out: list[bytes]) -> Transaction:
        transaction = Transaction()
        self._open = transaction
        self._expected.append(transaction)
        out.append(MULTI)
        return transaction

    def _fill_scripted(self, item: Item | None, out: list[bytes]) -> bool:
        """Send what frees memory as a script, or the checkpoint alone; False where the next is none of that."""
        sweep = None if self._halted else self._sweep
        if sweep is not None and not (self._ledger.checkpoint.sweeps_first and removes(sweep)):
            return False
        items = freeing(self._window.waiting(), self._table) if item is not None and sweep is None else []
        if not items and sweep is None and not (self._persist and self._ledger.behind):
            return False
        used = chain(*map(used_by, items), (part.database for part in (sweep.parts if sweep is not None else ())))
        if not self.databases.proven(set(used), out):
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
            self._ledger.tally.add(() if isinstance(item, SnapshotStart | Barrier) else item.rejections)
        self._ledger.tally.add(transaction.left_out)
        self._forwarder.send_extra(self._ledger.expiries.owed(transaction.moved), transaction, out)
        checkpoint = concluding(transaction, self._ledger)
        transaction.checkpoint = checkpoint
        self._sweeps_first = checkpoint.sweeps_first
        transaction.select(0, out)
        transaction.request(checkpoint.command(self._name), out)
        self._open = None
