"""Conversations with real sources of every version, and what they sent fed again with every cut."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import redis

from shaker.codec.resp.replies import encode
from shaker.errors import ServerBusyError
from shaker.model.batch import (
    Batch,
    Continued,
    FullSync,
    Introduced,
    KeyCount,
    SnapshotEnd,
    SnapshotLibrary,
    SnapshotSize,
)
from shaker.model.entries import Entries
from shaker.psync.handshake_states import ReplicaState
from shaker.rules.restore import restore_requests
from tests.rules.conftest import exchange
from tests.support import oracle
from tests.support.outcome import applied, keys_of, others
from tests.support.psync_driver import Conversation, Pieces, single_bytes, whole
from tests.support.servers import DEFAULT, NAMES, Server

FAR = 4102444800123  # an expiry of 2100, in milliseconds
LIBRARY = b"#!lua name=lib\nredis.register_function('answer', function() return 42 end)\n"
S = ReplicaState
Talk = Callable[..., Conversation]


def fill(server: Server) -> redis.Redis:
    """Give the server keys in two databases, and a function library where it knows them."""
    client = server.client()
    client.mset({b"key:%d" % number: b"value:%d" % number for number in range(50)})
    client.set("expiring", "v")
    client.pexpireat("expiring", FAR)
    client.rpush("list", *range(100))
    server.client(db=3).set("other", "\r\n")
    if server.name != "redis-6.2":
        client.execute_command("FUNCTION", "FLUSH")
        client.execute_command("FUNCTION", "LOAD", LIBRARY)
    return client


@pytest.mark.parametrize("pieces", [whole, single_bytes])
@pytest.mark.parametrize("diskless", ["yes", "no"])
@pytest.mark.parametrize("name", NAMES)
def test_full_sync(name: str, diskless: str, pieces: Pieces, shared: Callable[[str], Server], talk: Talk) -> None:
    """Snapshot by $EOF or by $<length>, then the stream: every key once, the offset that of the source."""
    server = shared(name)
    client = fill(server)
    client.config_set("repl-diskless-sync", diskless)
    conversation = talk(server, pieces=pieces).sync()
    with client.pipeline() as pipeline:
        pipeline.set("a", 1).execute_command("INCR", "b")
        pipeline.execute()
    server.client(db=3).delete("other")
    conversation.catch_up(server)

    events = conversation.events
    replid = client.info("replication")["master_replid"]
    assert [
        type(event) for event in events if isinstance(event, Introduced | FullSync | SnapshotSize | SnapshotEnd)
    ] == [
        Introduced,
        FullSync,
        SnapshotSize,
        SnapshotEnd,
    ]
    [full_sync] = [event for event in events if isinstance(event, FullSync)]
    assert full_sync.replid == replid
    [end] = [event for event in events if isinstance(event, SnapshotEnd)]
    assert (end.replid, end.offset) == (replid, full_sync.offset)
    sized = diskless == "no"
    assert SnapshotSize(conversation.session.snapshot_bytes if sized else 0) in events
    assert conversation.session.snapshot_bytes > 500
    assert sum(event.keys for event in events if isinstance(event, KeyCount)) == 53
    keys = keys_of(events)
    names = {(0, b"key:%d" % number) for number in range(50)} | {(0, b"expiring"), (0, b"list"), (3, b"other")}
    assert set(keys) == names
    assert keys[0, b"list"].payload[:-10] == client.dump("list")[:-10]  # but for version and checksum
    assert {place: entry.expires_at_ms for place, entry in keys.items() if entry.expires_at_ms != -1} == {
        (0, b"expiring"): FAR
    }
    libraries = [event for event in events if isinstance(event, SnapshotLibrary)]
    assert libraries == ([] if name == "redis-6.2" else [SnapshotLibrary(LIBRARY)])
    stream = applied(events)
    assert [(database, [word.upper() for word in words]) for database, words in stream.commands] == [
        (0, [b"SET", b"A", b"1"]),
        (0, [b"INCR", b"B"]),
        (3, [b"DEL", b"OTHER"]),
    ]
    assert stream.offset == conversation.session.received_offset == server.offset()
    if pieces is single_bytes:
        between = [] if sized else [S.MARK]
        assert conversation.states == [
            *(S.NEW, S.INSPECTING, S.ANNOUNCING, S.OFFERING, S.READY, S.REQUESTING, S.PREPARING, S.LOADING),
            *between,
            S.STREAMING,
        ]


@pytest.mark.parametrize("name", NAMES)
def test_what_the_source_is_told(name: str, shared: Callable[[str], Server], talk: Talk) -> None:
    """The handshake asks who the source is, and announces port 0, where nobody finds a server to promote.

    A Valkey is told which version's snapshots are understood, Redis knows no such option.
    """
    server = shared(name)
    conversation = talk(server)
    info = conversation.introduce()
    assert info.run_id == server.client().info("server")["run_id"]
    assert info.replication.role == "master"
    conversation.request()
    conversation.read_until(lambda: conversation.session.state is S.STREAMING)
    version = ["version", "9.0.0"] if name.startswith("valkey") else []
    assert conversation.sent == [
        encode("INFO"),
        encode("REPLCONF", "listening-port", "0"),
        encode("REPLCONF", "capa", "eof", "capa", "psync2", *version),
        encode("PSYNC", "?", "-1"),
    ]
    # The conversations of other tests may not have been noticed as ended yet.
    replicas = [
        value for key, value in server.info().items() if key.startswith("slave") and isinstance(value, dict)
    ]
    assert replicas
    assert {replica["port"] for replica in replicas} == {0}


class TestGoingOn:
    """PSYNC with an offset."""

    @pytest.mark.parametrize("pieces", [whole, single_bytes])
    @pytest.mark.parametrize("name", NAMES)
    def test_continue(self, name: str, pieces: Pieces, shared: Callable[[str], Server], talk: Talk) -> None:
        """A source goes on behind the offset, in the database that was selected there, without saying so."""
        server = shared(name)
        client = server.client(db=3)
        with talk(server) as before:
            before.sync()
            client.set("a", 1)
            before.catch_up(server)
            client.set("b", 2)
            at = applied(before.events)
        replid = server.info()["master_replid"]
        assert at.database == 3
        assert at.offset is not None

        conversation = talk(server, pieces=pieces).sync(replid, at.offset, 3).catch_up(server)

        assert conversation.sent[-1] == encode("PSYNC", replid, at.offset + 1)
        assert others(conversation.events)[1:] == [Continued(replid)]
        assert S.PREPARING not in conversation.states
        again = applied(conversation.events)
        assert again.commands == [(3, [b"SET", b"b", b"2"])]
        assert again.offset == server.offset()

    @pytest.mark.parametrize("name", NAMES)
    def test_nothing_missed(self, name: str, shared: Callable[[str], Server], talk: Talk) -> None:
        """Asked at its very end, a source goes on with what comes next."""
        server = shared(name)
        with talk(server) as before:
            before.sync().catch_up(server)
        replid, offset = server.info()["master_replid"], server.offset()
        conversation = talk(server).sync(replid, offset)
        assert conversation.session.received_offset == offset
        server.client().set("next", 1)
        conversation.catch_up(server)
        assert applied(conversation.events).commands == [(0, [b"SET", b"next", b"1"])]

    @pytest.mark.parametrize("name", NAMES)
    def test_continue_with_a_new_id(self, name: str, server: Callable[..., Server], talk: Talk) -> None:
        """A promoted replica goes on with the history of its primary under an id of its own."""
        primary, replica = server(name), server(name)
        replica.replicate(primary)
        with talk(primary) as before:
            before.sync()
            primary.client(db=2).set("a", 1)
            before.catch_up(primary)
            at = applied(before.events)
        assert at.offset is not None
        replica.wait_replica(primary)
        old = primary.info()["master_replid"]
        replica.detach()
        replica.client(db=2).set("b", 2)
        new = replica.info()["master_replid"]
        assert new != old

        conversation = talk(replica).sync(old, at.offset, 2).catch_up(replica)

        assert others(conversation.events)[1:] == [Continued(new)]
        found = applied(conversation.events)
        assert found.commands == [(2, [b"SET", b"b", b"2"])]
        assert found.offset == replica.offset()
        recording = conversation.recording()
        for pieces in (whole, single_bytes):
            events, session = recording.replay(pieces)
            assert others(events) == others(conversation.events)
            assert applied(events) == found
            batches = [event for event in events if not isinstance(event, Introduced | Continued)]
            assert {batch.replid for batch in batches} == {new}  # type: ignore[union-attr]
            assert session.state is S.STREAMING

    @pytest.mark.parametrize("name", NAMES)
    def test_an_unknown_history(self, name: str, shared: Callable[[str], Server], talk: Talk) -> None:
        """A source that does not know the id, or not the offset, begins a snapshot of its own history."""
        server = shared(name)
        fill(server)
        replid = server.info()["master_replid"]
        for asked in (("d" * 40, 1), (replid, server.offset() + 1_000_000)):
            conversation = talk(server).sync(*asked, database=5)
            [full_sync] = [event for event in conversation.events if isinstance(event, FullSync)]
            assert full_sync.replid == server.info()["master_replid"]
            assert full_sync.offset <= server.offset()
            assert len(keys_of(conversation.events)) >= 53
            server.client().set("behind", 1)
            conversation.catch_up(server)
            assert applied(conversation.events).commands == [(0, [b"SET", b"behind", b"1"])]


@pytest.mark.parametrize("name", NAMES)
def test_database_of_the_snapshot(name: str, server: Callable[..., Server], talk: Talk) -> None:
    """A replica passes on its primary's stream without a SELECT of its own: the snapshot tells the database."""
    primary, replica = server(name), server(name)
    replica.replicate(primary)
    primary.client(db=3).set("a", 1)
    replica.wait_replica(primary)
    conversation = talk(replica).sync()
    primary.client(db=3).set("b", 2)
    replica.wait_replica(primary)
    conversation.catch_up(replica)

    [end] = [event for event in conversation.events if isinstance(event, SnapshotEnd)]
    assert end.database == 3
    assert applied(conversation.events).commands == [(3, [b"SET", b"b", b"2"])]
    assert b"SELECT" not in conversation.recording().answer.upper()


