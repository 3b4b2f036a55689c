"""Transactions, probes, records and snapshots against real servers: what may be on the wire, and what it leaves."""

from __future__ import annotations

import socket
import tracemalloc
from collections.abc import Callable

import pytest

from shaker.codec.resp import encode
from shaker.errors import AccessError, LinkError, ServerBusyError, UnfaithfulError
from shaker.replica.events import Records
from shaker.target import session as session_module
from shaker.target.items import Rejection, SnapshotFinish, SnapshotKeys, SnapshotStart
from shaker.target.session import EXEC, MULTI
from shaker.transform.restore import functions_payload
from tests.servers import Server, wait_until
from tests.target.driver import REPLID, Stream, Wire, Writer, checkpoint_of, fence_of, start_stream

MakeWriter = Callable[..., Writer]


def wait_replies(writer: Writer, at_least: int) -> None:
    """Wait until replies of so many bytes lie in the socket, unread."""

    def there() -> bool:
        writer.wire.socket.settimeout(10)
        return len(writer.wire.socket.recv(1 << 20, socket.MSG_PEEK)) >= at_least

    wait_until(there, f"{at_least} bytes of replies")


def keys_of(server: Server, database: int = 0) -> set[bytes]:
    """Return the keys of a database."""
    with server.client(db=database) as client:
        return set(client.keys())  # type: ignore[arg-type]


def answered(wire: Wire) -> bool:
    """Whether the server still answers on a connection."""
    try:
        return bool(wire.receive(1 << 16))
    except LinkError:
        return False


@pytest.fixture(params=[1 << 16, 1], ids=["whole", "byte by byte"])
def sliced(request: pytest.FixtureRequest, writer: Writer) -> Writer:
    """A writer in the stream that gets its replies whole, or in slices of one byte."""
    writer.slice = request.param
    return writer


# --- transactions ---


def test_effect_and_checkpoint_commit_together(sliced: Writer, stream: Stream, target: Server) -> None:
    """A batch for several databases has its effect once, and the checkpoint holds offset, database and writer."""
    sliced.put(
        stream.parts(
            (3, (("INCR", "n"), ("RPUSH", "l", "a", "b"))), (0, (("INCR", "n"),)), (5, (("SET", "s", "v"),))
        )
    )
    sliced.run()

    assert target.client(db=3).get("n") == b"1"
    assert target.client(db=3).lrange("l", 0, -1) == [b"a", b"b"]
    assert target.client(db=0).get("n") == b"1"
    assert target.client(db=5).get("s") == b"v"
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.phase, checkpoint.replid) == ("stream", REPLID)
    assert (checkpoint.offset, checkpoint.database, checkpoint.confirmed) == (stream.offset, 5, stream.offset)
    fence = sliced.registered.fence
    assert (checkpoint.epoch, checkpoint.connection) == (fence.epoch, fence.connection)
    assert keys_of(target, 3) == {b"n", b"l"}
    assert keys_of(target, 5) == {b"s"}


def test_the_end_waits_for_the_answer(sliced: Writer, stream: Stream) -> None:
    """While a transaction is unanswered the next one's commands go out, its EXEC only after the answer."""
    sliced.put(stream.batch(("INCR", "a")))
    first = sliced.send()
    sliced.put(stream.batch(("INCR", "b")))
    second = sliced.send()
    sliced.put(stream.batch(("INCR", "c")))
    third = sliced.send()

    assert first.endswith(EXEC)
    assert second == MULTI + encode("INCR", "b")
    assert third == encode("INCR", "c")
    while not (end := sliced.send()):
        sliced.receive()
    assert end.startswith(b"*32\r\n" + encode("HSET", "shaker:checkpoint:default")[4:])
    assert end.endswith(EXEC)
    assert end.count(EXEC) == 1


