"""One contract for the real server and the scripted target: the same requests get the same replies, byte for byte.

What the sessions of a worker send is recorded against the real server and given to both.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import hiredis
import pytest

from shaker.apply.records import Checkpoint, Fence
from shaker.apply.session import TargetSession
from shaker.codec.resp.replies import encode
from shaker.errors import LinkError
from shaker.flow.flow import Flow
from shaker.model.batch import RecordsWiped
from shaker.model.entries import Entries
from shaker.model.items import Item, SnapshotFinish, SnapshotKeys, SnapshotStart
from shaker.model.rejection import Rejection
from shaker.rules.chain import Chain
from shaker.rules.command_table import CommandTable, KeyPositions
from shaker.watch.status import Status
from tests.support.rdb_bytes import payload, string
from tests.support.scripted_target import ScriptedTarget
from tests.support.servers import Server
from tests.support.settings import settings
from tests.support.target_driver import REPLID, Stream

Exchange = Callable[[bytes], bytes]
TABLE = CommandTable(
    {name: KeyPositions(1, 1, 1, False) for name in ("set", "incr", "lpush", "rpush", "hset", "restore", "sadd")}
)
FENCE = Fence(1, "token", 7, "run")


def requests_in(data: bytes) -> int:
    """Return the number of whole requests or replies in `data`."""
    reader = hiredis.Reader(notEnoughData=Ellipsis)
    reader.feed(data)
    return sum(1 for _ in iter(reader.gets, Ellipsis))


@contextmanager
def at_server(target: Server) -> Iterator[Exchange]:
    """Give a function that sends requests to the real server and returns all replies to them."""
    with socket.create_connection(("127.0.0.1", target.port), 10.0) as link:

        def exchange(data: bytes) -> bytes:
            link.sendall(data)
            replies = b""
            while requests_in(replies) < requests_in(data):
                received = link.recv(1 << 16)
                assert received
                replies += received
            return replies

        yield exchange


@pytest.fixture(params=["server", "scripted"])
def exchange(request: pytest.FixtureRequest) -> Iterator[Exchange]:
    """Requests to one of the two targets, both empty."""
    if request.param == "scripted":
        yield ScriptedTarget().send
        return
    with at_server(request.getfixturevalue("target")) as found:
        yield found


CONVERSATIONS: dict[str, list[tuple[tuple[str | int, ...], bytes]]] = {
    "a transaction": [
        (("MULTI",), b"+OK\r\n"),
        (("SET", "a", 1), b"+QUEUED\r\n"),
        (("INCR", "a"), b"+QUEUED\r\n"),
        (("HSET", "h", "f", 1, "g", 2), b"+QUEUED\r\n"),
        (("EXEC",), b"*3\r\n+OK\r\n:2\r\n:2\r\n"),
    ],
    "a command that fails inside EXEC": [
        (("SET", "s", "text"), b"+OK\r\n"),
        (("MULTI",), b"+OK\r\n"),
        (("LPUSH", "s", 1), b"+QUEUED\r\n"),
        (("INCR", "n"), b"+QUEUED\r\n"),
        (("EXEC",), b"*2\r\n-WRONGTYPE Operation against a key holding the wrong kind of value\r\n:1\r\n"),
        (("INCR", "s"), b"-ERR value is not an integer or out of range\r\n"),
    ],
    "a command that is not known": [
        (("MULTI",), b"+OK\r\n"),
        (("INCR", "n"), b"+QUEUED\r\n"),
        (("NOSUCH", "k", "v"), b"-ERR unknown command 'NOSUCH', with args beginning with: 'k' 'v' \r\n"),
        (("EXEC",), b"-EXECABORT Transaction discarded because of previous errors.\r\n"),
        (("EXISTS", "n"), b":0\r\n"),
    ],
    "databases": [
        (("SELECT", 3), b"+OK\r\n"),
        (("SET", "a", 1), b"+OK\r\n"),
        (("SELECT", 16), b"-ERR DB index is out of range\r\n"),
        (("EXISTS", "a"), b":1\r\n"),
        (("FLUSHALL",), b"+OK\r\n"),
        (("EXISTS", "a"), b":0\r\n"),
    ],
    "lists of stale keys": [
        (("SADD", "l", "a", "b", "a"), b":2\r\n"),
        (("SREM", "l", "a", "c"), b":1\r\n"),
        (("UNLINK", "l", "none"), b":1\r\n"),
        (("EXISTS", "l"), b":0\r\n"),
    ],
    "other types": [
        (("RPUSH", "l", "a", "b"), b":2\r\n"),
        (("LPUSH", "l", "c"), b":3\r\n"),
        (("MSET", "x", 1, "y", 2), b"+OK\r\n"),
        (("GET", "y"), b"$1\r\n2\r\n"),
        (("GET", "none"), b"$-1\r\n"),
        (("DEL", "x", "y", "z"), b":2\r\n"),
        (("PING",), b"+PONG\r\n"),
    ],
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_both_targets_give_the_replies_that_sessions_rely_on(name: str, exchange: Exchange) -> None:
    """One request at a time."""
    for request, reply in CONVERSATIONS[name]:
        assert exchange(encode(*request)) == reply, request


def test_both_targets_answer_requests_that_come_in_pieces(exchange: Exchange) -> None:
    """All at once: the replies are those to each in order."""
    for name in ("a transaction", "other types"):
        requests = b"".join(encode(*request) for request, _ in CONVERSATIONS[name])
        assert exchange(requests) == b"".join(reply for _, reply in CONVERSATIONS[name])


class Conversation:
    """A session and its target, until nothing waits; `sent` has what each turn sent, `told` what was answered."""

    def __init__(self, exchange: Exchange, step: int = 1 << 16) -> None:
        self.flow = Flow(Status(), settings(), window_limit=1 << 20)
        self.rejections: list[Rejection] = []
        self.sent: list[bytes] = []
        self.reported: list[bytes] = []
        self._exchange = exchange
        self._step = step
        self._checkpoint = Checkpoint()
        self.connect()

    def connect(self) -> None:
        """Begin another session, with the checkpoint that the last one knew."""
        self.session = TargetSession(
            name="default", window=self.flow.window, checkpoint=self._checkpoint, fence=FENCE, chain=Chain(TABLE),
            expiries=self.flow.expiries, unconfirmed=self.flow.unconfirmed, on_rejected=self.rejections.append,
        )  # fmt: skip

    def run(self, *items: Item) -> None:
        """Apply items; where a new connection helps, the session is another one."""
        for item in items:
            self.flow.window.put(item)
        while True:
            data = self.session.data_to_send()
            if not data:
                if not self.session.behind:
                    return
                self.session.persist()
                continue
            replies = self._exchange(data)
            self.sent.append(data)
            self.reported.append(replies)
            try:
                for start in range(0, len(replies), self._step):
                    self.session.receive_data(replies[start : start + self._step])
                self._checkpoint = self.session.checkpoint
            except LinkError:
                self._checkpoint = self.session.checkpoint
                self.flow.window.recover(self._checkpoint, same_server_run=True)
                self.connect()


def items() -> Iterator[list[Item]]:
    """Yield what a source gives, turn by turn: a snapshot, commands, faults, a flush."""
    stream = Stream()
    keys = Entries(3, [b"s", b"text"], [b"r", payload(0, string(b"raw"), 6)], [], [])
    yield [
        SnapshotStart("snapshot", REPLID, stream.offset, flush=True),
        SnapshotKeys("snapshot", 1, keys),
        SnapshotFinish(REPLID, stream.offset, 0),
    ]
    yield [stream.batch(("SET", "a", 1), ("INCR", "a")), stream.batch(("INCR", "n"), database=3)]
    yield [stream.batch(("LPUSH", "a", 1), ("INCR", "a")), stream.ping()]
    yield [stream.batch(("INCR", "a"), ("NOSUCH", "k"), ("RPUSH", "l", "x"))]
    yield [stream.batch(("FLUSHALL",), records=RecordsWiped(None)), stream.batch(("SET", "after", 1))]


@pytest.mark.parametrize("step", [1 << 16, 1])
def test_a_session_applies_all_on_both_targets(step: int, exchange: Exchange) -> None:
    """Snapshot, transactions, rejected commands and a flush: the same checkpoint, rejections and keys."""
    conversation = Conversation(exchange, step)
    for turn in items():
        conversation.run(*turn)

    checkpoint = conversation.session.checkpoint
    assert (checkpoint.phase, checkpoint.offset, checkpoint.confirmed) == ("stream", *[checkpoint.offset] * 2)
    assert [rejection.command for rejection in conversation.rejections] == ["LPUSH", "NOSUCH"]
    assert checkpoint.rejected == 2
    assert exchange(encode("EXISTS", "after", "a", "l")) == b":1\r\n"


def test_the_scripted_target_repeats_a_recorded_conversation(target: Server) -> None:
    """What sessions sent to the real server gets the same replies from the scripted one, wherever it is cut."""
    with at_server(target) as exchange:
        conversation = Conversation(exchange)
        for turn in items():
            conversation.run(*turn)

    requests, replies = b"".join(conversation.sent), b"".join(conversation.reported)
    scripted = ScriptedTarget()
    assert [scripted.send(data) for data in conversation.sent] == conversation.reported
    for step in (1, 7, 100):
        ends = [*range(0, len(requests), step), len(requests)]
        scripted = ScriptedTarget()
        assert b"".join(scripted.send(requests[one:other]) for one, other in pairwise(ends)) == replies
    record = target.client().hgetall("shaker:checkpoint:default")
    assert scripted.data[0][b"shaker:checkpoint:default"] == record