@pytest.mark.parametrize("name", NAMES)
def test_wait_asks_for_an_acknowledgement(name: str, shared: Callable[[str], Server], talk: Talk) -> None:
    """WAIT on the source comes as a request to acknowledge, behind what is waited for."""
    server = shared(name)
    conversation = talk(server).sync()
    client = server.client()
    answers: list[int] = []

    def write_and_wait() -> None:
        client.set("a", 1)
        answers.append(client.execute_command("WAIT", 1, 10_000))

    waiting = threading.Thread(target=write_and_wait)
    waiting.start()
    try:
        conversation.read_until(lambda: applied(conversation.events).acks)
        conversation.read_until(lambda: bool(answers))
    finally:
        waiting.join(20)
    assert answers == [1]
    found = applied(conversation.events)
    assert found.commands == [(0, [b"SET", b"a", b"1"])]
    assert found.acks[0] <= (found.offset or 0)


@pytest.mark.parametrize("name", ["redis-7.0", "valkey-9.1"])
def test_pings_move_the_offset(name: str, shared: Callable[[str], Server], talk: Talk) -> None:
    """An idle source's pings, upper or lower case, are no commands."""
    server = shared(name)
    server.client().config_set("repl-ping-replica-period", 1)
    conversation = talk(server).sync().catch_up(server)
    before = conversation.session.received_offset or 0
    conversation.read_until(lambda: (conversation.session.received_offset or 0) > before)
    assert applied(conversation.events).commands == []
    assert applied(conversation.events).offset == conversation.session.received_offset
    assert b"ping" in conversation.recording().answer.lower()
    server.client().config_set("repl-ping-replica-period", 10)


