"""The stream cut at every one of its offsets: clean exactly where a barrier may hold the target."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.model.batch import BarrierReached, Batch, Event
from shaker.psync.divided import LONGEST_END
from shaker.psync.handshake_states import ReplicaState
from shaker.psync.session import ReplicaSession
from shaker.rules.chain import Chain
from shaker.rules.command_table import CommandTable
from tests.support.outcome import applied, requests
from tests.support.psync_driver import MAX_VALUE, Conversation
from tests.support.servers import DEFAULT, NAMES, Server

Tables = Callable[[str], CommandTable]


class Recorded:
    """A stream that a real source sent: where it begins, its bytes, and what is asked for."""

    def __init__(self, server: Server, table: CommandTable) -> None:
        client = server.client()
        with Conversation(server, table) as first:
            first.sync().catch_up(server)
            self.begin = first.session.received_offset or 0
            self.replid = server.info()["master_replid"]
            client.set("a", "\r\n*1\r\n$4\r\nEXEC\r\n")
            with client.pipeline(transaction=True) as pipeline:
                pipeline.incr("n").incr("n").rpush("l", "x" * 40)
                pipeline.execute()
            server.client(db=3).set("other", 1)
            client.eval("redis.call('INCR', 'n') redis.call('INCR', 'n')", 0)
            client.wait(1, 1)  # asks for an acknowledgement within the stream
            client.execute_command("SWAPDB", 1, 2)
            client.delete("a")
        self.end = server.offset()
        with Conversation(server, table) as second:
            second.introduce()
            second.request(self.replid, self.begin)
            second.catch_up(server)
            self.recording = second.recording()
        line, self.stream = self.recording.answer.split(b"\r\n", 1)
        self.answer = line + b"\r\n"
        self.stream = self.stream[: self.end - self.begin]

    def session(self, pass_above: int | None = None) -> ReplicaSession:
        """Return a session that has read up to the beginning of the stream."""
        session = ReplicaSession(username=None, password=None, max_value=MAX_VALUE, pass_above=pass_above)
        session.start()
        session.receive_data(self.recording.handshake)
        session.request(self.replid, self.begin, 0, chain=Chain(self.recording.table))
        session.receive_data(self.answer)
        assert session.state is ReplicaState.STREAMING
        return session

    def boundaries(self) -> set[int]:
        """Return the offsets between two commands outside of transactions, found by another reader."""
        found, inside, end = {self.begin}, False, 0
        for size in range(1, len(self.stream) + 1):
            try:
                (command,) = requests(self.stream[end:size])
            except (AssertionError, ValueError):
                continue
            end = size
            inside = (inside or command[0].upper() == b"MULTI") and command[0].upper() != b"EXEC"
            if not inside:
                found.add(self.begin + end)
        assert end == len(self.stream)
        return found


@pytest.fixture(scope="module")
def record(table: Tables) -> Callable[[str], Recorded]:
    """A function from a server's name to the stream recorded from it."""
    made: dict[str, Recorded] = {}

    def get(name: str) -> Recorded:
        if name not in made:
            with Server(name) as server:
                made[name] = Recorded(server, table(name))
        return made[name]

    return get


def check(events: list[Event], offset: int) -> BarrierReached:
    """Return the one cut among `events`: all before it ends at or before its offset, all behind it behind."""
    (cut,) = (event for event in events if isinstance(event, BarrierReached))
    at = events.index(cut)
    assert cut.wanted == offset
    assert offset <= cut.offset <= offset + LONGEST_END
    assert all(event.end_offset <= cut.offset for event in events[:at] if isinstance(event, Batch))
    assert all(
        event.end_offset > cut.offset for event in events[at:] if isinstance(event, Batch) and not event.more
    )
    return cut