def test_a_large_transaction_is_closed(writer: Writer, stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that has its fill takes no more; the next one follows it and nothing is lost between."""
    monkeypatch.setattr(session_module, "TRANSACTION_BYTES", 100)
    writer.put(*[stream.batch(("RPUSH", "l", number)) for number in range(50)])
    sizes = []
    while True:
        writer.send()
        if writer.session.idle:
            break
        writer.receive()
    sizes = [len(progress.items) for progress in writer.progress if progress.items]

    assert max(sizes) < 10
    assert writer.server.client().lrange("l", 0, -1) == [b"%d" % number for number in range(50)]


class Outage:
    """A condition under which the target refuses writes, and its end."""

    def __init__(self, begin: tuple[str | int, ...], end: tuple[str | int, ...], error: type[LinkError]) -> None:
        self.begin, self.end, self.error = begin, end, error


OUTAGES = {
    "OOM": Outage(("CONFIG", "SET", "maxmemory", 1), ("CONFIG", "SET", "maxmemory", 0), ServerBusyError),
    "READONLY": Outage(("REPLICAOF", "127.0.0.1", 1), ("REPLICAOF", "NO", "ONE"), ServerBusyError),
    "NOREPLICAS": Outage(
        ("CONFIG", "SET", "min-replicas-to-write", 1),
        ("CONFIG", "SET", "min-replicas-to-write", 0),
        ServerBusyError,
    ),
    "NOPERM": Outage(("ACL", "SETUSER", "default", "-incr"), ("ACL", "SETUSER", "default", "+@all"), AccessError),
}


@pytest.mark.parametrize("name", OUTAGES)
def test_an_aborted_transaction_is_never_followed_by_one_that_commits(
    sliced: Writer, stream: Stream, target: Server, name: str
) -> None:
    """An outage that ends between two transactions aborts the first; the second must not take effect alone."""
    outage, admin = OUTAGES[name], target.client()
    before, ends = checkpoint_of(target), sliced.sent.count(EXEC)
    admin.execute_command(*outage.begin)
    sliced.put(stream.batch(("INCR", "a")))
    sliced.send()
    wait_replies(sliced, len(b"+OK\r\n-ERR\r\n-ERR\r\n-EXECABORT"))
    admin.execute_command(*outage.end)
    sliced.put(stream.batch(("INCR", "b")))
    sliced.send()

    with pytest.raises(outage.error):
        sliced.run()

    assert sliced.sent.count(EXEC) == ends + 1
    assert keys_of(target) & {b"a", b"b"} == set()
    assert checkpoint_of(target) == before
    sliced.cut()
    assert sliced.register()
    sliced.run()
    assert (admin.get("a"), admin.get("b")) == (b"1", b"1")
    assert sliced.rejections == []


def test_an_outage_that_begins_behind_the_queue_aborts_the_whole(
    sliced: Writer, stream: Stream, target: Server
) -> None:
    """Commands queued while the target still took them are not executed once it takes no more at EXEC."""
    admin = target.client()
    sliced.put(stream.batch(("INCR", "a")))
    sliced.send()
    sliced.put(stream.batch(("INCR", "b"), ("INCR", "b")))
    sliced.send()
    while sliced.session.checkpoint.offset == 1000:
        sliced.receive(1)
    own = sliced.registered.fence.connection
    wait_until(
        lambda: next(c for c in admin.client_list() if int(c["id"]) == own)["multi"] == "2", "two queued commands"
    )
    admin.config_set("maxmemory", 1)

    with pytest.raises(ServerBusyError):
        sliced.run()

    admin.config_set("maxmemory", 0)
    assert (admin.get("a"), admin.get("b")) == (b"1", None)
    sliced.cut()
    assert sliced.register()
    sliced.run()
    assert (admin.get("a"), admin.get("b")) == (b"1", b"2")


def test_an_unknown_command_keeps_the_next_transaction_back(sliced: Writer, stream: Stream, target: Server) -> None:
    """A command that the target does not know aborts its transaction; the next one does not commit before it."""
    sliced.put(stream.batch(("INCR", "a"), ("NOSUCH", "key", "secret")))
    sliced.send()
    sliced.put(stream.batch(("INCR", "b")))
    sliced.send()

    with pytest.raises(LinkError, match="before it is executed"):
        sliced.run()

    assert keys_of(target) & {b"a", b"b"} == set()
    sliced.cut()
    assert sliced.register()
    sliced.run()
    assert (target.client().get("a"), target.client().get("b")) == (b"1", b"1")


def test_replies_that_nothing_asked_for_end_the_session(writer: Writer) -> None:
    """A reply too many means that replies and requests do not match any more."""
    with pytest.raises(LinkError, match="nothing asked"):
        writer.session.receive_data(b"+OK\r\n")


def test_records_of_another_type_end_the_replication(writer: Writer, stream: Stream, target: Server) -> None:
    """A checkpoint that cannot be written is no rejected command of the source: the replication ends."""
    target.client().set("shaker:checkpoint:default", "not a hash")
    writer.put(stream.batch(("INCR", "a")))

    with pytest.raises(UnfaithfulError, match="own request") as caught:
        writer.run()

    assert caught.value.kind == "records"


# --- what was sent and not answered ---


def test_batches_that_took_effect_unanswered_are_not_sent_again(
    sliced: Writer, stream: Stream, target: Server
) -> None:
    """After a connection lost before the answers, the checkpoint tells which batches are done; the rest goes on."""
    sliced.put(stream.batch(("INCR", "a")), stream.batch(("RPUSH", "l", 1)))
    sliced.send()
    sliced.put(stream.batch(("INCR", "a")), stream.batch(("RPUSH", "l", 2)))
    sliced.send()
    wait_until(lambda: target.client().get("a") == b"1", "the first transaction")
    sliced.cut()

    assert sliced.register()
    assert len(sliced.replication.window) == 2
    sliced.run()

    assert target.client().get("a") == b"2"
    assert target.client().lrange("l", 0, -1) == [b"1", b"2"]


def test_what_is_left_behind_on_a_stalled_connection_never_runs(
    sliced: Writer, stream: Stream, target: Server
) -> None:
    """A registration ends the connection before it: half of a transaction there is gone and cannot be finished."""
    sliced.put(stream.batch(("INCR", "a")))
    old, data = sliced.wire, sliced.data_to_send()
    old.send(data[:-5])
    assert sliced.register()
    while answered(old):
        old.send(data[-5:])
    sliced.run()

    assert target.client().get("a") == b"1"


def lose_since_save(target: Server, writer: Writer) -> None:
    """Make the target lose what it did since its last SAVE, as a failover or a crash does."""
    writer.cut()
    target.restart(kill=True)
    target.wait_loaded()


@pytest.fixture
def forgetful(server: Callable[..., Server], make_writer: MakeWriter, stream: Stream) -> Writer:
    """A writer in the stream on a target that keeps what SAVE has saved."""
    writer = make_writer(server(save="3600 1000000"))
    writer.register()
    start_stream(writer, stream)
    return writer


def test_a_target_that_lost_answered_batches_is_not_given_the_next_ones(forgetful: Writer, stream: Stream) -> None:
    """The checkpoint moved back behind what the window still holds: only the source can fill the gap."""
    target = forgetful.server
    forgetful.put(stream.batch(("INCR", "a")))
    forgetful.run()
    target.client().save()
    saved = stream.offset
    lost = stream.batch(("INCR", "a"))
    kept = stream.batch(("INCR", "a"))
    forgetful.put(lost)
    forgetful.run()
    forgetful.put(kept)
    restarts = forgetful.replication.source_restarts
    lose_since_save(target, forgetful)

    assert not forgetful.register()

    replication = forgetful.replication
    assert len(replication.window) == 0
    assert replication.source_restarts == restarts + 1
    assert replication.resume == (REPLID, saved, 0)
    assert replication.acknowledged_offset == saved
    forgetful.put(lost, kept)
    forgetful.run()
    assert target.client().get("a") == b"3"


def test_a_target_that_lost_only_what_is_kept_is_sent_it_again(forgetful: Writer, stream: Stream) -> None:
    """The checkpoint moved back to a boundary of the window: nothing is lost and nothing applied twice."""
    target = forgetful.server
    forgetful.put(stream.batch(("RPUSH", "l", 1)))
    forgetful.run()
    target.client().save()
    for number in (2, 3, 4):
        forgetful.put(stream.batch(("RPUSH", "l", number)))
        forgetful.send()
    wait_until(lambda: target.client().llen("l") == 2, "the second batch")
    lose_since_save(target, forgetful)
    assert target.client().lrange("l", 0, -1) == [b"1"]

    assert forgetful.register()
    forgetful.run()

    assert target.client().lrange("l", 0, -1) == [b"1", b"2", b"3", b"4"]


# --- databases ---


@pytest.mark.parametrize("databases", [1, 4])
def test_a_database_that_the_target_lacks(
    server: Callable[..., Server], make_writer: MakeWriter, stream: Stream, databases: int
) -> None:
    """A database is proven before it is used: nothing lands in another one, and the offset does not move."""
    target = server(databases=databases)
    writer = make_writer(target)
    writer.register()
    start_stream(writer, stream)
    before = checkpoint_of(target)
    writer.put(stream.parts((0, (("SET", "right", 1),)), (databases, (("SET", "wrong", 1),))))

    with pytest.raises(UnfaithfulError, match=f"database {databases}") as caught:
        writer.run()

    assert (caught.value.kind, caught.value.exit_code) == ("database", 4)
    assert [
        keys_of(target, database) - {b"shaker:fence:default", b"shaker:checkpoint:default"}
        for database in range(databases)
    ] == [set()] * databases
    assert checkpoint_of(target) == before


def test_a_database_of_a_snapshot_that_the_target_lacks(
    server: Callable[..., Server], make_writer: MakeWriter
) -> None:
    """The same for the keys of a snapshot."""
    target = server(databases=4)
    writer = make_writer(target)
    writer.register()
    payload = dump_of(target, "value")
    writer.put(SnapshotStart("s", REPLID, 0, flush=False), keys("s", 1, 9, {"wrong": payload}))

    with pytest.raises(UnfaithfulError, match="database 9"):
        writer.run()

    assert b"wrong" not in keys_of(target)


def test_databases_stay_proven_over_batches(writer: Writer, stream: Stream, target: Server) -> None:
    """One probe for each database and connection; commands behind it are in the right one."""
    for _ in range(3):
        writer.put(stream.batch(("INCR", "n"), database=2), stream.batch(("INCR", "n"), database=1))
        writer.run()

    assert (target.client(db=1).get("n"), target.client(db=2).get("n")) == (b"3", b"3")
    assert writer.sent.count(encode("SELECT", 2) + encode("SELECT", 0)) == 1


# --- FLUSHALL, FLUSHDB, SWAPDB ---


@pytest.mark.parametrize(
    ("commands", "moved_to"),
    [
        ((("FLUSHALL",),), None),
        ((("FLUSHDB",),), None),
        ((("SWAPDB", 0, 1),), 1),
        ((("SWAPDB", 3, 0),), 3),
        ((("INCR", "a"), ("FLUSHALL",), ("INCR", "a")), None),
        ((("INCR", "a"), ("SWAPDB", 0, 1), ("INCR", "b")), 1),
        ((("SWAPDB", 0, 1), ("SWAPDB", 1, 2)), 2),
        ((("SWAPDB", 0, 1), ("FLUSHALL",)), 1),
    ],
)
def test_records_survive_what_destroys_or_moves_them(
    sliced: Writer,
    stream: Stream,
    target: Server,
    commands: tuple[tuple[str | int, ...], ...],
    moved_to: int | None,
) -> None:
    """Fence and checkpoint stand complete in database 0 afterwards, no stump of them anywhere else."""
    sliced.put(stream.batch(("SET", "before", 1)))
    sliced.run()
    complete = checkpoint_of(target)
    assert complete is not None
    sliced.put(stream.batch(*commands, records=Records(moved_to)), stream.batch(("SET", "after", 1)))
    sliced.run()

    assert fence_of(target) == sliced.registered.fence
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert set(target.client().hkeys("shaker:checkpoint:default")) == {
        name.encode() for name in type(checkpoint).__dataclass_fields__
    }
    assert (checkpoint.offset, checkpoint.source, checkpoint.source_run_id) == (
        stream.offset, complete.source, complete.source_run_id
    )  # fmt: skip
    assert (checkpoint.epoch, checkpoint.connection) == (complete.epoch, complete.connection)
    for database in (1, 2, 3):
        assert not [key for key in keys_of(target, database) if key.startswith(b"shaker:")]
    assert b"after" in keys_of(target)


def test_a_swap_and_back_brings_no_old_checkpoint(sliced: Writer, stream: Stream, target: Server) -> None:
    """After SWAPDB 0 1, work, and SWAPDB 1 0 the checkpoint is the newest: nothing would be applied twice."""
    sliced.put(stream.batch(("INCR", "n")))
    for _ in range(2):
        sliced.put(stream.batch(("SWAPDB", 0, 1), records=Records(1)), stream.batch(("INCR", "n"), database=1))
        sliced.run()
        assert checkpoint_of(target).offset == stream.offset  # type: ignore[union-attr]
        assert checkpoint_of(target, database=1) is None
    sliced.cut()
    assert sliced.register()
    sliced.run()

    assert (target.client(db=0).get("n"), target.client(db=1).get("n")) == (b"2", b"1")


def test_records_are_a_transaction_of_their_own(writer: Writer, stream: Stream, target: Server) -> None:
    """What comes before and behind a batch with records is in other transactions."""
    writer.put(
        stream.batch(("SET", "a", 1)),
        stream.batch(("FLUSHALL",), records=Records(None)),
        stream.batch(("SET", "b", 1)),
    )
    writer.run()

    assert [len(progress.items) for progress in writer.progress if progress.items][-3:] == [1, 1, 1]
    assert keys_of(target) == {b"b", b"shaker:fence:default", b"shaker:checkpoint:default"}


# --- confirmed, persist, halt ---


def test_confirmed_lags_by_one_transaction_and_catches_up(sliced: Writer, stream: Stream, target: Server) -> None:
    """`confirmed` is what replies were read for when the transaction ended; an idle session makes up for it."""
    start = stream.offset
    before = start
    for _ in range(3):
        sliced.put(stream.batch(("INCR", "a")))
        sliced.send()
        while sliced.session.checkpoint.offset != stream.offset:
            sliced.receive()
        checkpoint = checkpoint_of(target)
        assert checkpoint is not None
        assert (checkpoint.offset, checkpoint.confirmed) == (stream.offset, before)
        before = stream.offset

    assert sliced.session.behind
    sliced.session.persist()
    sliced.run()

    assert checkpoint_of(target).confirmed == stream.offset  # type: ignore[union-attr]
    assert not sliced.session.behind
    assert sliced.send() == b""


def test_confirmed_does_not_cover_what_is_on_the_wire(sliced: Writer, stream: Stream, target: Server) -> None:
    """A transaction that was sent and executed and whose replies nobody read stays unconfirmed."""
    start = stream.offset
    sliced.put(stream.batch(("INCR", "a")))
    sliced.send()
    wait_until(lambda: target.client().get("a") == b"1", "the batch")

    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.offset, checkpoint.confirmed) == (stream.offset, start)


def test_batches_without_effect_cost_no_transaction(sliced: Writer, stream: Stream, target: Server) -> None:
    """PING moves the applied offset at once, the checkpoint only when that is asked for."""
    sliced.put(stream.batch(("INCR", "a")))
    sliced.run()
    written = stream.offset
    sliced.put(stream.ping(), stream.ping())

    assert sliced.send() == b""
    assert sliced.replication.acknowledged_offset == stream.offset
    assert checkpoint_of(target).offset == written  # type: ignore[union-attr]
    assert sliced.session.unpersisted
    sliced.run()
    assert checkpoint_of(target).offset == stream.offset  # type: ignore[union-attr]
    assert not sliced.session.unpersisted


def test_a_database_that_was_selected_and_not_used(sliced: Writer, stream: Stream, target: Server) -> None:
    """An offset behind a SELECT is never written without the database that is selected there."""
    sliced.put(stream.batch(("INCR", "a")))
    sliced.run()
    sliced.put(stream.batch(database=3))
    sliced.run()
    sliced.put(stream.ping())
    sliced.run()

    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    # The last batch is a PING for which the stream stands in database 0 again.
    assert (checkpoint.offset, checkpoint.database) == (stream.offset, 0)
    sliced.put(stream.batch(database=3))
    sliced.run()
    assert checkpoint_of(target).database == 3  # type: ignore[union-attr]


def test_a_batch_without_effect_waits_for_what_is_on_the_wire(sliced: Writer, stream: Stream) -> None:
    """The applied offset does not pass a transaction that is not answered."""
    sliced.put(stream.batch(("INCR", "a")))
    sliced.send()
    before = sliced.replication.acknowledged_offset
    sliced.put(stream.ping())

    assert sliced.send() == b""
    assert sliced.replication.acknowledged_offset == before
    sliced.run()
    assert sliced.replication.acknowledged_offset == stream.offset


def test_the_window_is_kept_over_offsets_that_were_not_written(
    sliced: Writer, stream: Stream, target: Server
) -> None:
    """A checkpoint behind the applied offset by commands without effect is a boundary all the same."""
    sliced.put(stream.batch(("INCR", "a")))
    sliced.run()
    sliced.put(stream.ping(), stream.ping())
    sliced.send()
    sliced.put(stream.batch(("INCR", "a")))
    sliced.cut()

    assert sliced.register()
    sliced.run()

    assert target.client().get("a") == b"2"
    assert checkpoint_of(target).offset == stream.offset  # type: ignore[union-attr]


def test_a_new_replication_id_is_written_at_once(sliced: Writer, stream: Stream, target: Server) -> None:
    """A batch without commands whose position must be kept is a transaction with the checkpoint alone."""
    item = stream.ping()
    item.batch = item.batch._replace(replid="c" * 40, persist=True)
    sliced.put(item)
    while sliced.step():
        pass

    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.replid, checkpoint.offset) == ("c" * 40, stream.offset)


def test_halt_finishes_what_is_under_way(sliced: Writer, stream: Stream, target: Server) -> None:
    """After `halt`, however often, what was sent is committed with its counts, and nothing new is taken."""
    sliced.put(stream.batch(("SET", "s", "text")), stream.batch(("INCR", "s")))
    sliced.send()
    sliced.put(stream.batch(("SET", "later", 1)))
    while not sliced.rejections:
        sliced.receive()
    for _ in range(20):
        sliced.session.halt()
        if sliced.session.halted:
            break
        if not sliced.send():
            break
        sliced.receive()

    sliced.session.halt()
    assert sliced.session.halted
    assert target.client().get("later") is None
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.rejected, checkpoint.confirmed) == (1, checkpoint.offset)


# --- memory ---


def test_large_replies_are_not_held(writer: Writer, stream: Stream, target: Server) -> None:
    """The bodies of replies are skipped: a command that answers with many megabytes costs the worker none."""
    count = 200_000
    target.client().eval(
        "for i = 1, ARGV[1] do redis.call('RPUSH', KEYS[1], ARGV[2]) end", 1, "k", count, "v" * 100
    )
    target.client().set("big", "v" * 100 * count)
    writer.put(stream.batch(("LPOP", "k", count), ("GETSET", "big", "x"), ("INCR", "n")))
    tracemalloc.start()
    try:
        writer.run()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 1_500_000
    assert (target.client().exists("k"), target.client().get("big"), target.client().get("n")) == (0, b"x", b"1")


# --- snapshots ---


def dump_of(server: Server, value: str) -> bytes:
    """Return the payload of a string."""
    with server.client(db=0) as client:
        client.set("dumped", value)
        payload = client.dump("dumped")
        client.delete("dumped")
    assert isinstance(payload, bytes)
    return payload


def keys(snapshot: str, number: int, database: int, payloads: dict[str, bytes]) -> SnapshotKeys:
    """Return RESTORE requests of a snapshot."""
    data = b"".join(encode("RESTORE", key, 0, payload, "REPLACE", "ABSTTL") for key, payload in payloads.items())
    return SnapshotKeys(snapshot, number, database, data, len(payloads), len(data))


@pytest.fixture
def fresh(make_writer: MakeWriter, target: Server) -> Writer:
    """A registered writer on an empty target."""
    writer = make_writer(target)
    writer.register()
    return writer


def test_a_snapshot_is_announced_before_its_first_key(fresh: Writer, target: Server) -> None:
    """No RESTORE is sent before `phase=snapshot` was answered, and the end waits for every key's answer."""
    payload = dump_of(target, "value")
    fresh.put(
        SnapshotStart("s", REPLID, 500, flush=False),
        keys("s", 1, 0, {"a": payload, "b": payload}),
        keys("s", 2, 3, {"c": payload}),
        SnapshotFinish(REPLID, 500, 3),
    )
    first = fresh.send()
    assert b"RESTORE" not in first
    assert fresh.send() == b""
    while b"RESTORE" not in fresh.sent:
        fresh.receive()
        assert checkpoint_of(target).phase == "snapshot"  # type: ignore[union-attr]
        fresh.send()
    while fresh.replication.window.peek() is not None:
        assert fresh.sent.count(EXEC) == 1
        fresh.send()
        fresh.receive()
    fresh.run()

    assert keys_of(target, 3) == {b"c"}
    assert {b"a", b"b"} < keys_of(target)
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.phase, checkpoint.offset, checkpoint.database) == ("stream", 500, 3)
    assert (checkpoint.snapshot, checkpoint.snapshot_batch) == ("", 0)


