"""Ten thousand damaged conversations of real sources: each is refused or means something, and costs no memory."""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from shaker.commands.sample import Load, seed
from shaker.errors import ShakerError
from shaker.model.batch import Event, SnapshotEnd
from shaker.psync.session import ReplicaSession
from shaker.rules.chain import Chain
from shaker.rules.command_table import CommandTable
from tests.security.damage import cuts, damage
from tests.support.psync_driver import Conversation, Recording
from tests.support.servers import NAMES, Server

ROUNDS = 1700  # for each of six servers: 10,200 in all
PASS_ABOVE = 64 * 1024
MAX_VALUE = 1024 * 1024
# What a session may take for conversations of 50 kB, of which it holds one value.
MEMORY = 6 * 1024 * 1024
SECONDS = 5.0


@pytest.fixture(scope="module", params=NAMES)
def recording(request: pytest.FixtureRequest) -> Iterator[Recording]:
    """Snapshot and stream of a source that has keys of every type."""
    with Server(request.param) as server:
        client = server.client()
        seed(client, 100)
        client.set("long", "x" * 5000)
        client.zadd("scores", {f"member:{number}": number / 7 for number in range(200)})
        client.hset("fields", mapping={f"field:{number}": "y" * 70 for number in range(20)})
        if request.param in ("redis-8.0", "valkey-9.1"):
            client.execute_command("HPEXPIREAT", "fields", 4102444800000, "FIELDS", 1, "field:3")
        if request.param != "redis-6.2":
            client.function_load("#!lua name=one\nredis.register_function('one', function() return 1 end)")
        table = CommandTable.from_reply(_command(server))
        with Conversation(server, table) as conversation:
            conversation.sync()
            with Load(client, rate=500) as load:
                conversation.read_until(lambda: load.operations > 50)
            conversation.catch_up(server)
            yield conversation.recording()


def _command(server: Server) -> list[object]:
    client = server.client(protocol=2)
    client.response_callbacks.clear()
    found: list[object] = client.execute_command("COMMAND")
    return found


def feed(recording: Recording, handshake: bytes, answer: bytes, draw: random.Random) -> list[Event]:
    """Feed a conversation in a few pieces; return the events before its end or the first error."""
    session = ReplicaSession(username=None, password=None, max_value=MAX_VALUE, pass_above=PASS_ABOVE)
    session.start()
    events: list[Event] = []
    try:
        for piece in cuts(handshake, draw):
            events += session.receive_data(piece)
        session.request(None, 0, 0, chain=Chain(recording.table))
        for piece in cuts(answer, draw):
            events += session.receive_data(piece)
    except ShakerError as error:
        what = str(error)
    else:
        what = ""
    assert len(what) < 2000, "an error repeats what it was sent"
    return events


def bounded(
    recording: Recording, change: Callable[[random.Random], tuple[bytes, bytes]], number: int
) -> list[Event]:
    """Feed one damaged conversation; return its events once memory and time are known to be in bounds."""
    draw = random.Random(number)
    handshake, answer = change(draw)
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    began = time.process_time()
    events = feed(recording, handshake, answer, draw)
    assert time.process_time() - began < SECONDS, f"seed {number}"
    _, peak = tracemalloc.get_traced_memory()
    assert peak - before < MEMORY, f"seed {number}"
    return events


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
@pytest.mark.timeout(240)
def test_damaged_conversations(recording: Recording) -> None:
    whole = feed(recording, recording.handshake, recording.answer, random.Random(0))
    assert any(isinstance(event, SnapshotEnd) for event in whole)
    begin = recording.answer.index(b"$EOF:") + 47  # the line with its mark, 40 bytes
    mark = recording.answer[begin - 42 : begin - 2]
    end = recording.answer.index(mark, begin)
    parts = {
        # A snapshot with anything changed in it is never taken for whole: its checksum notices.
        "snapshot": lambda draw: (
            recording.handshake,
            recording.answer[:begin] + damage(recording.answer[begin:end], draw) + recording.answer[end:],
        ),
        "answer": lambda draw: (recording.handshake, damage(recording.answer, draw)),
        "stream": lambda draw: (
            recording.handshake,
            recording.answer[: end + 40] + damage(recording.answer[end + 40 :], draw),
        ),
        "handshake": lambda draw: (damage(recording.handshake, draw), recording.answer),
    }
    taken = 0
    for number in range(ROUNDS):
        name = ("snapshot", "snapshot", "answer", "stream", "stream", "handshake")[number % 6]
        events = bounded(recording, parts[name], number)
        loaded = any(isinstance(event, SnapshotEnd) for event in events)
        assert not (loaded and name == "snapshot"), f"seed {number}: a damaged snapshot was taken"
        taken += loaded
    # Else the damage would reach no further than the first bytes.
    assert taken > ROUNDS / 20
