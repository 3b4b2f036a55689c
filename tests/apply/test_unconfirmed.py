"""Unconfirmed work on the target's side: where `confirmed` stays, and which keys are remembered, when."""

from __future__ import annotations

import pytest

from shaker.apply.planner import EXEC
from shaker.apply.records import Checkpoint, copying_key
from shaker.apply.unconfirmed import KNOWN_KEYS, Unconfirmed
from shaker.codec.resp.replies import encode
from shaker.model.batch import Batch
from shaker.model.items import ReviewItem, StreamItem
from shaker.rules.command_table import CommandTable
from shaker.rules.expiring_commands import NEEDS, SWAPS
from shaker.rules.touched_keys import Touched
from tests.support.servers import Server, wait_until
from tests.support.target_driver import REPLID, Stream, Writer, checkpoint_of

UNCONFIRMED = "shaker:unconfirmed:default"


def remembered(target: Server, database: int = 0) -> set[bytes]:
    """The keys that wait to be compared."""
    found: set[bytes] = target.client(db=database).smembers(UNCONFIRMED)
    return found


def lose(writer: Writer, target: Server) -> None:
    """Lose the connection when the target has executed all that was sent, and before any reply is read."""
    before = checkpoint_of(target)
    while EXEC not in writer.send():
        writer.receive()  # that a database is there
    wait_until(lambda: checkpoint_of(target) != before, "the transaction")
    writer.cut()


def made(stream: Stream, *commands: tuple[bytes | str | int, ...], bits: int = NEEDS) -> StreamItem:
    """Return a batch of commands of a kind, as a reader notes it."""
    item = stream.batch(*commands)
    item.batch = item.batch._replace(parts=(item.batch.parts[0]._replace(expiries=bits),))
    return item


def record(target: Server) -> Checkpoint:
    """The checkpoint."""
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    return checkpoint


def test_a_lost_connection(sliced: Writer, stream: Stream, target: Server) -> None:
    """The keys enter the set with the first commands behind them, and only then `confirmed` moves."""
    start = stream.offset
    sliced.put(stream.parts((3, [("RPUSH", "l", 1), ("SET", "a", 1)]), (0, [("INCR", "n")])))
    lose(sliced, target)
    lost = stream.offset
    assert (record(target).offset, record(target).confirmed) == (lost, start)

    assert sliced.register()
    assert sliced.flow.unconfirmed.pending
    assert remembered(target, 3) == set()
    sliced.put(stream.batch(("INCR", "n")))
    sliced.run()

    assert (remembered(target, 3), remembered(target)) == ({b"l", b"a"}, {b"n"})
    assert target.client().get("n") == b"2"
    checkpoint = record(target)
    assert (checkpoint.offset, checkpoint.confirmed) == (stream.offset, stream.offset)
    assert (checkpoint.unconfirmed, checkpoint.confirmed_database) == (lost - start, checkpoint.database)
    assert sliced.flow.unconfirmed.place is None


@pytest.mark.parametrize("database", [0, 3])
def test_a_command_that_fails_while_keys_are_unconfirmed(
    sliced: Writer, stream: Stream, target: Server, database: int
) -> None:
    """Those before it may have failed unseen: it is no rejected command, and the keys that it changes are copied."""
    target.client(db=database).set("l", "a string that the source does not have")
    sliced.put(stream.batch(("RPUSH", "l", 1), database=database))
    lose(sliced, target)
    assert sliced.register()
    sliced.put(stream.batch(("RPUSH", "l", 2), ("RENAME", "gone", "new"), database=database))
    sliced.run()

    assert sliced.rejections == []
    assert target.client(db=database).smembers(copying_key("default")) == {b"l", b"gone", b"new"}


def test_nothing_behind_it(sliced: Writer, stream: Stream, target: Server) -> None:
    """The keys are remembered at once."""
    sliced.put(stream.batch(("INCR", "n")))
    lose(sliced, target)
    assert sliced.register()
    sliced.run()
    assert remembered(target) == {b"n"}
    assert record(target).confirmed == stream.offset