def test_a_refused_key_keeps_the_snapshot_open(fresh: Writer, target: Server) -> None:
    """A key that the target refuses ends the replication, named, while the checkpoint still says `snapshot`."""
    payload = dump_of(target, "value")
    fresh.put(
        SnapshotStart("s", REPLID, 500, flush=False),
        keys("s", 1, 2, {"good": payload, "bad": payload[:-1] + b"?", "other": payload}),
        SnapshotFinish(REPLID, 500, 0),
    )

    with pytest.raises(UnfaithfulError, match="'bad' of database 2") as caught:
        fresh.run()

    assert caught.value.kind == "refused_key"
    assert "value" not in str(caught.value)
    assert checkpoint_of(target).phase == "snapshot"  # type: ignore[union-attr]


def test_an_outage_in_a_snapshot_leaves_no_gap(fresh: Writer, target: Server) -> None:
    """Keys refused for want of memory are sent again, whatever the batch number says by then."""
    payload = dump_of(target, "value")
    fresh.put(SnapshotStart("s", REPLID, 500, flush=False))
    fresh.run()
    target.client().config_set("maxmemory", 1)
    fresh.put(keys("s", 1, 0, {"a": payload}))
    fresh.send()
    wait_replies(fresh, 10)
    target.client().config_set("maxmemory", 0)
    fresh.put(keys("s", 2, 0, {"b": payload}), SnapshotFinish(REPLID, 500, 0))
    with pytest.raises(ServerBusyError):
        fresh.run()
    fresh.cut()

    assert fresh.register()
    fresh.run()

    assert {b"a", b"b"} < keys_of(target)
    assert checkpoint_of(target).phase == "stream"  # type: ignore[union-attr]