def test_newlines_while_the_source_prepares(server: Callable[..., Server], talk: Talk) -> None:
    """A source that is slow to write its snapshot sends newlines, which mean nothing."""
    slow = server(DEFAULT, repl_diskless_sync="no")
    client = fill(slow)
    client.config_set("rdb-key-save-delay", 40_000)  # microseconds for each key
    conversation = talk(slow).sync()
    answer = conversation.recording().answer
    assert b"\r\n\n" in answer[:200]
    assert len(keys_of(conversation.events)) == 53
    for pieces in (whole, single_bytes):
        assert others(conversation.recording().replay(pieces)[0]) == others(conversation.events)


class TestNotNow:
    """What a source refuses for now."""

    @pytest.mark.parametrize("name", NAMES)
    def test_replica_without_its_primary(self, name: str, server: Callable[..., Server], talk: Talk) -> None:
        """A replica that never saw its primary has nothing to give."""
        lone = server(name, replicaof="127.0.0.1 1")
        with pytest.raises(ServerBusyError, match="while requesting: NOMASTERLINK") as caught:
            talk(lone).sync()
        assert (caught.value.kind, caught.value.retry) == ("nomasterlink", True)

    def test_loading(self, server: Callable[..., Server], talk: Talk) -> None:
        """A source that loads its data asks for patience."""
        loading = server(DEFAULT, **{"loading-process-events-interval-bytes": 1024})
        client = loading.client()
        client.mset({f"key:{number}": "x" * 100 for number in range(300)})
        client.save()
        loading.config |= {"key-load-delay": 5_000}
        loading.restart(kill=True)
        conversation = talk(loading)
        with pytest.raises(ServerBusyError, match="LOADING") as caught:
            conversation.sync()
        assert caught.value.kind == "loading"