def test_lost_again_before_they_are_remembered(sliced: Writer, stream: Stream, target: Server) -> None:
    """What was not executed is sent again."""
    start = stream.offset
    sliced.put(stream.batch(("INCR", "n")))
    lose(sliced, target)
    for _ in range(2):
        assert sliced.register()
        sliced.data_to_send()
        sliced.cut()
    assert record(target).confirmed == start
    assert sliced.register()
    sliced.run()
    assert remembered(target) == {b"n"}


def test_lost_again_with_them(sliced: Writer, stream: Stream, target: Server) -> None:
    """The transaction that remembers them is itself unconfirmed, with the commands in it."""
    sliced.put(stream.batch(("INCR", "n")))
    lose(sliced, target)
    lost = stream.offset
    assert sliced.register()
    sliced.put(stream.batch(("SET", "b", 1)))
    lose(sliced, target)
    assert (record(target).offset, record(target).confirmed) == (stream.offset, lost)
    assert sliced.register()
    sliced.run()
    assert remembered(target) == {b"n", b"b"}
    assert target.client().get("n") == b"1"
    assert record(target).confirmed == stream.offset


def test_replies_that_were_read(sliced: Writer, stream: Stream, target: Server) -> None:
    """The checkpoint may lag behind them: nothing is unconfirmed."""
    start = stream.offset
    sliced.put(stream.batch(("INCR", "n")))
    while not sliced.session.idle or record(target).offset == start:
        sliced.step()
    assert record(target).confirmed == start
    sliced.cut()
    assert sliced.register()
    assert not sliced.flow.unconfirmed.pending
    sliced.run()
    assert remembered(target) == set()


def test_bytes_that_are_not_at_hand(sliced: Writer, stream: Stream, target: Server) -> None:
    """What was dropped once sent is read from the source again."""
    start = stream.offset
    item = stream.batch(("INCR", "n"))
    sliced.put(item)
    lose(sliced, target)
    sliced.flow.window.release([item])
    assert not sliced.register()
    unconfirmed = sliced.flow.unconfirmed
    assert unconfirmed.unread
    assert unconfirmed.place == (start, 0)
    resume = sliced.flow.resume
    assert resume is not None
    assert resume.offset == stream.offset


def test_a_new_worker(writer: Writer, stream: Stream, target: Server) -> None:
    """`confirmed` stays until what was read again is remembered, through commands without effect and persisting."""
    start = stream.offset
    writer.put(stream.batch(("INCR", "n"), database=3))
    lose(writer, target)
    lost = stream.offset
    with Writer(target) as second:
        second.register()
        unconfirmed = second.flow.unconfirmed
        assert (unconfirmed.place, unconfirmed.unread) == ((start, 0), True)
        assert not second.session.behind
        second.session.persist()
        assert second.send() == b""

        touched = Touched(second.flow.target.table)
        touched.add(3, encode("INCR", "n"))
        first = unconfirmed.batch(touched, REPLID, lost, 3)
        second.put(ReviewItem(first, 0.0))
        second.run()
        assert remembered(target, 3) == {b"n"}
        assert record(target).confirmed == start

        second.put(
            ReviewItem(unconfirmed.batch(Touched(second.flow.target.table), REPLID, lost, 3), 0.0, last=True)
        )
        second.put(stream.batch(("INCR", "n"), database=3))
        second.run()
        assert record(target).confirmed == stream.offset
        assert target.client(db=3).get("n") == b"2"


def test_keys_made_of_others_meanwhile(writer: Writer, stream: Stream, target: Server) -> None:
    """They enter the set as long as something is in it, and no longer."""
    writer.put(stream.batch(("RPUSH", "l", 1)))
    lose(writer, target)
    writer.register()
    writer.put(made(stream, ("COPY", "l", "m"), ("SET", "other", 1)))
    writer.run()
    assert remembered(target) == {b"l", b"m"}
    writer.flow.unconfirmed.waiting = False
    writer.put(made(stream, ("COPY", "l", "o")))
    writer.run()
    assert remembered(target) == {b"l", b"m"}
    assert record(target).unconfirmed == 0


