"""The table of transitions is whole, nothing happens beside it, and garbage raises only our errors."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaker.codec.resp.replies import encode
from shaker.errors import CorruptError, LinkError, RefusedError, ServerBusyError, ShakerError
from shaker.model.batch import Continued, FullSync, Introduced, SnapshotEnd, SnapshotLoss, SnapshotSize
from shaker.model.server_info import ServerInfo
from shaker.psync.handshake_states import TRANSITIONS, Input, ReplicaState
from shaker.psync.session import MAX_INFO, MAX_LINE, ReplicaSession, refusal
from shaker.rules.chain import Chain
from shaker.rules.command_table import CommandTable
from tests.support.outcome import applied, keys_of, others
from tests.support.rdb_bytes import length, rdb, string
from tests.support.splits import cut, every_cut
from tests.support.strategies import damaged

S, I = ReplicaState, Input  # noqa: E741 - as in the table
REPLID, OTHER = "e" * 40, "F0" * 20
MARK = b"0123456789abcdef" * 2 + b"01234567"
AUX = b"\xfa" + string(b"repl-stream-db") + string(b"6")
RDB = rdb(AUX + b"\xfe\x02\x00" + string(b"key") + string(b"value"))
STREAM = encode("INCR", "a") + encode("PING")

# What comes over the wire for an input.
LINES = {
    I.OK: b"+OK\r\n",
    I.INFO: b"$9\r\nrole:x\r\n\r\n\r\n",
    I.FULLRESYNC: b"+FULLRESYNC %b 100\r\n" % REPLID.encode(),
    I.CONTINUE: b"+CONTINUE %b\r\n" % OTHER.encode(),
    I.SIZED: b"$%d\r\n" % len(RDB),
    I.MARKED: b"$EOF:" + MARK + b"\r\n",
}
# How each state is reached.
PATHS: dict[ReplicaState, list[Input | bytes]] = {
    S.NEW: [],
    S.AUTHENTICATING: [I.START_WITH_PASSWORD],
    S.INSPECTING: [I.START],
    S.ANNOUNCING: [I.START, I.INFO],
    S.OFFERING: [I.START_WITH_PASSWORD, I.OK, I.INFO, I.OK],
    S.READY: [I.START, I.INFO, I.OK, I.OK],
    S.REQUESTING: [I.START, I.INFO, I.OK, I.OK, I.REQUEST],
    S.PREPARING: [I.START, I.INFO, I.OK, I.OK, I.REQUEST, I.FULLRESYNC],
    S.LOADING: [I.START, I.INFO, I.OK, I.OK, I.REQUEST, I.FULLRESYNC, I.SIZED],
    S.MARK: [I.START, I.INFO, I.OK, I.OK, I.REQUEST, I.FULLRESYNC, I.MARKED, RDB],
    S.STREAMING: [I.START, I.INFO, I.OK, I.OK, I.REQUEST, I.CONTINUE],
}


def session(*, password: str | None = None, max_value: int = 1_000_000) -> ReplicaSession:
    """A new session."""
    return ReplicaSession(username=None, password=password, max_value=max_value)


def do(found: ReplicaSession, step: Input | bytes) -> list[object]:
    """Make an input happen, or feed bytes."""
    if step in (I.START, I.START_WITH_PASSWORD):
        found.start()
        return []
    if step is I.REQUEST:
        found.request(REPLID, 500, 9, chain=Chain(CommandTable({})))
        return []
    return [*found.receive_data(step if isinstance(step, bytes) else LINES[step])]


def reach(state: ReplicaState) -> ReplicaSession:
    """A session in `state`."""
    path = PATHS[state]
    found = session(password="secret" if I.START_WITH_PASSWORD in path else None)
    for step in path:
        do(found, step)
    assert found.state is state
    return found


def test_every_state_is_reachable() -> None:
    """From NEW the table leads to all states, by all inputs, and each ends in the stream."""
    reached = {S.NEW}
    while more := {after for (state, _), after in TRANSITIONS.items() if state in reached} - reached:
        reached |= more
    assert reached == set(ReplicaState) == set(PATHS)
    assert {happened for _, happened in TRANSITIONS} == set(Input)
    assert {state for state, _ in TRANSITIONS} == set(ReplicaState) - {S.STREAMING}


@pytest.mark.parametrize("happened", list(Input))
@pytest.mark.parametrize("state", list(ReplicaState))
def test_what_has_no_row_raises(state: ReplicaState, happened: Input) -> None:
    """Each state takes the inputs of its rows, and stays where it is for all others."""
    found = session()
    found.state = state
    if (state, happened) in TRANSITIONS:
        found._move(happened)
        assert found.state is TRANSITIONS[state, happened]
    else:
        with pytest.raises(CorruptError, match=state.value):
            found._move(happened)
        assert found.state is state


# How a session starts depends on its password, and INFO's reply begins like the header of a snapshot.
BY_BYTES = [
    (state, happened)
    for state in ReplicaState
    for happened in Input
    if happened not in (I.END, I.END_MARKED)
    and (state, happened) not in ((S.NEW, I.START), (S.NEW, I.START_WITH_PASSWORD), (S.INSPECTING, I.SIZED))
]


@pytest.mark.parametrize(("state", "happened"), BY_BYTES)
def test_inputs_by_their_bytes(state: ReplicaState, happened: Input) -> None:
    """What comes where the table has no row for it is refused; nothing else changes the state."""
    found = reach(state)
    if (state, happened) in TRANSITIONS:
        do(found, happened)
        assert found.state is TRANSITIONS[state, happened]
    else:
        line = LINES.get(happened)
        # In front of a snapshot's body too few bytes only wait for more.
        step = line + bytes(len(RDB)) if line is not None and state is S.LOADING else happened
        with pytest.raises(ShakerError):
            do(found, step)


def test_start_depends_on_the_password() -> None:
    """With a password the conversation begins by AUTH, without one by INFO; an empty password is one."""
    for password, state, sent in (
        (None, S.INSPECTING, encode("INFO")),
        ("", S.AUTHENTICATING, encode("AUTH", "")),
        ("p", S.AUTHENTICATING, encode("AUTH", "p")),
    ):
        found = session(password=password)
        found.start()
        assert (found.state, found.data_to_send(), found.data_to_send()) == (state, sent, b"")


def test_request_for_a_snapshot_or_the_stream() -> None:
    """PSYNC names the byte behind the offset, or asks for a snapshot."""
    for replid, offset, sent in ((REPLID, 41, encode("PSYNC", REPLID, 42)), (None, 41, encode("PSYNC", "?", "-1"))):
        found = reach(S.READY)
        found.data_to_send()
        found.request(replid, offset, 0, chain=Chain(CommandTable({})))
        assert found.data_to_send() == sent


CONVERSATIONS = {
    "continue": (b"+CONTINUE\r\n" + STREAM, [Continued(REPLID)], 500, 9, {}),
    "continue, new id": (b"+CONTINUE " + OTHER.encode() + b"\r\n" + STREAM, [Continued(OTHER)], 500, 9, {}),
    "continue, blanks": (b"+CONTINUE \r\n" + STREAM, [Continued(REPLID)], 500, 9, {}),
    "sized": (
        LINES[I.FULLRESYNC] + LINES[I.SIZED] + RDB + STREAM,
        [FullSync(REPLID, 100), SnapshotSize(len(RDB)), SnapshotEnd(REPLID, 100, 6)],
        100,
        6,
        {(2, b"key")},
    ),
    "marked": (
        LINES[I.FULLRESYNC] + LINES[I.MARKED] + RDB + MARK + STREAM,
        [FullSync(REPLID, 100), SnapshotSize(0), SnapshotEnd(REPLID, 100, 6)],
        100,
        6,
        {(2, b"key")},
    ),
    "newlines": (
        b"\n\n" + LINES[I.FULLRESYNC] + b"\n\r\n\n" + LINES[I.MARKED] + RDB + MARK + STREAM,
        [FullSync(REPLID, 100), SnapshotSize(0), SnapshotEnd(REPLID, 100, 6)],
        100,
        6,
        {(2, b"key")},
    ),
    # The database selected where the request stood is that of another history.
    "no database in the snapshot": (
        LINES[I.FULLRESYNC] + LINES[I.MARKED] + rdb(b"") + MARK + STREAM,
        [FullSync(REPLID, 100), SnapshotSize(0), SnapshotEnd(REPLID, 100, 0)],
        100,
        0,
        {},
    ),
}


@pytest.mark.parametrize("case", CONVERSATIONS)
def test_every_cut(case: str) -> None:
    """Answer, snapshot and stream, for every cut: the same events, keys, commands, database and offset."""
    answer, expected, offset, database, keys = CONVERSATIONS[case]
    for pieces in every_cut(answer, random_cuts=20):
        found = reach(S.REQUESTING)
        events = [event for piece in pieces for event in found.receive_data(piece)]
        assert others(events) == expected
        assert set(keys_of(events)) == set(keys)
        stream = applied(events)
        assert stream.commands == [(database, [b"INCR", b"a"])]
        assert stream.offset == found.received_offset == offset + len(STREAM)
        assert found.state is S.STREAMING


def test_no_offset_before_the_stream() -> None:
    """There is no received offset before the stream begins, and then it is the one asked for."""
    found = reach(S.REQUESTING)
    assert (found.received_offset, found.snapshot_bytes) == (None, 0)
    found.receive_data(b"+CONTINUE\r\n")
    assert found.received_offset == 500


def test_handshake_events() -> None:
    """INFO comes as fields once the handshake is over."""
    found = session()
    found.start()
    info = b"# Server\r\nredis_version:7.0.15\r\nexecutable:/usr/bin/a:b\r\n\r\nrun_id:x\r\n"
    data = b"$%d\r\n%b\r\n+OK\r\n+OK\r\n" % (len(info), info)
    for pieces in every_cut(data):
        found = session()
        found.start()
        events = [event for piece in pieces for event in found.receive_data(piece)]
        assert events == [Introduced(ServerInfo(version="7.0.15", release=(7, 0), run_id="x"))]
        assert found.state is S.READY


@pytest.mark.parametrize(
    "end",
    [
        b"\x00" + string(b"key") + length(1000) + b"value",  # in a value
        b"\x00" + string(b"key") + b"\x80\x00",  # in the length of a value
        b"\x00" + length(1000) + b"key",
        b"\xff" + bytes(7),
        b"\xfa",
        b"",
    ],
)
def test_snapshot_that_asks_for_more_than_was_announced(end: bytes) -> None:
    """A length that was damaged is noticed where the snapshot ends, not when the stream has fed it."""
    data = b"REDIS0011" + end
    for pieces in every_cut(data):
        found = reach(S.PREPARING)
        found.receive_data(b"$%d\r\n" % len(data))
        for piece in pieces[:-1]:
            found.receive_data(piece)
        with pytest.raises(CorruptError, match=f"does not end within the {len(data)} bytes"):
            found.receive_data(pieces[-1])


@pytest.mark.parametrize("by", [-1, 1])
def test_snapshot_of_another_length(by: int) -> None:
    """Announced and read length must be the same."""
    for pieces in every_cut(RDB + STREAM):
        found = reach(S.PREPARING)
        found.receive_data(b"$%d\r\n" % (len(RDB) + by))
        with pytest.raises(CorruptError, match=str(len(RDB) + by)):
            [found.receive_data(piece) for piece in pieces]


def test_data_of_modules_is_reported() -> None:
    """Data of a module beside the keys cannot be carried: they are told by the module's name."""
    number = int.from_bytes(b"\x20\x00\x00\x00\x00\x00\x04\x01", "big")
    body = b"\xf7" + length(number) + b"\x02\x01" + b"\x00"
    found = reach(S.PREPARING)
    events = found.receive_data(LINES[I.MARKED] + rdb(body) + MARK)
    [loss] = [event for event in events if isinstance(event, SnapshotLoss)]
    assert (loss.kind, len(loss.name)) == ("MODULE AUX", 9)


