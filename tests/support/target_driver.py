"""A worker's target side without the worker: driven step by step over plain sockets, to be cut anywhere.

Registration, window, replication state and session are the product's own; only the waiting is not.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Coroutine
from typing import Any

import hiredis

from shaker.apply.fence import Identity
from shaker.apply.in_flight import Progress
from shaker.apply.planner import EXEC
from shaker.apply.records import Checkpoint, Fence, checkpoint_key, fence_key
from shaker.apply.session import TargetSession
from shaker.codec.resp.replies import encode
from shaker.errors import LinkError
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent
from shaker.jobs.remove_stale_keys import Round, Rounds, listing, removal
from shaker.model.batch import Batch, CommandRun, RecordsWiped
from shaker.model.entries import Entries
from shaker.model.items import (
    Item,
    SnapshotBatch,
    SnapshotFinish,
    SnapshotKeys,
    SnapshotStart,
    StreamItem,
    SweepStep,
)
from shaker.model.rejection import Rejection
from shaker.model.server_info import SourceIdentity, parse_info
from shaker.net.client import Request
from shaker.net.connection import ReplyError
from shaker.settings.schema import Settings
from shaker.watch.status import Status
from shaker.writers.register import Registered, register
from tests.support.servers import Server, wait_until

REPLID = "a" * 40
SOURCE = SourceIdentity("source:6379", "b" * 40, (REPLID,))
CHUNK = 64 * 1024


def finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine whose awaits return at once; return what it returns."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise AssertionError("the coroutine waits for something")


class Wire:
    """A plain socket with the requests of `shaker.net.connection.Connection`, which block instead of awaiting."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), 10.0)
        self._reader = hiredis.Reader(replyError=ReplyError, notEnoughData=_MISSING)

    async def authenticate(self, username: str | None, password: str | None) -> None:
        """Log in where there is a password."""
        if password is not None:
            await self.call("AUTH", *([username] if username else []), password)

    async def call(self, *arguments: bytes | str | int) -> Any:
        """Send one request and return its reply; raises ReplyError for an error."""
        reply = (await self.pipeline([arguments]))[0]
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    async def pipeline(self, requests: list[tuple[bytes | str | int, ...]]) -> list[Any]:
        """Send requests at once and return their replies."""
        self.socket.sendall(b"".join(encode(*arguments) for arguments in requests))
        replies: list[Any] = []
        while len(replies) < len(requests):
            reply = self._reader.gets()
            if reply is _MISSING:
                self._reader.feed(self.receive(CHUNK))
            else:
                replies.append(reply)
        return replies

    def send(self, data: bytes) -> None:
        """Send bytes; raises LinkError when the server is gone."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise LinkError("lost") from error

    def receive(self, size: int) -> bytes:
        """Return 1 to `size` bytes; raises LinkError when the server is gone, TimeoutError when nothing comes."""
        try:
            data = self.socket.recv(size)
        except TimeoutError:
            raise
        except OSError as error:
            raise LinkError("lost") from error
        if not data:
            raise LinkError("lost")
        return data

    @property
    def readable(self) -> bool:
        """Whether there is something to receive now."""
        poll = select.poll()  # unlike select() it takes every file descriptor
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


_MISSING: Any = object()


class Sweeping:
    """The sweep of one session, advanced step by step: what is to be done is the product's own."""

    def __init__(self, wire: Wire, session: TargetSession, name: str) -> None:
        self._wire, self._session, self._name = wire, session, name
        self._rounds: Rounds | None = None
        self._step = Round()
        self._phase = ""
        self._ended: list[bool] = []
        self._replies: list[Any] = []

    def advance(self) -> None:
        """Do what can be done now; returns when the target has to answer first, or nothing is left to do."""
        while not (self._step.writes and not self._ended):
            if self._ended == [False]:
                self._rounds = None
            if self._rounds is None:
                self._step, self._ended = Round(), []
                if not self._session.checkpoint.sweeps_first:
                    return
                self._phase = self._session.checkpoint.phase
                databases = sorted(parse_info(self._read(("INFO",))[0]).keyspace)
                self._rounds = (listing if self._phase == "snapshot" else removal)(self._name, databases)
                self._begin(next(self._rounds))
                continue
            try:
                self._begin(self._rounds.send(self._replies))
            except StopIteration:
                self._rounds = None

    def _begin(self, step: Round) -> None:
        self._step, self._ended = step, []
        if step.writes:
            sweep = self._session.checkpoint.sweep if step.sweep is None else step.sweep
            self._session.sweep(SweepStep(self._phase, step.parts, sweep, self._ended.append))
        self._replies = self._read(*step.requests) if step.requests else []

    def _read(self, *requests: Request) -> list[Any]:
        replies: list[Any] = finish(self._wire.pipeline(list(requests)))
        return replies