def test_a_snapshot_goes_on_after_a_lost_connection(fresh: Writer, target: Server) -> None:
    """Requests that were not answered are sent again; nothing starts over while the server is the same."""
    payload = dump_of(target, "value")
    fresh.put(SnapshotStart("s", REPLID, 500, flush=False))
    fresh.run()
    for number in range(1, 6):
        fresh.put(keys("s", number, number % 2, {f"k{number}": payload}))
    fresh.put(SnapshotFinish(REPLID, 500, 0))
    fresh.step(7)
    fresh.cut()

    assert fresh.register()
    fresh.run()

    assert {b"k2", b"k4"} < keys_of(target)
    assert keys_of(target, 1) == {b"k1", b"k3", b"k5"}


@pytest.mark.parametrize("number", [0, 1])
def test_a_snapshot_whose_number_moved_back_starts_over(fresh: Writer, target: Server, number: int) -> None:
    """A target that lost answered keys of the snapshot cannot be given the rest of it."""
    payload = dump_of(target, "value")
    fresh.put(
        SnapshotStart("s", REPLID, 500, flush=False),
        keys("s", 1, 0, {"a": payload}),
        keys("s", 2, 0, {"b": payload}),
    )
    while fresh.step():
        pass
    fresh.put(keys("s", 3, 0, {"c": payload}))
    target.client().hset("shaker:checkpoint:default", "snapshot_batch", number)
    fresh.cut()

    assert not fresh.register()
    assert len(fresh.replication.window) == 0
    assert fresh.replication.resume is None
    assert fresh.replication.acknowledged_offset == 0