@pytest.mark.parametrize("value", [b"x", b"-1", b"12345678901"])
def test_no_database_number(value: bytes) -> None:
    """A database that cannot be one is not guessed at."""
    found = reach(S.PREPARING)
    aux = b"\xfa" + string(b"repl-stream-db") + string(value)
    with pytest.raises(CorruptError, match="repl-stream-db"):
        found.receive_data(LINES[I.MARKED] + rdb(aux) + MARK)


@pytest.mark.parametrize(
    ("text", "error", "kind"),
    [
        ("LOADING Redis is loading", ServerBusyError, "loading"),
        ("MASTERDOWN Link with MASTER is down", ServerBusyError, "masterdown"),
        ("NOMASTERLINK Can't SYNC", ServerBusyError, "nomasterlink"),
        ("BUSY a script runs", ServerBusyError, "busy"),
        ("ERR something new", ServerBusyError, "refused"),
        ("", ServerBusyError, "refused"),
    ],
)
def test_refusals_are_waited_for(text: str, error: type[LinkError], kind: str) -> None:
    """What a source refuses for now is tried again, named by its code, with what was tried."""
    for state in (S.INSPECTING, S.ANNOUNCING, S.OFFERING, S.REQUESTING, S.PREPARING):
        found = reach(state)
        with pytest.raises(error, match=f"while {state.value}: {text}") as caught:
            found.receive_data(b"-" + text.encode() + b"\r\n")
        assert (caught.value.kind, caught.value.retry) == (kind, True)
    assert "SHAKER_TARGET__PASSWORD" in str(refusal("target", "NOAUTH", "x"))