class Writer:
    """One worker's target side; each `register` is a new connection of it.

    `sent` holds every byte of the present session; no second EXEC may be sent before the first one's answer,
    which is checked at every step. `rejections` are those told by all sessions. Without `sweeping` a sweep is the
    test's own.
    """

    def __init__(
        self,
        server: Server,
        *,
        name: str = "default",
        window_limit: int = 1 << 24,
        sweeping: bool = True,
        **target: Any,
    ) -> None:
        self.server = server
        self._sweeps = sweeping
        self._reading: Wire | None = None
        self._sweeping: Sweeping | None = None
        self.settings = Settings(
            name=name,
            source={"url": "redis://source:6379"},
            target={"url": server.url, **target},
        )
        self.flow = Flow(Status(), self.settings, window_limit=window_limit)
        self.flow.source.identity = SOURCE
        self.identity = Identity.new()
        self.rejections: list[Rejection] = []
        self.progress: list[Progress] = []
        self.sent = bytearray()
        self.slice = CHUNK
        self.first = True
        self.registered: Registered
        self.session: TargetSession
        self.wire: Wire
        self._run_id = ""
        self._executed = 0  # EXECs of the present session that were answered
        self._wires: list[Wire] = []

    def register(self) -> bool:
        """Open a connection and register it; return whether the window was kept. The one before is left open."""
        self.wire = Wire(self.server)
        self._wires.append(self.wire)
        registered: Registered = finish(
            register(self.wire, self.settings, self.flow, self.identity)  # type: ignore[arg-type]
        )
        self.registered = registered
        if registered.wiped:
            self.flow.happen(FlowEvent.RECORDS_WIPED)
        kept = self.flow.registered(
            registered.checkpoint, same_server_run=registered.run_id == self._run_id, first=self.first
        )
        self.first = False
        self._run_id = self.flow.target.run_id = registered.run_id
        self.session = TargetSession(
            name=self.settings.name,
            window=self.flow.window,
            checkpoint=(registered.checkpoint or Checkpoint())._replace(
                source=SOURCE.address, source_run_id=SOURCE.run_id
            ),
            fence=registered.fence,
            chain=self.flow.target.chain,
            expiries=self.flow.expiries,
            unconfirmed=self.flow.unconfirmed,
            on_rejected=self.rejections.append,
            max_transaction=registered.max_transaction,
            max_bulk=registered.max_bulk,
            lacks=registered.lacks,
        )
        self.sent.clear()
        self._executed = 0
        if self._sweeps:
            if self._reading is None:
                self._reading = Wire(self.server)
                self._wires.append(self._reading)
            self._sweeping = Sweeping(self._reading, self.session, self.settings.name)
        return kept

    def put(self, *items: Item) -> None:
        """Append items to the window."""
        for item in items:
            self.flow.window.put(item)

    def data_to_send(self) -> bytes:
        """Return what the session wants to send, checked; the caller sends it."""
        if self._sweeping is not None:
            self._sweeping.advance()
        data = self.session.data_to_send()
        self._report()
        self.sent += data
        assert self.sent.count(EXEC) <= self._executed + 1, "an EXEC went out before the one before was answered"
        return data

    def send(self) -> bytes:
        """Send what the session wants to send; return it.

        A server that closes has said why: the next `receive` reads that, and only then the connection counts as lost.
        """
        data = self.data_to_send()
        try:
            if data:
                self.wire.send(data)
        except LinkError:
            if not self.wire.readable:
                raise
        return data

    def receive(self, size: int = CHUNK) -> None:
        """Wait for bytes of the target and give them to the session in slices of `slice` bytes."""
        data = self.wire.receive(size)
        for start in range(0, len(data), self.slice):
            self.session.receive_data(data[start : start + self.slice])
            self._report()

    def step(self, size: int = CHUNK) -> bool:
        """Send, then receive once; False when there was nothing to wait for."""
        self.send()
        if self.session.idle or (self.unfinished and not self.wire.readable):
            return False
        self.receive(size)
        return True

    @property
    def unfinished(self) -> bool:
        """Whether the target waits for the rest of a transaction that the source has not sent whole."""
        last = self.flow.window.last
        return isinstance(last, StreamItem) and last.batch.more and self.flow.window.peek() is None

    def run(self) -> None:
        """Go on until all in the window is answered and the checkpoint lacks nothing."""
        while True:
            while self.step():
                pass
            self.session.persist()
            if not self.send():
                return
            self.receive()

    def run_through(self) -> None:
        """Like `run`, with a new connection after each error that a new connection helps against."""
        while True:
            try:
                return self.run()
            except LinkError:
                self.cut()
                assert self.register(), "the window was not kept"

    def cut(self) -> None:
        """Close the present connection."""
        self.wire.close()

    def close(self) -> None:
        """Close every connection."""
        for wire in self._wires:
            wire.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _report(self) -> None:
        for progress in self.session.progress():
            self.progress.append(progress)
            if progress.written and not isinstance(next(iter(progress.items), None), SnapshotBatch):
                self._executed += 1
            self.flow.applied(self.session.checkpoint)