def test_a_snapshot_starts_over_on_another_server_run(forgetful: Writer) -> None:
    """A restarted target may have lost keys whose number it kept: the snapshot starts over."""
    target = forgetful.server
    payload = dump_of(target, "value")
    forgetful.put(SnapshotStart("s", REPLID, 500, flush=False), keys("s", 1, 0, {"a": payload}))
    while forgetful.step():
        pass
    forgetful.put(keys("s", 2, 0, {"b": payload}))
    target.client().save()
    lose_since_save(target, forgetful)
    assert checkpoint_of(target).snapshot_batch == 1  # type: ignore[union-attr]

    assert not forgetful.register()
    assert forgetful.replication.resume is None


def test_a_new_worker_never_goes_on_with_a_snapshot(fresh: Writer, make_writer: MakeWriter, target: Server) -> None:
    """A snapshot that a dead worker left behind is not resumed, and no offset of it is acknowledged."""
    fresh.put(SnapshotStart("s", REPLID, 500, flush=False))
    fresh.run()
    other = make_writer(target)
    other.register()

    assert other.replication.resume is None
    assert other.replication.acknowledged_offset == 0


def test_a_flush_empties_the_target_and_keeps_the_fence(writer: Writer, stream: Stream, target: Server) -> None:
    """The beginning of a snapshot that flushes leaves nothing but the records, complete, and no old count."""
    writer.put(
        stream.parts((0, (("SET", "old", 1), ("INCR", "old"), ("LPUSH", "old", 1))), (4, (("SET", "old", 1),)))
    )
    writer.run()
    assert checkpoint_of(target).rejected == 1  # type: ignore[union-attr]
    writer.put(SnapshotStart("s", REPLID, 500, flush=True))
    writer.run()

    assert keys_of(target) == {b"shaker:fence:default", b"shaker:checkpoint:default"}
    assert keys_of(target, 4) == set()
    assert fence_of(target) == writer.registered.fence
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.phase, checkpoint.snapshot, checkpoint.rejected) == ("snapshot", "s", 0)