def test_endless_lines_are_refused() -> None:
    """What has no end is not gathered for ever: neither a line nor an INFO."""
    found = reach(S.REQUESTING)
    found.receive_data(b"+" + b"x" * (MAX_LINE - 1))
    with pytest.raises(CorruptError, match=str(MAX_LINE)):
        found.receive_data(b"xx")
    for size in (0, MAX_INFO + 1, 10**18, 10**30):
        with pytest.raises(LinkError):
            reach(S.INSPECTING).receive_data(b"$%d\r\n" % size)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n", b"SSH-2.0-OpenSSH\r\n", b"\x15\x03\x01\x00\n"])
def test_something_else_than_a_redis(answer: bytes) -> None:
    """Another kind of server is told as such, with the setting to look at."""
    with pytest.raises(LinkError, match="SHAKER_SOURCE__URL") as caught:
        reach(S.INSPECTING).receive_data(answer)
    assert caught.value.kind == "protocol"


HANDSHAKE = LINES[I.INFO] + LINES[I.OK] * 2


def play(handshake: list[bytes], answer: list[bytes]) -> None:
    """Hold a whole conversation; ours are the only errors that may end it."""
    found = session(max_value=10_000)
    found.start()
    events: list[object] = []
    for piece in handshake:
        events += found.receive_data(piece)
    if found.state is S.READY:
        found.request(REPLID, 500, 9, chain=Chain(CommandTable({})))
        for piece in answer:
            events += found.receive_data(piece)
    assert all(isinstance(event, tuple) for event in events)


