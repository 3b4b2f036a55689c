"""One registered connection to the target, without I/O: items of the window out, replies in, progress to its owner.

Anything unexpected raises: the owner closes the connection, registers again and lines the window up with the
checkpoint. `planner.py` has the rules of what may be sent when.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from shaker.apply.deferred_expiries import Expiries
from shaker.apply.forwarding import Limits
from shaker.apply.in_flight import Ping, Probe, Progress, Requests, Step, Transaction
from shaker.apply.ledger import Ledger
from shaker.apply.missed import copy_missed
from shaker.apply.planner import Planner
from shaker.apply.record_watch import RecordWatch
from shaker.apply.records import Checkpoint, Fence
from shaker.apply.rejections import DEFAULT_MAX_BULK, passing_error
from shaker.apply.reply_reader import ReplyReader
from shaker.apply.unconfirmed import Unconfirmed
from shaker.apply.window import Window, position_of
from shaker.errors import ServerBusyError
from shaker.model.position import Phase
from shaker.model.rejection import Rejection
from shaker.rules.chain import Chain


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
        self._window = window
        self._expected: deque[Step] = deque()
        self._reader = ReplyReader(self._expected, window, chain.table, chain.form)
        self._record = RecordWatch(lacks)
        checkpoint = checkpoint._replace(epoch=fence.epoch, connection=fence.connection)
        self._ledger = Ledger(checkpoint, window, expiries, unconfirmed, on_rejected)
        self._planner = Planner(
            name=name,
            window=window,
            fence=fence,
            chain=chain,
            ledger=self._ledger,
            expected=self._expected,
            limits=Limits(max_transaction, max_bulk),
        )
        self.persist = self._planner.persist
        self.sweep = self._planner.sweep
        self.halt = self._planner.halt
        self.data_to_send = self._planner.data_to_send

    @property
    def checkpoint(self) -> Checkpoint:
        """The newest checkpoint that the target answered for, by whom the next one is written."""
        return self._ledger.checkpoint

    def name_source(self, source: tuple[str, str, str]) -> None:
        """Have the next checkpoint name the source: address, run id, and the servers before it."""
        self._ledger.source = source

    def note_verified(self, text: str) -> None:
        """Have the next checkpoint keep the progress of the verification."""
        self._ledger.verified = text

    def note_complete(self) -> None:
        """Have the next checkpoint record that the migration is complete."""
        self._ledger.complete = True

    def note_cutover(self, text: str) -> None:
        """Have the next checkpoint keep the note of a cutover."""
        self._ledger.cutover = text

    def note_turned(self, text: str) -> None:
        """Have the next checkpoint keep how often the replication was turned round."""
        self._ledger.turned = text

    @property
    def rejected(self) -> int:
        """The number of commands that the target is known to have rejected since the last full sync."""
        return self._ledger.tally.count

    @property
    def rejected_last(self) -> str:
        """One line about the last of them, empty when there is none."""
        return self._ledger.tally.last

    def forget_rejections(self) -> None:
        """Count rejected commands from zero: the keys concerned are proven equal, or an operator has judged them."""
        self._ledger.tally.clear()
        self._window.known_rejections = None

    @property
    def pipelined(self) -> int:
        """Bytes of keys of a snapshot on the wire unanswered."""
        return self._planner.keys.pipelined

    @property
    def busy(self) -> bool:
        """Whether there is more to send of a value that is built, though nothing may be ready at once."""
        return self._planner.keys.busy

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
        return self._ledger.behind

    @property
    def unpersisted(self) -> bool:
        """Whether all that the checkpoint lacks is an offset that commands without effect have led to."""
        return self._ledger.unpersisted

    @property
    def halted(self) -> bool:
        """Whether a `halt` has been carried out."""
        return self._planner.halted

    def progress(self) -> list[Progress]:
        """Return, once, the items answered since the last call."""
        out, self._ledger.progress = self._ledger.progress, []
        return out

    def ping(self) -> bytes:
        """Return what keeps an idle connection in use; nothing where it is not idle."""
        return Ping.of(self._expected) if self.idle else b""

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
                self._planner.databases.answered(step)
        return answered

    def _restored(self, step: Requests) -> None:
        ledger = self._ledger
        self._record.written(step.new_fields)
        self._planner.keys.answered(step)
        self._window.answered(len(step.items))
        ledger.checkpoint = ledger.checkpoint._replace(snapshot_batch=step.items[-1].number)
        ledger.progress.append(Progress(tuple(step.items), 0, written=True))

    def _committed(self, transaction: Transaction) -> None:
        ledger = self._ledger
        checkpoint = transaction.checkpoint
        assert checkpoint is not None  # its end was sent
        self._record.written(transaction.read.new_fields, wiped=transaction.wipes)
        if not transaction.scripted and not transaction.failures.unwritten:
            self._window.tight = False
        ledger.tally.add(transaction.failures.rejections)
        ledger.expiries.committed()
        ledger.tally.add(copy_missed(transaction, ledger.expiries, ledger.applied))
        ledger.tally.add(ledger.expiries.failed(transaction.failures.failed, differ=ledger.unconfirmed.pending))
        if transaction.failures.unwritten:  # only this process knows what took effect; it writes that later
            self._window.answered(len(transaction.items), written=False)
            transaction.notify_owners()
            raise passing_error(transaction.failures.passing)
        ledger.checkpoint = checkpoint
        if checkpoint.phase == Phase.SNAPSHOT:
            ledger.tally.clear()
        else:
            ledger.applied = checkpoint.offset
        self._window.answered(len(transaction.items))
        self._window.written()
        ledger.unconfirmed.committed(transaction.items)
        transaction.notify_owners()
        self._window.known_rejections = ledger.tally.at(position_of(checkpoint))
        ledger.progress.append(Progress(tuple(transaction.items), transaction.taken, written=True))
        if ledger.tally.count != checkpoint.rejected or ledger.expiries.lacking:
            self._planner.persist()
        if transaction.failures.passing:
            raise passing_error(transaction.failures.passing)
