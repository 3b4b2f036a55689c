"""Commands on their way into a transaction: runs of SET go as one MSET, wiped records are written again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from shaker.apply.records import Checkpoint
from shaker.codec.resp.replies import encode
from shaker.errors import AccessError, LinkError, UnfaithfulError
from shaker.model.batch import Batch, RecordsWiped
from shaker.model.items import StreamItem
from shaker.rules.mset import LEAST, SET
from tests.support.deferred import (
    COPYING,
    Feeding,
    catch_up,
    expires,
    listed,
    soon,
)
from tests.support.replicating import Command, Replicating, Source
from tests.support.servers import Server
from tests.support.target_driver import (
    Stream,
    Writer,
    checkpoint_of,
    fence_of,
    keys_of,
    start_stream,
)

MANY = LEAST + 4


def sets(first: int = 0, count: int = MANY) -> list[tuple[str, str, str]]:
    """SET of so many keys."""
    return [("SET", f"key:{number}", f"value:{number}") for number in range(first, first + count)]


def test_a_run_goes_as_one(writer: Writer, target: Server) -> None:
    """In the database it is for, between what came before and behind; all of its commands are counted."""
    source = Feeding(writer)
    source.apply(*sets(), ("SELECT", 3), *sets(), ("SELECT", 0), ("INCR", "n"))
    assert writer.sent.count(b"$4\r\nMSET\r\n") == 2
    assert SET not in writer.sent
    for database in (0, 3):
        assert target.client(db=database).mget(*(key for _, key, _ in sets())) == [
            b"value:%d" % n for n in range(MANY)
        ]
    assert target.client().get("n") == b"1"
    assert sum(progress.commands for progress in writer.progress) == 2 * MANY + 1
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert checkpoint.offset == source.assembler.offset


@pytest.mark.parametrize("commands", [sets(count=LEAST - 1), [*sets(), ("INCR", "n")]])
def test_others_go_as_they_came(writer: Writer, target: Server, commands: list[tuple[str, ...]]) -> None:
    """Too few, one among them that is none."""
    Feeding(writer).apply(*commands)
    assert b"MSET" not in writer.sent
    assert target.client().dbsize() == len(commands) + 2


def test_cut_anywhere(writer: Writer, target: Server) -> None:
    """Sent again after each lost connection: each takes effect once, with its offset."""
    source = Feeding(writer)
    for number in range(0, 400, 40):
        source.write(("INCR", "n"))
        source.write(*sets(number))
        data = writer.data_to_send()
        with suppress(LinkError):
            writer.wire.send(data[: len(data) * number // 400])
        writer.cut()
        assert writer.register()
    writer.run_through()
    assert target.client().get("n") == b"10"
    assert target.client().dbsize() == 10 * MANY + 3
    assert checkpoint_of(target).offset == source.assembler.offset  # type: ignore[union-attr]


def test_a_target_without_mset(server: Callable[..., Server], make_writer: Callable[..., Writer]) -> None:
    """It costs one connection; from then on the commands go as they came, and none of them is rejected."""
    target = server(rename_command='MSET ""')
    writer = make_writer(target)
    writer.register()
    start_stream(writer, Stream())
    source = Feeding(writer)
    source.write(*sets())
    with pytest.raises(LinkError, match="the target rejects MSET: ERR unknown command") as caught:
        writer.run()
    assert "value" not in str(caught.value)
    source.write(*sets(MANY))
    writer.run_through()
    source.apply(*sets(2 * MANY))
    assert writer.rejections == []
    assert target.client().dbsize() == 3 * MANY + 2
    assert writer.flow.window.size == 0


def test_what_had_no_right_inside_exec_is_copied(writer: Writer, stream: Stream, target: Server) -> None:
    """The user loses the right while the transaction waits for its end: every key of the joined commands."""
    source = Feeding(writer)
    source.write(("INCR", "n"))
    writer.send()
    source.write(("INCR", "n"), ("INCR", "n"))
    source.write(*sets())
    writer.send()
    target.client().execute_command("ACL", "SETUSER", "default", "-mset")
    with pytest.raises(AccessError):
        writer.run()
    target.client().execute_command("ACL", "SETUSER", "default", "+mset")
    writer.cut()
    writer.register()
    writer.run_through()
    assert writer.rejections == []
    assert target.client().smembers("shaker:copying:default") == {b"key:%d" % number for number in range(MANY)}
    assert target.client().get("n") == b"3"


def test_what_fails_of_a_transaction_too_large_to_keep_is_counted(
    server: Callable[..., Server], make_writer: Callable[..., Writer]
) -> None:
    """Its bytes are dropped by then: no key can be told, but as many commands are rejected."""
    target = server()
    writer = make_writer(target, window_limit=1)
    writer.register()
    start_stream(writer, Stream())
    source = Feeding(writer, pass_above=100)
    source.write(("MULTI",), *sets())
    while writer.step():
        pass
    last = writer.flow.window.last
    assert isinstance(last, StreamItem)
    assert last.released
    target.client().execute_command("ACL", "SETUSER", "default", "-mset")
    source.write(("EXEC",))
    with pytest.raises(AccessError):
        writer.run()
    target.client().execute_command("ACL", "SETUSER", "default", "+mset")
    writer.cut()
    writer.register()
    writer.run()
    assert [one.command for one in writer.rejections] == ["?"] * MANY
    assert checkpoint_of(target).rejected == MANY  # type: ignore[union-attr]


def test_an_argument_too_large_for_any_transaction_is_refused_as_it_is_announced(
    writer: Writer, stream: Stream
) -> None:
    """Its first bytes are enough: the rest may take hours, or never end."""
    source = Feeding(writer, pass_above=100)
    begun = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$999999999999\r\nvalue"
    for event in source.assembler.feed(begun):
        assert isinstance(event, Batch)
        writer.put(StreamItem(event, 0.0))
    with pytest.raises(UnfaithfulError, match="too large for the target; raise client-query-buffer-limit"):
        writer.run()


def test_replies_of_single_bytes(writer: Writer, target: Server) -> None:
    """However they are cut."""
    writer.slice = 1
    Feeding(writer).apply(("RPUSH", "l", 1), *sets(), ("SELECT", 1), *sets(), ("SELECT", 0), ("INCR", "l"))
    assert [one.command for one in writer.rejections] == ["INCR"]
    assert target.client(db=1).dbsize() == MANY
    assert encode("SELECT", 1) in writer.sent


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


@pytest.mark.parametrize("lost", [None, 100, 700, 1500])
def test_a_huge_transaction_in_pieces(target: Server, lost: int | None) -> None:
    """Each piece remembers its own; a source that is lost inside of it brings it again."""
    commands: list[Command] = [("INCR", "n"), ("MULTI",)]
    commands += [("SET", f"k{number}", "x" * 40, "PXAT", soon()) for number in range(40)]
    commands += [("SELECT", 1), ("SET", "other", 1, "PXAT", soon()), ("RENAME", "other", "renamed"), ("EXEC",)]
    worker = Replicating(Source(commands, {}), target, window_limit=1 << 12, pass_above=200)
    try:
        worker.start()
        worker.load()
        for _ in range(100):
            worker.read(100)
            worker.send()
            if lost is not None and worker._read > lost:
                worker.cut_source()
                lost = None
        worker.complete()
    finally:
        worker.close()

    assert listed(target) == {f"k{number}" for number in range(40)}
    assert all(expires(target, f"k{number}") > soon(3600) for number in range(40))
    assert listed(target, database=1) == {"other"}
    assert "renamed" in listed(target, COPYING, 1)
    assert target.client().get("n") == b"1"


@pytest.mark.parametrize("database", [0, 3])
def test_a_huge_value_is_remembered(writer: Writer, target: Server, database: int) -> None:
    """It passes as it is and may expire early; then it is found missing and copied."""
    feeding = Feeding(writer, pass_above=200)
    huge = b"x" * 5000
    feeding.apply(("SET", "huge", huge, "PXAT", soon()), ("SETRANGE", "other", 0, huge), database=database)
    feeding.apply(("MULTI",), ("INCR", "n"), ("set", "in a transaction", huge, "PXAT", soon(60)), ("EXEC",))

    assert listed(target, database=database) == {"huge", "in a transaction"}
    assert target.client(db=database).get("in a transaction") == huge
    assert target.client(db=database).get("other") == huge
    catch_up(writer)
    feeding.apply(("SET", "caught up", huge, "PXAT", soon(60)), ("INCR", "n"))
    assert listed(target, database=database) == {"huge", "in a transaction"}
    assert target.client(db=database).get("n") == b"2"