lines = st.sampled_from(
    [*LINES.values(), b"\n", b"-ERR no\r\n", b"$-1\r\n", b"$\r\n", b"$EOF:\r\n", b"+FULLRESYNC\r\n"]
)
mixtures = st.lists(st.one_of(lines, st.binary(max_size=30)), max_size=6).map(b"".join)
answers = st.sampled_from([answer for answer, *_ in CONVERSATIONS.values()]).flatmap(damaged)


@given(
    st.one_of(mixtures, damaged(HANDSHAKE)), st.one_of(mixtures, answers), st.lists(st.integers(0, 300), max_size=4)
)
@settings(max_examples=300, deadline=None)
def test_garbage_raises_only_our_errors(handshake: bytes, answer: bytes, cuts: list[int]) -> None:
    """Lines in any order, damaged answers, noise: events or errors of ours, for any cut."""
    for begin in (handshake, HANDSHAKE):
        try:
            play(cut(begin, cuts), cut(answer, cuts))
        except RefusedError as error:  # nothing here is a matter of settings
            raise AssertionError from error
        except ShakerError:
            pass


@given(st.one_of(mixtures, answers))
@settings(max_examples=100, deadline=None)
def test_garbage_fails_alike_for_every_cut(answer: bytes) -> None:
    """Whether an answer is taken does not depend on how it is cut."""
    outcomes: list[object] = []
    for pieces in ([answer], cut(answer, list(range(len(answer))))):
        found = reach(S.REQUESTING)
        try:
            for piece in pieces:
                found.receive_data(piece)
            outcomes.append((found.state, found.received_offset))
        except ShakerError:
            outcomes.append((None, None))
    assert outcomes[0] == outcomes[1]
