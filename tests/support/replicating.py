"""A whole worker in miniature, driven from outside: a source's history, the window, a real target, and faults."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from shaker.apply.rejections import RESERVED
from shaker.codec.resp.replies import encode
from shaker.errors import LinkError, ServerBusyError
from shaker.model.batch import Batch
from shaker.model.entries import Entries
from shaker.model.items import SnapshotFinish, SnapshotKeys, SnapshotStart, StreamItem
from shaker.model.position import Resume
from shaker.model.rejection import Rejection
from shaker.psync.batches import StreamAssembler
from tests.support.servers import Server, wait_until
from tests.support.target_driver import REPLID, Wire, Writer

Command = tuple[bytes | str | int, ...]
START = 5000


def is_unknown(command: Command) -> bool:
    """Whether the target rejects a command before it executes it."""
    return command[0] in ("NOSUCH", "OTHER") or command == ("INCR",)


@dataclass
class Source:
    """A replication history: what a source sends from any offset on, and the snapshot at its beginning."""

    commands: list[Command]
    snapshot: dict[int, dict[str, bytes]]
    data: bytes = b""
    applied: list[tuple[int, Command]] = field(default_factory=list)  # with the database, without MULTI and EXEC
    database: int = 0  # selected at the end
    rejected: int = 0  # how many of them a server does not take; known once they were applied to the reference
    missing: int = 0  # and how many of those for want of a key

    def __post_init__(self) -> None:
        self.data = b"".join(encode(*command) for command in self.commands)
        database = 0
        for command in self.commands:
            name = str(command[0]).upper()
            if name == "SELECT":
                database = int(command[1])
            elif name not in ("PING", "REPLCONF", "MULTI", "EXEC"):
                self.applied.append((database, command))
        self.database = database

    @property
    def end(self) -> int:
        """The offset behind all commands."""
        return START + len(self.data)

    @property
    def unknown(self) -> int:
        """How many commands the target cannot know."""
        return sum(is_unknown(command) for _, command in self.applied)


class Replicating:
    """A worker between a `Source` and a target, driven from outside; it reads what a source would send it."""

    def __init__(self, source: Source, target: Server, *, window_limit: int, pass_above: int | None = None) -> None:
        self.source, self.target, self._limit, self._pass_above = source, target, window_limit, pass_above
        self.admin = target.client()
        self.writers: list[Writer] = []
        self._snapshots = 0
        self.pending: list[Any] = []
        self.outage = self.saved = False
        self.faults = 0

    def start(self) -> None:
        """Begin as a new process: nothing is known but what stands in the target."""
        self.writer = Writer(self.target, window_limit=self._limit, on_existing="merge")
        self.writers.append(self.writer)
        self.register()

    def register(self) -> None:
        """Open a connection, and the source's where the target tells to go on elsewhere."""
        first = self.writer.first
        try:
            kept = self.writer.register()
        except ServerBusyError:
            assert self.outage
            self.recover()
            kept = self.writer.register()
        if first or not kept:
            self._request()

    def _request(self) -> None:
        """Ask the source: it goes on behind the checkpoint, or begins with a snapshot."""
        resume = self.writer.flow.resume
        self.pending = []
        if resume is None:
            self.writer.flow.window.discard_waiting()
            self._snapshots += 1
            snapshot = f"{self._snapshots}"
            self.pending.append(SnapshotStart(snapshot, REPLID, START, flush=False, sweep=True))
            restored = [
                (database, key, payload)
                for database, payloads in self.source.snapshot.items()
                for key, payload in payloads.items()
            ]
            for number, (database, key, payload) in enumerate(restored, 1):
                entries = Entries(database, [], [key.encode(), payload], [], [])
                self.pending.append(SnapshotKeys(snapshot, number, entries, listed=True))
            self.pending.append(SnapshotFinish(REPLID, START, 0))
            offset, database = START, 0
        else:
            assert resume.replid == REPLID
            offset, database = resume.offset, resume.database
        self._read = offset - START
        self._assembler = StreamAssembler(
            replid=REPLID,
            offset=offset,
            database=database,
            chain=self.writer.flow.target.chain,
            max_transaction=1 << 20,
            pass_above=self._pass_above,
        )

    def read(self, size: int) -> None:
        """Read bytes of the source into the window, as far as it has room."""
        if self.pending:
            for _ in range(min(len(self.pending), 1 + size % 4)):
                item = self.pending.pop(0)
                self.writer.put(item)
                if isinstance(item, SnapshotFinish):
                    self.writer.flow.resume = Resume(item.replid, item.offset, item.database)
            return
        if self.writer.flow.window.full:
            return
        data = self.source.data[self._read : self._read + size]
        self._read += len(data)
        for event in self._assembler.feed(data):
            if isinstance(event, Batch):
                rejections = tuple(Rejection(name.decode(), "", RESERVED) for name in event.rejected)
                self.writer.flow.put_batch(event, StreamItem(event, time.monotonic(), rejections))

    def load(self) -> None:
        """Bring the snapshot to its end."""
        while self.pending or not self.writer.session.idle:
            self.read(0)
            self.receive(1 << 16)

    def cut_source(self) -> None:
        """Lose the connection to the source and ask it anew, as `shaker.readers.psync` does."""
        self.faults += 1
        if self.writer.flow.window.drop_unfinished():
            self.writer.cut()
            self.register()
        self._request()

    def send(self) -> None:
        """Send what may be sent."""
        self._attempt(self.writer.send)

    def receive(self, size: int) -> None:
        """Send, then wait for up to so many bytes of the answer, if there is one to come."""
        self._attempt(lambda: self.writer.step(size + 1))

    def _attempt(self, action: Any) -> None:
        try:
            action()
        except LinkError:
            # An outage, or a command that is left out from now on: a new connection, as the target link makes it.
            self.writer.cut()
            self.register()

    def send_part(self, size: int) -> tuple[Wire, bytes]:
        """Send only so many bytes of what is to be sent; return the connection and what was kept back."""
        self.faults += 1
        data, wire = b"", self.writer.wire
        with suppress(LinkError):
            data = self.writer.data_to_send()
        size %= len(data) + 1
        with suppress(LinkError):
            wire.send(data[:size])
        return wire, data[size:]

    def cut_after_sending(self, size: int) -> None:
        """Lose the connection in the middle of what is to be sent."""
        wire, _ = self.send_part(size)
        wire.close()
        self.register()

    def stall_after_sending(self, size: int) -> None:
        """Register anew while the old connection is half open; what was kept back arrives there all the same."""
        wire, kept_back = self.send_part(size)
        self.register()
        with suppress(LinkError):
            wire.send(kept_back)

    def cut_after_receiving(self, size: int) -> None:
        """Receive up to so many bytes and lose the connection."""
        self.faults += 1
        self.receive(size)
        self.writer.cut()
        self.register()

    def new_worker(self, size: int) -> None:
        """A new process takes over, while the old one stands still in the middle of something, and then goes on."""
        wire, kept_back = self.send_part(size)
        self.start()
        with suppress(LinkError):
            wire.send(kept_back)

    def fail(self) -> None:
        """The target takes no writes from now on."""
        self.admin.config_set("maxmemory", 1)
        self.outage = True

    def recover(self) -> None:
        """The target takes writes again."""
        self.admin.config_set("maxmemory", 0)
        self.outage = False

    def save(self) -> None:
        """The target saves its data."""
        self.admin.save()
        self.saved = True

    def lose(self, size: int) -> None:
        """The target loses what it did since the last save, and every connection, as in a failover."""
        if not self.saved:
            return
        wire, _ = self.send_part(size)
        wire.close()
        own = str(self.writer.registered.fence.connection)
        wait_until(lambda: own not in {c["id"] for c in self.admin.client_list()}, "the connection to be gone")
        if self.outage:
            self.recover()
        self.admin.execute_command("DEBUG", "RELOAD", "NOSAVE")
        self.register()

    def do(self, step: tuple[str, int]) -> None:
        """Carry out one drawn step."""
        name, size = step
        {
            "read": lambda: self.read(size),
            "send": self.send,
            "receive": lambda: self.receive(size),
            "persist": lambda: self.writer.session.persist(),
            "cut after sending": lambda: self.cut_after_sending(size),
            "stall after sending": lambda: self.stall_after_sending(size),
            "cut after sending all": lambda: self.cut_after_sending(-1),
            "read and receive": lambda: (self.read(size), self.receive(1 << 16)),
            "cut after receiving": lambda: self.cut_after_receiving(size),
            "cut source": self.cut_source,
            "new worker": lambda: self.new_worker(size),
            "outage": self.fail,
            "recovery": self.recover,
            "save": self.save,
            "lose": lambda: self.lose(size),
        }[name]()

    def complete(self) -> None:
        """Go on without faults until the source has nothing more and the checkpoint lacks nothing."""
        self.recover()
        for _ in range(10_000):
            self.read(1 << 16)
            self._attempt(self.writer.run)
            done = self._read == len(self.source.data) and not self.pending
            if done and self.writer.session.idle and not self.writer.session.behind:
                return
        raise AssertionError("the worker does not come to an end")

    def close(self) -> None:
        """Close all connections."""
        self.recover()
        for writer in self.writers:
            writer.close()
        self.admin.close()