LIBRARY = b"#!lua name=%s\nredis.register_function('%s', function() return 1 end)\n"


@pytest.mark.parametrize(
    ("codes", "keep", "left"),
    [((b"new",), False, {b"new"}), ((), False, set()), ((b"new",), True, {b"new", b"old"}), ((), True, {b"old"})],
)
def test_the_libraries_of_the_source(
    fresh: Writer, target: Server, codes: tuple[bytes, ...], keep: bool, left: set[bytes]
) -> None:
    """A snapshot's libraries replace those of the target, or join them where that is asked for."""
    target.client().function_load((LIBRARY % (b"old", b"old")).decode())
    payload = functions_payload([LIBRARY % (code, code) for code in codes])
    fresh.put(
        SnapshotStart("s", REPLID, 500, flush=False),
        SnapshotFinish(
            REPLID, 500, 0, payload, keep_libraries=keep, rejections=(Rejection("MODULE", "m", "lost"),)
        ),
    )
    fresh.run()

    listed = target.client(protocol=2).execute_command("FUNCTION", "LIST")
    assert {dict(zip(row[::2], row[1::2], strict=True))[b"library_name"] for row in listed} == left
    assert checkpoint_of(target).rejected == 1  # type: ignore[union-attr]


def test_libraries_for_a_target_without_functions(server: Callable[..., Server], make_writer: MakeWriter) -> None:
    """A target that knows no functions is refused by name, not left without them in silence."""
    writer = make_writer(server("redis-6.2"))
    writer.register()
    payload = functions_payload([LIBRARY % (b"new", b"new")])
    writer.put(SnapshotStart("s", REPLID, 500, flush=False), SnapshotFinish(REPLID, 500, 0, payload))

    with pytest.raises(UnfaithfulError, match="no functions"):
        writer.run()
