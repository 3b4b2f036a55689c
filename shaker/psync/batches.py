"""The replication stream → batches: runs of commands that are applied together, each with the offset behind it.

A batch ends where the bytes at hand end, never inside a transaction of the source: MULTI and EXEC are dropped,
because the commands between them stay in one batch. FLUSHALL, FLUSHDB and SWAPDB, which reach the worker's own
records on the target, make a batch of their own (or their transaction does).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from shaker.codec.resp.command_events import Fragment, Plain, Special
from shaker.codec.resp.command_stream import StreamReader
from shaker.errors import CorruptError, UnfaithfulError
from shaker.model.batch import (
    AckRequested,
    Batch,
    RecordsWiped,
    RecordWritten,
)
from shaker.psync.pending import Label, Pending, PendingRun
from shaker.psync.records_seen import RecordsSeen
from shaker.rules.chain import Chain
from shaker.rules.client_forms import SCRIPTS, HugeForm
from shaker.rules.mset import LEAST, SET
from shaker.rules.record_keys import RESERVED
from shaker.rules.reserved import MENTIONS
from shaker.rules.rule import Received
from shaker.rules.scripts import bodies
from shaker.rules.sentinel_hello import PUBLISHES

# Commands that steer the stream or reach the worker's records; matched in any case (Valkey 9 sends `ping`).
STEERING: Final = frozenset(
    (b"PING", b"REPLCONF", b"SELECT", b"MULTI", b"EXEC", b"FLUSHALL", b"FLUSHDB", b"SWAPDB", b"PUBLISH")
)


class StreamAssembler:
    """Turns the bytes of the stream into batches; any split of the bytes applies the same commands.

    The stream resumes at `replid`, `offset` and `database`: history, bytes, selected database.
    `max_transaction` bounds, in bytes, a command or a transaction of the source that has to be held whole; above
    `pass_above` bytes ordinary commands and transactions are given out in batches with `more`, and not held.
    """

    def __init__(
        self,
        *,
        replid: str,
        offset: int,
        database: int,
        chain: Chain,
        max_transaction: int,
        pass_above: int | None = None,
    ) -> None:
        self.replid = replid
        self.database = database
        self._chain = chain
        self._max_transaction = max_transaction
        self._pass_above = pass_above
        self._reader = StreamReader(
            offset,
            special=STEERING,
            marker=RESERVED,
            max_command=max_transaction,
            fragment_above=pass_above,
            noted=chain.notes,
            frame=(b"MULTI", b"EXEC"),
            prefix_free=SET,
            least_prefix_free=LEAST,
        )
        self._label: Label = (b"", None)  # of the huge command under way
        self._form = HugeForm([b""])
        self._begun: list[bytes] = []  # and its name, what may be a subcommand, and the number of its arguments
        self._count = 0
        self._offset = offset  # behind the last batch given out
        self._out: list[Batch | AckRequested | RecordWritten] = []
        self._outside = Pending()
        self._transaction: Pending | None = None
        self._records = RecordsSeen()

    @property
    def offset(self) -> int:
        """Replication offset behind the last whole command received."""
        return self._reader.offset

    @property
    def received(self) -> int:
        """Replication offset behind the last byte received."""
        return self._reader.offset + self._reader.held

    @property
    def between(self) -> bool:
        """Whether the last byte received ends a command outside of transactions."""
        return self._reader.held == 0 and self._transaction is None

    @property
    def inside(self) -> bool:
        """Whether the last byte received ends a command inside of a transaction."""
        return self._reader.held == 0 and self._transaction is not None

    def feed(self, data: bytes) -> list[Batch | AckRequested | RecordWritten]:
        """Take bytes of the stream; return the batches that are whole by now."""
        for piece in self._reader.feed(data):
            if isinstance(piece, Plain):
                self._add(piece.data, piece.commands, piece.noted, piece.prefix)
                self._moved(piece.end_offset)
            elif isinstance(piece, Fragment):
                self._fragment(piece)
            else:
                self._steer(piece)
        self._flush()
        self._spill()
        out, self._out = self._out, []
        return out

    def _add(self, data: bytes, commands: int, marks: int, prefix: bytes = b"") -> Received | None:
        """Append a run of commands; return what became of it where a rule looked at it."""
        received = None
        if marks & self._chain.received_marks:
            received = self._chain.commands(Received(data, commands, marks))
            if marks & SCRIPTS:
                self._pending.scripts += bodies(received.data)
            data, commands, marks = received[:3]
            self._pending.skipped += received.skipped
            self._pending.rejected += received.rejected
            self._pending.unsupported += received.unsupported
        if commands:
            self._pending.add(self.database, data, commands, marks, prefix)
        return received

    @property
    def _pending(self) -> Pending:
        return self._outside if self._transaction is None else self._transaction

    def _moved(self, offset: int) -> None:
        self._pending.end = (offset, self.database)
        transaction = self._transaction
        if transaction is not None and transaction.size > self._max_transaction:
            raise UnfaithfulError(
                f"a transaction of the source at offset {transaction.begin} exceeds {self._max_transaction} bytes",
                hint="raise snapshot.max_value (SHAKER_SNAPSHOT__MAX_VALUE) and the memory that the worker gets",
                kind="too_large",
            )

    def _fragment(self, fragment: Fragment) -> None:
        if fragment.first:
            self._label = (fragment.arguments[0], self._chain.table.first_key(fragment.arguments))
            self._begun, self._count = fragment.arguments[:2], fragment.total
            self._form = self._chain.huge_form(fragment.arguments)
            data = self._form.begin(fragment.arguments, fragment.data)
        else:
            data = self._form.pass_on(fragment.data)
        reserved = self._chain.huge_is_reserved(self._begun, fragment.marked, self._count)
        self._pending.add_fragment(
            PendingRun(self.database, [data], int(fragment.last), self._label, 0, b"", fragment.longest, reserved)
        )
        if fragment.last:
            self._moved(fragment.end_offset)

    def _spill(self) -> None:
        """Give out what there is of a transaction that is too large to hold."""
        transaction = self._transaction
        if transaction is None or not transaction.parts:
            return
        large = self._pass_above is not None and transaction.held > self._pass_above
        if large or transaction.unfinished or transaction.spilled:
            self._out.append(self._batch(transaction, self._offset, self.database, more=True))
            transaction.spill()

    def _steer(self, command: Special) -> None:
        handler = _HANDLERS.get(command.name)
        if handler is None:
            self._mention(command)
        else:
            handler(self, command)
        self._moved(command.end_offset)

    def _ping(self, command: Special) -> None:
        """No effect; counts into the offset only."""

    def _replconf(self, command: Special) -> None:
        if len(command.arguments) > 1 and command.arguments[1].upper() == b"GETACK":
            self._flush()
            self._out.append(AckRequested(command.end_offset))

    def _select(self, command: Special) -> None:
        self.database = self._database(command, 1)

    def _multi(self, command: Special) -> None:
        if self._transaction is not None:
            raise self._corrupt(command)
        self._transaction = Pending()
        self._transaction.begin = command.end_offset - len(command.data)

    def _exec(self, command: Special) -> None:
        transaction = self._transaction
        if transaction is None:
            raise self._corrupt(command)
        self._transaction = None
        transaction.end = (command.end_offset, self.database)
        if transaction.records is not None or transaction.spilled:
            self._flush()
            self._emit(transaction)
        else:
            self._outside.merge(transaction)

    def _flush_records(self, command: Special) -> None:
        if command.name == b"FLUSHDB" and self.database != 0:
            self._forward(command)
        else:
            self._with_records(command, self._pending.location)

    def _swapdb(self, command: Special) -> None:
        first, second = self._database(command, 1), self._database(command, 2)
        swapped = {first: second, second: first}
        location = self._pending.location
        if location in swapped:
            self._with_records(command, swapped[location])
        else:
            self._forward(command)

    def _publish(self, command: Special) -> None:
        self._forward(command, PUBLISHES)

    def _mention(self, command: Special) -> None:
        received = self._forward(command, MENTIONS)
        if received is not None and received.skipped:
            written = self._records.note(command.arguments)
            if written is not None:
                self._out.append(written)

    def _forward(self, command: Special, marks: int = 0) -> Received | None:
        marks |= self._chain.marks(command.name, len(command.arguments))
        return self._add(command.data, 1, marks)

    def _with_records(self, command: Special, location: int) -> None:
        alone = self._transaction is None
        if alone:
            self._flush()
        pending = self._pending
        pending.location = location
        pending.records = RecordsWiped(pending.location or None)
        self._forward(command)
        if alone:
            pending.end = (command.end_offset, self.database)
            self._flush()

    def _flush(self) -> None:
        pending = self._outside
        if pending.parts or not pending.unfinished:
            self._outside = Pending()
            self._emit(pending)

    def _emit(self, pending: Pending) -> None:
        if pending.unfinished:
            self._out.append(self._batch(pending, self._offset, self.database, more=True))
            self._outside.unfinished = True
        elif pending.end is not None and pending.end[0] != self._offset:
            offset, database = pending.end
            self._offset = offset
            self._out.append(self._batch(pending, offset, database, more=False))

    def _batch(self, pending: Pending, offset: int, database: int, *, more: bool) -> Batch:
        return Batch(
            parts=tuple(run.whole() for run in pending.parts),
            commands=pending.commands,
            size=pending.held,
            replid=self.replid,
            end_offset=offset,
            database=database,
            records=None if more else pending.records,
            rejected=tuple(pending.rejected),
            skipped=pending.skipped,
            unsupported=pending.unsupported,
            more=more,
            scripts=tuple(pending.scripts),
        )

    def _database(self, command: Special, index: int) -> int:
        arguments = command.arguments
        if len(arguments) <= index or not arguments[index].isdigit() or len(arguments[index]) > 9:
            raise self._corrupt(command)
        return int(arguments[index])

    def _corrupt(self, command: Special) -> CorruptError:
        return CorruptError(
            f"the stream of the source has a {command.name.decode('ascii', 'replace')} that cannot be there, "
            f"before offset {command.end_offset}"
        )


_HANDLERS: Final[dict[bytes, Callable[[StreamAssembler, Special], None]]] = {
    b"PING": StreamAssembler._ping,
    b"REPLCONF": StreamAssembler._replconf,
    b"SELECT": StreamAssembler._select,
    b"MULTI": StreamAssembler._multi,
    b"EXEC": StreamAssembler._exec,
    b"FLUSHALL": StreamAssembler._flush_records,
    b"FLUSHDB": StreamAssembler._flush_records,
    b"SWAPDB": StreamAssembler._swapdb,
    b"PUBLISH": StreamAssembler._publish,
}
