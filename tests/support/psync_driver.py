"""A replica session on a socket to a real server, and what came over it, to be fed again with other cuts."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import NamedTuple, Self, TypeVar

from shaker.codec.resp.replies import encode
from shaker.model.batch import Event, Introduced
from shaker.model.server_info import ServerInfo
from shaker.psync.handshake_states import ReplicaState
from shaker.psync.session import ReplicaSession
from shaker.rules.chain import Chain
from shaker.rules.command_table import CommandTable
from tests.support.servers import Server
from tests.support.splits import cut

MAX_VALUE = 64 * 1024 * 1024
T = TypeVar("T")
Pieces = Callable[[bytes], list[bytes]]


def whole(data: bytes) -> list[bytes]:
    """The data as they came."""
    return [data]


def single_bytes(data: bytes) -> list[bytes]:
    """The data byte by byte."""
    return cut(data, list(range(len(data))))


class Recording(NamedTuple):
    """What a source sent before and after the request, and the request."""

    handshake: bytes
    answer: bytes
    replid: str | None
    offset: int
    database: int
    table: CommandTable
    password: str | None

    def replay(self, pieces: Pieces = whole) -> tuple[list[Event], ReplicaSession]:
        """Feed it all to a new session, cut by `pieces`; return the events and the session."""
        session = ReplicaSession(username=None, password=self.password, max_value=MAX_VALUE)
        session.start()
        events: list[Event] = []
        for piece in pieces(self.handshake):
            events += session.receive_data(piece)
        session.request(self.replid, self.offset, self.database, chain=Chain(self.table))
        for piece in pieces(self.answer):
            events += session.receive_data(piece)
        return events, session


class Conversation:
    """A session and its socket: reads, feeds, sends, and acknowledges what it received as a replica would."""

    def __init__(
        self,
        server: Server,
        table: CommandTable | None = None,
        *,
        pieces: Pieces = whole,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self.session = ReplicaSession(username=username, password=password, max_value=MAX_VALUE)
        self.events: list[Event] = []
        self.states = [ReplicaState.NEW]
        self.sent: list[bytes] = []
        self._table = table or CommandTable({})
        self._password = password
        self._pieces = pieces
        self._asked: tuple[str | None, int, int] = (None, 0, 0)
        self._handshake = b""
        self._answer: bytes | None = None
        self._socket = socket.create_connection(("127.0.0.1", server.port), 10.0)
        self._socket.settimeout(0.02)

    def introduce(self) -> ServerInfo:
        """Shake hands; return the source's INFO."""
        self.session.start()
        found = self.read_until(lambda: next((e for e in self.events if isinstance(e, Introduced)), None))
        return found.info

    def request(self, replid: str | None = None, offset: int = 0, database: int = 0) -> Self:
        """Send PSYNC."""
        self._asked = (replid, offset, database)
        self._answer = b""
        self.session.request(replid, offset, database, chain=Chain(self._table))
        self._note_state()
        return self

    def sync(self, replid: str | None = None, offset: int = 0, database: int = 0) -> Self:
        """Shake hands, ask, and read until the stream."""
        self.introduce()
        self.request(replid, offset, database)
        self.read_until(lambda: self.session.state is ReplicaState.STREAMING)
        return self

    def catch_up(self, server: Server) -> Self:
        """Read until all that the server's history has by now is received."""
        offset = server.offset()
        self.read_until(lambda: (self.session.received_offset or 0) >= offset)
        return self

    def read_until(self, condition: Callable[[], T], seconds: float = 20.0) -> T:
        """Go on until the condition is true and return it."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, f"in vain: {self.session.state}, {self.events[-3:]}"
            self._turn()
        return found

    def _turn(self) -> None:
        self._note_state()
        if out := self.session.data_to_send():
            self.sent.append(out)
            self._socket.sendall(out)
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            # A diskless source holds its stream back until the first acknowledgement behind the snapshot.
            if self.session.state is ReplicaState.STREAMING:
                self._socket.sendall(encode("REPLCONF", "ACK", self.session.received_offset or 0))
            return
        assert data, f"the source hung up: {self.session.state}"
        if self._answer is None:
            self._handshake += data
        else:
            self._answer += data
        for piece in self._pieces(data):
            self.events += self.session.receive_data(piece)
            self._note_state()

    def _note_state(self) -> None:
        if self.session.state is not self.states[-1]:
            self.states.append(self.session.state)

    def recording(self) -> Recording:
        """Return all that came so far."""
        return Recording(self._handshake, self._answer or b"", *self._asked, self._table, self._password)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
