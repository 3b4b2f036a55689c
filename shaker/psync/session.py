"""The worker's side of one replication connection, without I/O (server file src/replication.c, syncCommand).

Bytes of the source go in by `receive_data`, which returns events; bytes for the source come out of `data_to_send`.
Everything that changes its state is a row of `handshake_states.TRANSITIONS`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from shaker.codec.rdb.reader import SnapshotReader
from shaker.codec.resp.replies import encode
from shaker.errors import CorruptError, LinkError, RefusedError, quoted
from shaker.model.batch import (
    BarrierReached,
    Continued,
    Event,
    FullSync,
    Introduced,
    SnapshotEnd,
    SnapshotSize,
)
from shaker.model.refusals import refusal
from shaker.model.server_info import parse_info
from shaker.psync.batches import StreamAssembler
from shaker.psync.divided import DividedStream
from shaker.psync.handshake_states import TRANSITIONS, Input, ReplicaState
from shaker.psync.snapshot import SnapshotContents
from shaker.psync.snapshot_transfer import MARK_SIZE, SnapshotTransfer
from shaker.rules.chain import Chain
from shaker.rules.command_table import CommandTable

# The newest Valkey whose snapshots are known. From 9 on Valkey writes for the version that a replica announces, and
# fails at what that one cannot hold: expiries of hash fields (server file src/replication.c, REPLCONF version).
KNOWN_VALKEY: Final = "9.0.0"
MAX_LINE: Final = 64 * 1024
MAX_INFO: Final = 1024 * 1024  # INFO of a busy server is about 10 KB


_FULLRESYNC = re.compile(rb"\+FULLRESYNC ([0-9a-fA-F]{40}) (\d{1,19})")
_CONTINUE = re.compile(rb"\+CONTINUE(?: ([0-9a-fA-F]{40}))?\s*")


class Sizes(NamedTuple):
    """Limits of a session in bytes, see `ReplicaSession`."""

    max_value: int
    pass_above: int | None
    build_above: int | None


class ReplicaSession:
    """One conversation with the source, from the first byte to the stream.

    `username` and `password` authenticate; `max_value` bounds, in bytes, what must be held whole: a value of the
    snapshot, a command of the stream. Strings, commands and transactions above `pass_above` bytes come in pieces,
    and so do collections above `build_above` bytes. `psync_command` is the source's own name of PSYNC.
    Call `start`, then after `Introduced` `request`.
    """

    def __init__(
        self,
        *,
        username: str | None,
        password: str | None,
        max_value: int,
        pass_above: int | None = None,
        build_above: int | None = None,
        psync_command: str = "PSYNC",
    ) -> None:
        self.state = ReplicaState.NEW
        self._auth = None if password is None else [username, password] if username else [password]
        self._chain = Chain(CommandTable({}))
        self._sizes = Sizes(max_value, pass_above, build_above)
        self._psync = psync_command
        self._out = bytearray()
        self._buffer = b""
        self._info_left = 0
        self._info = b""
        self._replid = ""
        self._offset = 0
        self._database = 0
        self._review: tuple[int, int] | None = None  # offset and database to resume from
        self._snapshot: SnapshotTransfer | None = None
        self._stream: DividedStream | None = None

    @property
    def received_offset(self) -> int | None:
        """Replication offset behind the last whole command received, None before the stream."""
        return None if self._stream is None else self._stream.offset

    @property
    def snapshot_bytes(self) -> int:
        """Bytes of the snapshot read so far."""
        return 0 if self._snapshot is None else self._snapshot.consumed

    def data_to_send(self) -> bytes:
        """Return, once, the bytes to send to the source."""
        out = bytes(self._out)
        self._out.clear()
        return out

    def start(self) -> None:
        """Begin the handshake."""
        if self._auth is None:
            self._inspect(Input.START)
        else:
            self._move(Input.START_WITH_PASSWORD)
            self._out += encode("AUTH", *self._auth)

    def request(
        self,
        replid: str | None,
        offset: int,
        database: int,
        *,
        chain: Chain,
        review: tuple[int, int] | None = None,
    ) -> None:
        """Ask for the stream of `replid` from behind `offset`, or with None for a snapshot.

        `database` is the one selected at that offset: a source that continues does not repeat its SELECT. `chain` has
        the rules for the stream. With `review`, an offset before the other one and the database
        selected there (-1 unknown), what lies between the two comes as `Reviewed`, behind it `ReviewEnd`.
        """
        self._move(Input.REQUEST)
        self._chain = chain
        self._database = database
        if replid is None:
            self._out += encode(self._psync, "?", "-1")
        else:
            if review is not None:
                self._review = offset, database
                offset, self._database = review
            self._replid, self._offset = replid, offset
            self._out += encode(self._psync, replid, offset + 1)

    def receive_data(self, data: bytes) -> list[Event]:
        """Take bytes of the source; return what they mean, in order.

        Raises CorruptError for bytes that cannot be, UnfaithfulError for data that cannot be replicated,
        AccessError and ServerBusyError for refusals of the source, LinkError for bytes that are no handshake.
        """
        if self._stream is not None:
            return self._stream.feed(data)
        events: list[Event] = []
        if self.state is ReplicaState.LOADING:
            self._load(data, events)
            return events
        self._buffer += data
        while self._buffer and self._stream is None and self._step(events):
            pass
        return events

    def cut(self, offset: int) -> list[Event]:
        """Give out `BarrierReached` where the stream is at `offset`, at once if it is; one barrier at a time.

        Outside the stream, or with an offset that was passed already, it comes at once and is not clean. An offset
        inside a transaction means that the question for it is in the stream (Redis before 7.0): nothing but the
        EXEC can follow, with a SELECT before it where the reading ended in another database. The cut is behind that.
        """
        return [BarrierReached(offset, offset, clean=False)] if self._stream is None else self._stream.cut(offset)

    def _step(self, events: list[Event]) -> bool:
        """Handle one piece of the buffer outside snapshot and stream; False when it is not whole yet."""
        if self.state is ReplicaState.LOADING:
            data, self._buffer = self._buffer, b""
            self._load(data, events)
            return False
        if self.state is ReplicaState.MARK:
            assert self._snapshot is not None  # the mark follows it
            return self._end_mark(self._snapshot, events)
        if self.state is ReplicaState.INSPECTING and self._info_left:
            return self._read_info(events)
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > MAX_LINE:
                raise CorruptError(f"the source sent a line of more than {MAX_LINE} bytes in the handshake")
            return False
        line, self._buffer = self._buffer[:end].rstrip(b"\r"), self._buffer[end + 1 :]
        if line:  # a lone newline keeps the connection alive while the source prepares
            self._line(line, events)
        return True

    def _line(self, line: bytes, events: list[Event]) -> None:
        if line.startswith(b"-"):
            raise self._refused(line[1:].decode("utf-8", "replace")[:256])
        state = self.state
        if state is ReplicaState.AUTHENTICATING:
            self._inspect(self._accept(line))
        elif state is ReplicaState.INSPECTING:
            length = line[1:]
            if not line.startswith(b"$") or not length.isdigit() or not 0 < int(length[:19]) <= MAX_INFO:
                raise self._unexpected(line)
            self._info_left = int(length) + 2
        elif state is ReplicaState.ANNOUNCING:
            self._move(self._accept(line))
            version = ["version", KNOWN_VALKEY] if parse_info(self._info).is_valkey else []
            self._out += encode("REPLCONF", "capa", "eof", "capa", "psync2", *version)
        elif state is ReplicaState.OFFERING:
            self._move(self._accept(line))
            events.append(Introduced(parse_info(self._info)))
        elif state is ReplicaState.REQUESTING:
            self._answered(line, events)
        elif state is ReplicaState.PREPARING:
            self._begin_snapshot(line, events)
        else:
            raise self._unexpected(line)

    def _inspect(self, happened: Input) -> None:
        self._move(happened)
        # INFO identifies the source before anything is asked of it, on the very connection that will stream.
        self._out += encode("INFO")

    def _read_info(self, events: list[Event]) -> bool:
        take = self._buffer[: self._info_left]
        self._info += take
        self._info_left -= len(take)
        self._buffer = self._buffer[len(take) :]
        if self._info_left:
            return False
        self._move(Input.INFO)
        # Port 0: Sentinel must find nothing there to promote, and nothing that another server answers for.
        self._out += encode("REPLCONF", "listening-port", "0")
        return True

    def _answered(self, line: bytes, events: list[Event]) -> None:
        if full := _FULLRESYNC.fullmatch(line):
            self._move(Input.FULLRESYNC)
            self._replid, self._offset = full[1].decode(), int(full[2])
            self._database = 0  # the database selected at the requested offset says nothing about the new history
            self._review = None
            events.append(FullSync(self._replid, self._offset))
        elif self._replid and (going_on := _CONTINUE.fullmatch(line)):  # only where the request named a history
            self._move(Input.CONTINUE)
            if going_on[1]:
                self._replid = going_on[1].decode()
            events.append(Continued(self._replid))
            self._begin_stream(events)
        elif line.startswith(b"$") and self._psync.upper() != "PSYNC":
            # Any other name than psync gets the protocol of SYNC (server file src/replication.c, syncCommand).
            raise RefusedError(
                f"the source answers {self._psync} with a snapshot that has no replication offset, as Redis and "
                "Valkey do where their own rename-command renamed PSYNC",
                hint="give PSYNC its own name again: source.psync_command is for services that answer as PSYNC does",
            )
        else:
            raise self._unexpected(line)

    def _begin_snapshot(self, line: bytes, events: list[Event]) -> None:
        if line.startswith(b"$EOF:") and len(line) == len(b"$EOF:") + MARK_SIZE:
            self._move(Input.MARKED)
            size, mark = 0, line[5:]
        elif line.startswith(b"$") and line[1:].isdigit() and len(line) < 20:
            self._move(Input.SIZED)
            size, mark = int(line[1:]), b""
        else:
            raise self._unexpected(line)
        reader = SnapshotReader(
            max_value=self._sizes.max_value,
            large_above=self._sizes.pass_above,
            build_above=self._sizes.build_above,
            taken=self._chain.form.taken,
        )
        contents = SnapshotContents(exact=parse_info(self._info).replication.role == "master")
        self._snapshot = SnapshotTransfer(reader, contents, size=size, mark=mark)
        events.append(SnapshotSize(size))

    def _load(self, data: bytes, events: list[Event]) -> None:
        snapshot = self._snapshot
        assert snapshot is not None  # the state LOADING begins with it
        snapshot.feed(data, events)
        if not snapshot.done:
            return
        self._buffer = snapshot.rest()
        if snapshot.mark:
            self._move(Input.END_MARKED)
            self._end_mark(snapshot, events)
        else:
            self._end_snapshot(snapshot, events)

    def _end_mark(self, snapshot: SnapshotTransfer, events: list[Event]) -> bool:
        if not snapshot.follows(self._buffer):
            return False
        self._buffer = self._buffer[MARK_SIZE:]
        self._end_snapshot(snapshot, events)
        return True

    def _end_snapshot(self, snapshot: SnapshotTransfer, events: list[Event]) -> None:
        self._move(Input.END)
        self._database = snapshot.database
        events.append(SnapshotEnd(self._replid, self._offset, self._database))
        self._begin_stream(events)

    def _begin_stream(self, events: list[Event]) -> None:
        assembler = StreamAssembler(
            replid=self._replid,
            offset=self._offset,
            database=self._database,
            chain=self._chain,
            max_transaction=self._sizes.max_value,
            pass_above=self._sizes.pass_above,
        )
        self._stream = DividedStream(assembler, self._review)
        rest, self._buffer = self._buffer, b""
        if rest:
            events.extend(self._stream.feed(rest))

    def _move(self, happened: Input) -> None:
        following = TRANSITIONS.get((self.state, happened))
        if following is None:
            raise CorruptError(f"the source sent {happened.value} while the handshake was {self.state.value}")
        self.state = following

    def _accept(self, line: bytes) -> Input:
        if line != b"+OK":
            raise self._unexpected(line)
        return Input.OK

    def _unexpected(self, line: bytes) -> LinkError:
        return LinkError(
            f"the source answered {quoted(line, 64)} while the handshake was {self.state.value}",
            hint="is source.url (SHAKER_SOURCE__URL) the address of a Redis or Valkey?",
            kind="protocol",
        )

    def _refused(self, text: str) -> LinkError | RefusedError:
        return refusal("source", text, self.state.value)
