"""Snapshots against real servers: announced before the first key, ended behind the last, and without a gap."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.apply.planner import EXEC
from shaker.errors import ServerBusyError, UnfaithfulError
from shaker.model.entries import LargeEntry
from shaker.model.items import (
    SnapshotChunk,
    SnapshotFinish,
    SnapshotStart,
)
from shaker.model.position import Phase
from tests.support.servers import Server
from tests.support.target_driver import (
    REPLID,
    Stream,
    Writer,
    checkpoint_of,
    dump_of,
    fence_of,
    keys_item,
    keys_of,
    lose_since_save,
    wait_replies,
)

MakeWriter = Callable[..., Writer]


def test_a_snapshot_is_announced_before_its_first_key(fresh: Writer, target: Server) -> None:
    """No RESTORE is sent before `phase=snapshot` was answered, and the end waits for every key's answer."""
    payload = dump_of(target, "value")
    fresh.put(
        SnapshotStart("s", REPLID, 500, flush=False),
        keys_item("s", 1, 0, {"a": payload, "b": payload}),
        keys_item("s", 2, 3, {"c": payload}),
        SnapshotFinish(REPLID, 500, 3),
    )
    first = fresh.send()
    assert b"RESTORE" not in first
    assert fresh.send() == b""
    while b"RESTORE" not in fresh.sent:
        fresh.receive()
        assert checkpoint_of(target).phase == Phase.SNAPSHOT  # type: ignore[union-attr]
        fresh.send()
    while fresh.flow.window.peek() is not None:
        assert fresh.sent.count(EXEC) == 1
        fresh.send()
        fresh.receive()
    fresh.run()

    assert keys_of(target, 3) == {b"c"}
    assert {b"a", b"b"} < keys_of(target)
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.phase, checkpoint.offset, checkpoint.database) == (Phase.STREAM, 500, 3)
    assert (checkpoint.snapshot, checkpoint.snapshot_batch) == ("", 0)


def test_a_refused_key_keeps_the_snapshot_open(fresh: Writer, target: Server) -> None:
    """A key that the target refuses ends the replication, named, while the checkpoint still says `snapshot`."""
    payload = dump_of(target, "value")
    fresh.put(
        SnapshotStart("s", REPLID, 500, flush=False),
        keys_item("s", 1, 2, {"good": payload, "bad": payload[:-1] + b"?", "other": payload}),
        SnapshotFinish(REPLID, 500, 0),
    )

    with pytest.raises(UnfaithfulError, match="'bad' of database 2") as caught:
        fresh.run()

    assert caught.value.kind == "refused_key"
    assert "value" not in str(caught.value)
    assert checkpoint_of(target).phase == Phase.SNAPSHOT  # type: ignore[union-attr]


@pytest.mark.parametrize("database", [0, 4])
def test_a_huge_request_is_expected_from_its_first_byte(fresh: Writer, target: Server, database: int) -> None:
    """Answers may come before the last piece is sent: of the SELECT before it, or of a request that is refused."""
    payload = dump_of(target, "value")
    fresh.put(SnapshotStart("s", REPLID, 500, flush=False), keys_item("s", 1, 4, {"proven": payload}))
    while fresh.step():
        pass
    entry = LargeEntry(database, b"huge", len(payload), -1, -1, -1)
    first, second = (
        SnapshotChunk("s", 2, entry, data, first=begins, more=True)
        for data, begins in ((payload[:3], True), (payload[3:9], False))
    )
    last = SnapshotChunk("s", 2, entry, payload[9:], first=False, more=False)
    fresh.put(first)
    fresh.send()
    assert not fresh.session.idle
    if database:
        assert fresh.session.waiting
        fresh.receive()
    assert not fresh.session.waiting  # the target has all the time that the source takes
    fresh.put(second)
    fresh.send()
    fresh.put(last, keys_item("s", 3, 0, {"other": payload}), SnapshotFinish(REPLID, 500, 0))
    fresh.run()

    assert target.client(db=database).get("huge") == b"value"
    assert target.client().get("other") == b"value"
    assert checkpoint_of(target).phase == Phase.STREAM  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [30_000, 88_500, 90_000, 93_000, 250_000])