@pytest.mark.parametrize("pass_above", [None, 8], ids=["held whole", "in pieces"])
@pytest.mark.parametrize("name", NAMES)
def test_every_offset(name: str, pass_above: int | None, record: Callable[[str], Recorded]) -> None:
    """Clean at boundaries outside of transactions and nowhere else; the same commands whatever the cut."""
    recorded = record(name)
    boundaries = recorded.boundaries()
    whole = recorded.session().receive_data(recorded.stream)
    clean = set()
    for offset in range(recorded.begin, recorded.end + 1):
        session = recorded.session(pass_above)
        events = session.cut(offset) + session.receive_data(recorded.stream)
        cut = check(events, offset)
        if cut.clean:
            clean.add(cut.offset)
            # Everything up to the offset was given out before: the target can be held there.
            ends = [event.end_offset for event in events[: events.index(cut)] if isinstance(event, Batch)]
            assert cut.offset == recorded.begin or ends[-1] == cut.offset
        assert cut.clean == (cut.offset in boundaries)
        if pass_above is None:
            assert applied(events) == applied(whole)
    assert clean == boundaries
    assert len(boundaries) >= 7
    assert recorded.end - recorded.begin > 400


@pytest.mark.parametrize("size", [1, 3, 64])
def test_every_offset_whatever_is_read_at_once(size: int, record: Callable[[str], Recorded]) -> None:
    """The cut comes with the read that brings its offset, and a new one can follow at once."""
    recorded = record(DEFAULT)
    boundaries = recorded.boundaries()
    session = recorded.session()
    events: list[Event] = []
    at = recorded.begin
    for start in range(0, len(recorded.stream), size):
        piece = recorded.stream[start : start + size]
        offset = at + (start * 7) % (len(piece) + 1)  # anywhere in what comes next, its ends too
        found = session.cut(offset)
        found += session.receive_data(piece)
        cuts = [event for event in found if isinstance(event, BarrierReached)]
        if cuts:  # else it waits for the EXEC, and the next one takes its place
            cut = check(found, offset)
            assert cut.clean == (cut.offset in boundaries)
        events += found
        at += len(piece)
    assert applied(events) == applied(recorded.session().receive_data(recorded.stream))


def test_a_cut_ahead_waits(record: Callable[[str], Recorded]) -> None:
    """Nothing is told before its offset has come; a second cut takes the place of the first."""
    recorded = record(DEFAULT)
    session = recorded.session()
    assert session.cut(recorded.end) == []
    assert session.cut(recorded.end - 1) == []
    events = session.receive_data(recorded.stream[:-2])
    assert not any(isinstance(event, BarrierReached) for event in events)
    check(session.receive_data(recorded.stream[-2:]), recorded.end - 1)


def test_a_cut_here_comes_at_once(record: Callable[[str], Recorded]) -> None:
    """Where the stream stands, with nothing more to come."""
    recorded = record(DEFAULT)
    session = recorded.session()
    assert session.cut(recorded.begin) == [BarrierReached(recorded.begin, recorded.begin, clean=True)]
    session.receive_data(recorded.stream)
    assert session.cut(recorded.end) == [BarrierReached(recorded.end, recorded.end, clean=True)]
    # One byte of the next command has come: the target cannot be held between the bytes.
    session.receive_data(b"*")
    assert session.cut(recorded.end + 1) == [BarrierReached(recorded.end + 1, recorded.end + 1, clean=False)]


def test_a_cut_that_was_passed_is_not_clean(record: Callable[[str], Recorded]) -> None:
    """Every offset behind the stream's place, boundary or not."""
    recorded = record(DEFAULT)
    session = recorded.session()
    session.receive_data(recorded.stream)
    for offset in range(recorded.begin, recorded.end):
        assert session.cut(offset) == [BarrierReached(offset, offset, clean=False)]


def test_before_the_stream_nothing_can_be_cut(record: Callable[[str], Recorded]) -> None:
    """At once, so that nobody waits."""
    recorded = record(DEFAULT)
    session = ReplicaSession(username=None, password=None, max_value=MAX_VALUE)
    session.start()
    session.receive_data(recorded.recording.handshake)
    assert session.cut(recorded.end) == [BarrierReached(recorded.end, recorded.end, clean=False)]
    session.request(recorded.replid, recorded.begin, 0, chain=Chain(recorded.recording.table))
    events = session.receive_data(recorded.answer + recorded.stream)
    assert not any(isinstance(event, BarrierReached) for event in events)