class Stream:
    """Batches at the offsets at which a source would give them, one `batch` after the other."""

    def __init__(self, offset: int = 1000, replid: str = REPLID) -> None:
        self.offset = offset
        self.replid = replid

    def batch(
        self,
        *commands: tuple[bytes | str | int, ...],
        database: int = 0,
        records: RecordsWiped | None = None,
        rejections: tuple[Rejection, ...] = (),
    ) -> StreamItem:
        """Return the batch of `commands`, all for `database`."""
        return self.parts((database, commands), records=records, rejections=rejections)

    def parts(
        self,
        *parts: tuple[int, tuple[tuple[bytes | str | int, ...], ...]],
        records: RecordsWiped | None = None,
        rejections: tuple[Rejection, ...] = (),
    ) -> StreamItem:
        """Return a batch of parts (database, commands); it ends with the last one's database selected."""
        made = tuple(
            CommandRun(database, b"".join(encode(*command) for command in commands), len(commands))
            for database, commands in parts
            if commands
        )
        size = sum(len(part.data) for part in made)
        self.offset += max(size, 14)
        batch = Batch(
            made, sum(part.commands for part in made), size, self.replid, self.offset, parts[-1][0], records
        )
        return StreamItem(batch, 0.0, rejections)

    def ping(self) -> StreamItem:
        """Return a batch without effect."""
        return self.batch()


def start_stream(writer: Writer, stream: Stream) -> None:
    """Bring a registered writer on an empty target into the stream, by a snapshot without keys."""
    writer.put(
        SnapshotStart("empty", stream.replid, stream.offset, flush=False),
        SnapshotFinish(stream.replid, stream.offset, 0),
    )
    writer.run()
    writer.flow.snapshot_applied(stream.offset)


def checkpoint_of(server: Server, name: str = "default", database: int = 0) -> Checkpoint | None:
    """Return the checkpoint as it stands in a server."""
    with server.client(db=database, decode_responses=True) as client:
        return Checkpoint.parse(client.hgetall(checkpoint_key(name)))  # type: ignore[arg-type]


def fence_of(server: Server, name: str = "default", database: int = 0) -> Fence | None:
    """Return the fence as it stands in a server."""
    with server.client(db=database, decode_responses=True) as client:
        return Fence.parse(client.hgetall(fence_key(name)))  # type: ignore[arg-type]


def keys_of(server: Server, database: int = 0) -> set[bytes]:
    """Return the keys of a database."""
    with server.client(db=database) as client:
        return set(client.keys())  # type: ignore[arg-type]


def wait_replies(writer: Writer, at_least: int) -> None:
    """Wait until replies of so many bytes lie in the socket, unread."""

    def there() -> bool:
        writer.wire.socket.settimeout(10)
        return len(writer.wire.socket.recv(1 << 20, socket.MSG_PEEK)) >= at_least

    wait_until(there, f"{at_least} bytes of replies")


def lose_since_save(target: Server, writer: Writer) -> None:
    """Make the target lose what it did since its last SAVE, as a failover or a crash does."""
    writer.cut()
    target.restart(kill=True)
    target.wait_loaded()


def dump_of(server: Server, value: str) -> bytes:
    """Return the payload of a string."""
    with server.client(db=0) as client:
        client.set("dumped", value)
        payload = client.dump("dumped")
        client.delete("dumped")
    assert isinstance(payload, bytes)
    return payload


def keys_item(snapshot: str, number: int, database: int, payloads: dict[str, bytes]) -> SnapshotKeys:
    """Return keys of a snapshot, by name and payload."""
    values = [each for key, payload in payloads.items() for each in (key.encode(), payload)]
    return SnapshotKeys(snapshot, number, Entries(database, [], values, [], []))
