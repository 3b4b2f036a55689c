"""The replication stream → batches: runs of commands that are applied together, each with the offset behind it.

A batch ends where the bytes at hand end, never inside a transaction of the source: MULTI and EXEC are dropped,
because what stands between them stays in one batch. FLUSHALL, FLUSHDB and SWAPDB, which reach the worker's own
records on the target, make a batch of their own (or their transaction does).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from shaker.codec.stream import Plain, Special, StreamReader
from shaker.errors import CorruptError, UnfaithfulError
from shaker.replica.events import AckRequested, Batch, Part, Records
from shaker.transform.commands import RESERVED, CommandTable
from shaker.transform.reserved import Verdict, judge

# Commands that steer the stream or reach the worker's records; matched whatever their case (Valkey 9 sends `ping`).
STEERING: Final = frozenset(
    (b"PING", b"REPLCONF", b"SELECT", b"MULTI", b"EXEC", b"FLUSHALL", b"FLUSHDB", b"SWAPDB", b"PUBLISH")
)
SENTINEL_HELLO: Final = b"__sentinel__:hello"


class StreamAssembler:
    """Turns the bytes of the stream into batches; any split of the bytes applies the same commands.

    `replid`, `offset` and `database` are where the stream goes on: history, bytes, selected database.
    `max_transaction` bounds, in bytes, a command and a transaction of the source.
    """

    def __init__(
        self, *, replid: str, offset: int, database: int, table: CommandTable, max_transaction: int
    ) -> None:
        self.replid = replid
        self.database = database
        self._table = table
        self._max_transaction = max_transaction
        self._reader = StreamReader(offset, special=STEERING, marker=RESERVED, max_command=max_transaction)
        self._offset = offset  # behind the last batch given out
        self._out: list[Batch | AckRequested] = []
        self._outside = _Pending()
        self._transaction: _Pending | None = None

    @property
    def offset(self) -> int:
        """Replication offset behind the last whole command received."""
        return self._reader.offset

    def feed(self, data: bytes) -> list[Batch | AckRequested]:
        """Take bytes of the stream; return the batches that are whole by now."""
        for piece in self._reader.feed(data):
            if isinstance(piece, Plain):
                self._pending.add(self.database, piece.data, piece.commands)
                self._moved(piece.end_offset)
            else:
                self._steer(piece)
        self._flush()
        out, self._out = self._out, []
        return out

    @property
    def _pending(self) -> _Pending:
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
        self._transaction = _Pending()
        self._transaction.begin = command.end_offset - len(command.data)

    def _exec(self, command: Special) -> None:
        transaction = self._transaction
        if transaction is None:
            raise self._corrupt(command)
        self._transaction = None
        transaction.end = (command.end_offset, self.database)
        if transaction.records is not None:
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
        if len(command.arguments) > 1 and command.arguments[1] == SENTINEL_HELLO:
            return  # gossip of the source's Sentinels about the source
        self._forward(command)

    def _mention(self, command: Special) -> None:
        verdict, rewritten = judge(command.arguments, self._table)
        if verdict is Verdict.FORWARD:
            self._forward(command)
        elif verdict is Verdict.REWRITE:
            self._pending.add(self.database, rewritten, 1)
            self._pending.skipped += 1
        elif verdict is Verdict.DROP:
            self._pending.skipped += 1
        else:
            self._pending.rejected.append(command.name)

    def _forward(self, command: Special) -> None:
        self._pending.add(self.database, command.data, 1)

    def _with_records(self, command: Special, location: int) -> None:
        alone = self._transaction is None
        if alone:
            self._flush()
        pending = self._pending
        pending.location = location
        pending.records = Records(pending.location or None)
        self._forward(command)
        if alone:
            pending.end = (command.end_offset, self.database)
            self._flush()

    def _flush(self) -> None:
        pending, self._outside = self._outside, _Pending()
        self._emit(pending)

    def _emit(self, pending: _Pending) -> None:
        if pending.end is None or pending.end[0] == self._offset:
            return
        offset, database = pending.end
        self._offset = offset
        self._out.append(
            Batch(
                parts=tuple(Part(number, b"".join(data), count) for number, data, count in pending.parts),
                commands=pending.commands,
                size=pending.size,
                replid=self.replid,
                end_offset=offset,
                database=database,
                records=pending.records,
                rejected=tuple(pending.rejected),
                skipped=pending.skipped,
            )
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


class _Pending:
    """What is gathered for one batch."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, list[bytes], int]] = []
        self.commands = 0
        self.size = 0
        self.begin = 0  # offset before the MULTI of a transaction
        self.end: tuple[int, int] | None = None  # offset and selected database behind it
        self.records: Records | None = None
        self.location = 0  # the database that the worker's records are in by now
        self.rejected: list[bytes] = []
        self.skipped = 0

    def add(self, database: int, data: bytes, commands: int) -> None:
        self.commands += commands
        self.size += len(data)
        if self.parts and self.parts[-1][0] == database:
            number, pieces, count = self.parts[-1]
            pieces.append(data)
            self.parts[-1] = (number, pieces, count + commands)
        else:
            self.parts.append((database, [data], commands))

    def merge(self, other: _Pending) -> None:
        for database, pieces, count in other.parts:
            if self.parts and self.parts[-1][0] == database:
                number, mine, before = self.parts[-1]
                mine.extend(pieces)
                self.parts[-1] = (number, mine, before + count)
            else:
                self.parts.append((database, pieces, count))
        self.commands += other.commands
        self.size += other.size
        self.rejected += other.rejected
        self.skipped += other.skipped


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