def test_no_chunk_of_a_built_value_waits_for_nothing(fresh: Writer, target: Server, size: int) -> None:
    """Whatever a chunk ends with, also elements that do not fill a command, the next one is taken at once."""
    target.client().rpush("list", *(f"element:{number * 7919 % 1000003}" for number in range(60_000)))
    payload = target.client().execute_command("DUMP", "list")
    target.client().delete("list")
    fresh.put(SnapshotStart("s", REPLID, 500, flush=False))
    fresh.run()
    entry = LargeEntry(0, b"list", -1, -1, -1, -1, payload[0], payload[-10])
    *pieces, last = [payload[start : start + size] for start in range(0, len(payload), size)]
    for index, piece in enumerate(pieces):
        fresh.put(SnapshotChunk("s", 1, entry, piece, first=not index, more=True))
    while fresh.send() or fresh.session.busy:
        pass
    assert fresh.flow.window.peek() is None
    fresh.put(SnapshotChunk("s", 1, entry, last, first=False, more=False))
    fresh.run()
    assert target.client().llen("list") == 60_000


def test_a_huge_request_that_is_refused_before_its_end(fresh: Writer, target: Server) -> None:
    """The error names the key, not a reply that nothing asked for."""
    payload = dump_of(target, "value")
    fresh.put(SnapshotStart("s", REPLID, 500, flush=False), keys_item("s", 1, 4, {"proven": payload}))
    while fresh.step():
        pass
    entry = LargeEntry(4, b"huge", 10, -1, -1, -1)
    fresh.put(SnapshotChunk("s", 2, entry, payload[:9], first=True, more=True))
    fresh.send()
    fresh.put(SnapshotChunk("s", 2, entry, b"x\r\nno request\r\n", first=False, more=True))
    fresh.send()

    wait_replies(fresh, len(b"+OK\r\n-ERR Protocol error"))

    with pytest.raises(UnfaithfulError, match="'huge' of database 4"):
        fresh.receive()


def test_an_outage_in_a_snapshot_leaves_no_gap(fresh: Writer, target: Server) -> None:
    """Keys refused for want of memory are sent again, whatever the batch number says by then."""
    payload = dump_of(target, "value")
    fresh.put(SnapshotStart("s", REPLID, 500, flush=False))
    fresh.run()
    target.client().config_set("maxmemory", 1)
    fresh.put(keys_item("s", 1, 0, {"a": payload}))
    fresh.send()
    wait_replies(fresh, 10)
    target.client().config_set("maxmemory", 0)
    fresh.put(keys_item("s", 2, 0, {"b": payload}), SnapshotFinish(REPLID, 500, 0))
    with pytest.raises(ServerBusyError):
        fresh.run()
    fresh.cut()

    assert fresh.register()
    fresh.run()

    assert {b"a", b"b"} < keys_of(target)
    assert checkpoint_of(target).phase == Phase.STREAM  # type: ignore[union-attr]


def test_a_snapshot_goes_on_after_a_lost_connection(fresh: Writer, target: Server) -> None:
    """Requests that were not answered are sent again; nothing starts over while the server is the same."""
    payload = dump_of(target, "value")
    fresh.put(SnapshotStart("s", REPLID, 500, flush=False))
    fresh.run()
    for number in range(1, 6):
        fresh.put(keys_item("s", number, number % 2, {f"k{number}": payload}))
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
        keys_item("s", 1, 0, {"a": payload}),
        keys_item("s", 2, 0, {"b": payload}),
    )
    while fresh.step():
        pass
    fresh.put(keys_item("s", 3, 0, {"c": payload}))
    target.client().hset("shaker:checkpoint:default", "snapshot_batch", number)
    fresh.cut()

    assert not fresh.register()
    assert len(fresh.flow.window) == 0
    assert fresh.flow.resume is None
    assert fresh.flow.acknowledged_offset == 0


def test_a_snapshot_starts_over_on_another_server_run(forgetful: Writer) -> None:
    """A restarted target may have lost keys whose number it kept: the snapshot starts over."""
    target = forgetful.server
    payload = dump_of(target, "value")
    forgetful.put(SnapshotStart("s", REPLID, 500, flush=False), keys_item("s", 1, 0, {"a": payload}))
    while forgetful.step():
        pass
    forgetful.put(keys_item("s", 2, 0, {"b": payload}))
    target.client().save()
    lose_since_save(target, forgetful)
    assert checkpoint_of(target).snapshot_batch == 1  # type: ignore[union-attr]

    assert not forgetful.register()
    assert forgetful.flow.resume is None


def test_a_new_worker_never_goes_on_with_a_snapshot(fresh: Writer, make_writer: MakeWriter, target: Server) -> None:
    """A snapshot that a dead worker left behind is not resumed, and no offset of it is acknowledged."""
    fresh.put(SnapshotStart("s", REPLID, 500, flush=False))
    fresh.run()
    other = make_writer(target)
    other.register()

    assert other.flow.resume is None
    assert other.flow.acknowledged_offset == 0


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
    assert (checkpoint.phase, checkpoint.snapshot, checkpoint.rejected) == (Phase.SNAPSHOT, "s", 0)
