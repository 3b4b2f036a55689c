"""Databases, the worker's own records in them, and what the checkpoint says of offsets and replies."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.apply.records import Checkpoint
from shaker.codec.resp.replies import encode
from shaker.errors import AccessError, LinkError, UnfaithfulError
from shaker.model.batch import RecordsWiped
from shaker.model.items import SnapshotStart, StreamItem
from tests.support.servers import Server, wait_until
from tests.support.target_driver import (
    REPLID,
    Stream,
    Writer,
    checkpoint_of,
    dump_of,
    fence_of,
    keys_item,
    keys_of,
    start_stream,
)

MakeWriter = Callable[..., Writer]


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
    writer.put(SnapshotStart("s", REPLID, 0, flush=False), keys_item("s", 1, 9, {"wrong": payload}))

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


def test_databases_are_proven_in_one_round_trip(make_writer: MakeWriter, server: Callable[..., Server]) -> None:
    """All that waits, and all that earlier connections used, is asked for at once, by a new connection too."""
    target, stream = server(databases=2000), Stream()
    writer = make_writer(target)
    writer.register()
    start_stream(writer, stream)
    used = range(1, 1001)
    writer.put(*[stream.batch(("INCR", "n"), database=database) for database in used])
    probes = writer.send()
    assert probes == b"".join(encode("SELECT", database) for database in (*used, 0))
    writer.run()
    writer.cut()
    assert writer.register()
    writer.put(stream.batch(("INCR", "n"), database=7))
    assert writer.send() == probes
    writer.run()

    assert target.client(db=7).get("n") == b"2"
    assert target.client(db=1000).get("n") == b"1"


def test_a_database_that_only_may_be_used_can_be_missing(
    server: Callable[..., Server], make_writer: MakeWriter, stream: Stream
) -> None:
    """What is asked for ahead of a transaction of unknown size ends nothing; what it then uses and lacks does."""
    target = server(databases=4)
    writer = make_writer(target)
    writer.register()
    start_stream(writer, stream)

    def begun(database: int) -> StreamItem:
        item = stream.batch(("INCR", "n"), database=database)
        item.batch = item.batch._replace(more=True)
        return item

    writer.put(stream.batch(("INCR", "n")), begun(0), begun(3), stream.batch(("INCR", "n"), database=2))
    writer.run()
    assert [target.client(db=database).get("n") for database in (0, 3, 2)] == [b"2", b"1", b"1"]
    before = checkpoint_of(target)

    writer.put(begun(0), begun(5))
    with pytest.raises(LinkError, match="database 5"):
        writer.run()
    writer.cut()
    writer.register()
    with pytest.raises(UnfaithfulError, match="database 5"):
        writer.run()
    assert checkpoint_of(target) == before


@pytest.mark.parametrize("permitted", ["db=0,2", "alldbs"])
@pytest.mark.needs_servers("valkey-9.1")
def test_a_database_is_proven_by_the_right_to_select_it(
    make_writer: MakeWriter, server: Callable[..., Server], stream: Stream, permitted: str
) -> None:
    """A right for each database (Valkey 9) is asked for, not concluded from a number of databases."""
    target = server("valkey-9.1")
    writer = make_writer(target)
    writer.register()
    start_stream(writer, stream)
    target.client().execute_command("ACL", "SETUSER", "default", "resetdbs", permitted)
    item = stream.batch(("INCR", "n"), database=2)
    item.batch = item.batch._replace(more=True)
    writer.put(item, stream.batch(("INCR", "n"), database=2))
    writer.run()
    assert target.client(db=2).get("n") == b"2"

    writer.put(stream.batch(("INCR", "n"), database=3))
    if permitted == "alldbs":
        writer.run()
        return
    with pytest.raises(AccessError):
        writer.run()
    target.client().execute_command("ACL", "SETUSER", "default", "alldbs")
    writer.cut()
    assert writer.register()
    writer.run()
    assert target.client(db=3).get("n") == b"1"


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
    sliced.put(stream.batch(*commands, records=RecordsWiped(moved_to)), stream.batch(("SET", "after", 1)))
    sliced.run()

    assert fence_of(target) == sliced.registered.fence
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert set(target.client().hkeys("shaker:checkpoint:default")) == {name.encode() for name in Checkpoint._fields}
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
        sliced.put(stream.batch(("SWAPDB", 0, 1), records=RecordsWiped(1)), stream.batch(("INCR", "n"), database=1))
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
        stream.batch(("FLUSHALL",), records=RecordsWiped(None)),
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
    assert sliced.flow.acknowledged_offset == stream.offset
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
    before = sliced.flow.acknowledged_offset
    sliced.put(stream.ping())

    assert sliced.send() == b""
    assert sliced.flow.acknowledged_offset == before
    sliced.run()
    assert sliced.flow.acknowledged_offset == stream.offset


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