@pytest.mark.parametrize(
    ("text", "database"), [("100 3", 3), ("99 3", None), ("", None), ("100", None), ("100 x", None), ("x 3", None)]
)
def test_the_database_of_the_last_reply(text: str, database: int | None) -> None:
    """It counts only beside the offset that it was written for: an older version writes that alone."""
    assert Checkpoint(confirmed=100, confirmed_at=text).confirmed_database == database
    assert Checkpoint().confirming(100, 3).confirmed_database == 3
    assert Checkpoint().confirming(100, None) == Checkpoint(confirmed=100)


def test_many_keys() -> None:
    """They go in requests of bounded size; a whole database stands for its keys, everything for all."""
    unconfirmed, touched = Unconfirmed("n"), Touched(CommandTable({}))
    touched.keys = {0: {b"%d" % number for number in range(2500)}, 1: {b"a"}}
    batch: Batch = unconfirmed.batch(touched, REPLID, 10, 0)
    assert [part.commands for part in batch.parts] == [1, 1, 1, 1]
    touched.whole = {0}
    batch = unconfirmed.batch(touched, REPLID, 10, 0)
    assert [(part.database, part.data) for part in batch.parts] == [
        (0, encode("SADD", "shaker:unconfirmed:n", "shaker:unconfirmed:n")),
        (1, encode("SADD", "shaker:unconfirmed:n", "a")),
    ]
    touched.everything = True
    batch = unconfirmed.batch(touched, REPLID, 10, 0)
    assert [part.data for part in batch.parts] == [encode("SADD", "shaker:unconfirmed:n", "shaker:checkpoint:n")]


def test_only_what_is_made_of_a_key_that_waits_is_remembered(
    sliced: Writer, stream: Stream, target: Server
) -> None:
    """Through each step; a swap of databases makes them unknown, so that everything made of others is remembered."""
    unconfirmed = sliced.flow.unconfirmed
    target.client().mset({"a": 1, "other": 2, "third": 3})
    sliced.put(stream.batch(("INCR", "a")))
    lose(sliced, target)
    assert sliced.register()
    sliced.put(made(stream, ("RENAME", "other", "elsewhere")))
    sliced.run()
    assert remembered(target) == {b"a"}

    sliced.put(made(stream, ("COPY", "a", "b")), made(stream, ("RENAME", "b", "c"), ("RENAME", "third", "d")))
    sliced.run()
    assert remembered(target) == {b"a", b"b", b"c"}
    unconfirmed.found_equal(0, [b"a", b"b", b"c"])
    sliced.put(made(stream, ("COPY", "c", "e")))
    sliced.run()
    assert b"e" not in remembered(target)

    sliced.put(
        made(stream, ("SWAPDB", 0, 1), bits=SWAPS),
        made(stream, ("SWAPDB", 0, 1), bits=SWAPS),
        made(stream, ("COPY", "d", "f")),
    )
    sliced.run()
    assert remembered(target) == {b"a", b"b", b"c", b"d", b"f"}


def test_too_many_keys_are_not_known(stream: Stream) -> None:
    """Their names take no memory, and whatever is made of others is remembered."""
    unconfirmed = Unconfirmed("default")
    assert unconfirmed.known == {}
    touched = Touched(CommandTable({}))
    touched.keys[0] = {b"%d" % number for number in range(KNOWN_KEYS)}
    unconfirmed.batch(touched, REPLID, 100, 0)
    assert len((unconfirmed.known or {})[0]) == KNOWN_KEYS
    touched.keys = {3: {b"one more"}}
    unconfirmed.batch(touched, REPLID, 100, 0)
    assert unconfirmed.known is None
    unconfirmed.compared()
    assert unconfirmed.known == {}
