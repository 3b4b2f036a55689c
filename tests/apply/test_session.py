"""Transactions, probes, records and snapshots against real servers: what may be on the wire, and what it leaves."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from shaker.apply import planner as planner_module
from shaker.apply.planner import EXEC, MULTI
from shaker.apply.records import Checkpoint
from shaker.codec.resp.replies import encode
from shaker.errors import AccessError, LinkError, ServerBusyError, UnfaithfulError
from shaker.model.position import Phase
from tests.support.servers import Server, wait_until
from tests.support.target_driver import (
    REPLID,
    Stream,
    Wire,
    Writer,
    checkpoint_of,
    keys_of,
    lose_since_save,
    wait_replies,
)

MakeWriter = Callable[..., Writer]


def answered(wire: Wire) -> bool:
    """Whether the server still answers on a connection."""
    try:
        return bool(wire.receive(1 << 16))
    except LinkError:
        return False


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
    assert (checkpoint.phase, checkpoint.replid) == (Phase.STREAM, REPLID)
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
    size = 2 + 2 * len(Checkpoint._fields)
    assert end.startswith(b"*%d\r\n" % size + encode("HSET", "shaker:checkpoint:default")[4:])
    assert end.endswith(EXEC)
    assert end.count(EXEC) == 1


def test_a_large_transaction_is_closed(writer: Writer, stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that has its fill takes no more; the next one follows it and nothing is lost between."""
    monkeypatch.setattr(planner_module, "TRANSACTION_BYTES", 100)
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
    assert len(sliced.flow.window) == 3  # with what remembers the keys of the first transaction
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
    restarts = forgetful.flow.restarts
    lose_since_save(target, forgetful)

    assert not forgetful.register()

    flow = forgetful.flow
    assert len(flow.window) == 0
    assert flow.restarts == restarts + 1
    assert flow.resume == (REPLID, saved, 0)
    assert flow.acknowledged_offset == saved
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