@pytest.mark.parametrize("name", NAMES)
def test_a_follower_becomes_equal(
    name: str, shared: Callable[[str], Server], server: Callable[..., Server], talk: Talk
) -> None:
    """Snapshot and batches applied to a server of the same version make it equal to the source."""
    source = shared(name)
    client = fill(source)
    conversation = talk(source).sync()
    work(source)
    conversation.catch_up(source)

    target = server(name)
    for event in conversation.events:
        if isinstance(event, Entries):
            data, count = restore_requests(event)[:2]
            assert exchange(target, encode("SELECT", event.database) + data, count + 1) == [b"OK"] * (count + 1)
    if name != "redis-6.2":
        target.client().execute_command("FUNCTION", "LOAD", LIBRARY)
    commands = applied(conversation.events).commands
    assert len(commands) > 50
    requests = b"".join(encode("SELECT", database) + encode(*arguments) for database, arguments in commands)
    replies = exchange(target, requests, 2 * len(commands))
    assert [reply for reply in replies if isinstance(reply, Exception)] == []
    assert oracle.differences(source, target) == []
    # The table of the source's commands tells what is a record of a worker.
    batches = [event for event in conversation.events if isinstance(event, Batch)]
    assert sum(batch.skipped for batch in batches) == 2
    assert [batch.rejected for batch in batches if batch.rejected] == []
    assert target.client().exists("shaker:checkpoint:upstream", "by-script:0") == 0
    assert client.get("counter") == target.client().get("counter") == b"30"


def work(server: Server) -> None:
    """Write to the server in every way that makes its stream interesting."""
    client, other = server.client(), server.client(db=3)
    for number in range(10):
        client.incr("counter")
        with client.pipeline() as pipeline:
            pipeline.incr("counter").rpush("list", number).execute()
        client.eval(
            "redis.call('incr', KEYS[1]) redis.call('SeT', KEYS[2], 'x')", 2, "counter", f"by-script:{number}"
        )
        other.hset("hash", f"f{number}", "v" * 3000)
    client.hset("shaker:checkpoint:upstream", "offset", 1)
    client.delete("shaker:checkpoint:upstream", "by-script:0")
    client.publish("news", "x")
    client.set("short", 1, px=5)
    client.set("long", 1)
    client.pexpireat("long", FAR)
    client.xadd("stream", {"f": "v"}, id="1-1")
    client.xgroup_create("stream", "group", "0")
    client.xreadgroup("group", "consumer", {"stream": ">"})
    server.client(db=7).set("soon flushed", 1)
    server.client(db=7).flushdb()
    server.client(db=8).set("moving", 1)
    client.execute_command("SWAPDB", 8, 9)
    client.execute_command("SWAPDB", 0, 3)
    client.execute_command("SWAPDB", 3, 0)
    other.move("other", 0)
    client.spop("missing")
    client.sadd("set", *range(100))
    client.spop("set", 40)
