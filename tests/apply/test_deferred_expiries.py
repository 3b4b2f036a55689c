"""Expiries that are put off: never without their keys being remembered, and both follow where databases go."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from shaker.apply.deferred_expiries import Expiries
from shaker.apply.snapshot_requests import SnapshotEncoder
from shaker.codec.resp.replies import encode
from shaker.errors import LinkError
from shaker.flow.lifecycle import FlowEvent
from shaker.model.batch import Batch, CommandRun
from shaker.model.entries import Entry, LargeEntry
from shaker.model.items import SnapshotChunk, SnapshotKeys, SnapshotStart, StreamItem
from shaker.model.position import Phase
from shaker.rules.chain import Chain
from shaker.rules.command_table import CommandTable
from shaker.rules.expiring_commands import NEEDS, SETS
from shaker.rules.expiry import NEVER, Times
from tests.support.deferred import (
    COPYING,
    COUNTED,
    DOUBTFUL,
    EXPIRING,
    FAR,
    HOLD_MS,
    MARGIN,
    Feeding,
    assert_put_off,
    catch_up,
    expire_one,
    expires,
    fall_behind,
    listed,
    soon,
)
from tests.support.rdb_bytes import entries_of
from tests.support.replicating import Command
from tests.support.servers import Server, wait_until
from tests.support.target_driver import REPLID, Writer, checkpoint_of

# --- the stream ---


@pytest.mark.parametrize("database", [0, 3])
def test_put_off_and_remembered(behind: Feeding, target: Server, database: int) -> None:
    """In the database of the key; the checkpoint tells that there is something."""
    before = checkpoint_of(target)
    assert before is not None
    assert before.expiring == 0
    behind.apply(
        ("SET", "near", 1, "PXAT", soon()),
        ("SET", "far", 1, "PXAT", FAR),
        ("SET", "none", 1),
        ("PEXPIREAT", "none", soon()),
        ("PEXPIREAT", "missing", soon()),
        database=database,
    )

    assert_put_off(target, "near", database)
    assert_put_off(target, "none", database)
    assert expires(target, "far", database) == FAR + MARGIN
    assert listed(target, database=database) == {"near", "none", "missing"}
    assert listed(target, COPYING, database) == set()
    assert listed(target, database=1) == set()
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert checkpoint.expiring == 1


def test_each_database_has_its_own(behind: Feeding, target: Server) -> None:
    """Of one batch, with those that came in between."""
    behind.apply(
        ("SET", "a", 1, "PXAT", soon()),
        ("SELECT", 3),
        ("MULTI",),
        ("SET", "b", 1, "PXAT", soon()),
        ("INCR", "n"),
        ("EXEC",),
        ("SELECT", 0),
        ("SET", "c", 1, "PXAT", soon()),
    )
    assert (listed(target), listed(target, database=3)) == ({"a", "c"}, {"b"})


def test_commands_that_mention_a_record(behind: Feeding, target: Server) -> None:
    """A value, or a key, that has the prefix of the worker's own in it; in a transaction and alone."""
    behind.apply(
        ("SET", "a", "shaker:", "PXAT", soon()),
        ("MULTI",),
        ("SET", "b", "xshaker:x", "PXAT", soon()),
        ("SET", "shaker:fence:x", 1, "PXAT", soon()),
        ("EXEC",),
        ("SET", "my-shaker:c", 1, "PXAT", soon()),
        ("SET", "shaker:d", 1, "PXAT", soon()),
    )
    assert listed(target) == {"a", "b", "my-shaker:c", "shaker:d"}


def test_one_in_a_run_of_others(behind: Feeding, target: Server) -> None:
    """Wherever in it; runs of one read, and of a transaction, become one."""
    behind.apply(
        ("INCR", "n"), ("INCR", "n"), ("SET", "a", 1, "PXAT", soon()), ("INCR", "n"), ("MULTI",), ("INCR", "n"),
        ("SET", "b", 1, "PXAT", soon()), ("INCR", "n"), ("EXEC",), ("INCR", "n"), ("PING",), ("INCR", "n"),
        ("SET", "c", 1, "PXAT", soon()),
    )  # fmt: skip
    behind.apply(("INCR", "n"), ("MULTI",), ("SET", "d", 1, "PXAT", soon()), ("EXEC",), ("INCR", "n"))
    assert listed(target) == {"a", "b", "c", "d"}


def test_close_behind_nothing_is_remembered(behind: Feeding, target: Server) -> None:
    """Every expiry gets the margin."""
    catch_up(behind.writer)
    at = soon(60)
    behind.apply(("SET", "k", 1, "PXAT", at), ("SET", "relative", 1, "PX", 60_000), ("PEXPIREAT", "k", at))

    assert expires(target, "k") == at + MARGIN
    assert 50_000 < expires(target, "relative") - time.time() * 1000 <= 60_000 + MARGIN
    assert target.client().exists(EXPIRING, COPYING, DOUBTFUL) == 0
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert checkpoint.expiring == 0


def test_never_one_without_the_other(behind: Feeding, target: Server) -> None:
    """Wherever the connection is cut, a key with a later expiry is remembered, and one that is not there is not."""
    writer, client = behind.writer, target.client(db=2)

    def write(number: int) -> bytes:
        behind.write(("SELECT", 2), ("SET", f"k{number}", 1, "PXAT", soon()), ("SELECT", 0))
        return writer.data_to_send()

    behind.apply(("SET", "k", 1), database=2)  # the database is proven
    data = write(0)
    head, size = data.index(b"HSET"), len(data)
    lengths = (*range(1, 20), *range(20, size - head, 20), *range(size - head, size + 1), 0)
    for number, left_out in enumerate(lengths):
        with suppress(LinkError):
            writer.wire.send(data[: max(0, len(data) - left_out)])
        there = left_out == 0
        if there:  # and its answer is lost
            wait_until(lambda key=f"k{number}": client.exists(key), "the effect")  # type: ignore[misc]
        writer.cut()
        writer.register()
        assert (client.exists(f"k{number}"), client.sismember(EXPIRING, f"k{number}")) == (there, there)
        writer.run_through()
        assert_put_off(target, f"k{number}", 2)
        assert client.sismember(EXPIRING, f"k{number}")
        data = write(number + 1)
    assert target.client().exists(EXPIRING) == 0


def test_sent_again_after_a_reconnect(behind: Feeding, target: Server) -> None:
    """With the times of then: what was near may not be behind any more, and what is remembered stays."""
    writer = behind.writer
    behind.write(("SET", "k", 1, "PXAT", soon()), ("INCR", "n"))
    writer.data_to_send()
    writer.cut()
    assert writer.register()
    catch_up(writer)
    writer.run()

    assert expires(target, "k") - time.time() * 1000 < 10_000
    assert listed(target) == set()
    assert target.client().get("n") == b"1"
    # Nobody knows what the connection before had done: there may be keys.
    assert writer.flow.expiries.waiting


@pytest.mark.parametrize("database", [0, 3])
def test_the_margin_is_known_until_a_snapshot_replaces_the_keys(
    behind: Feeding, target: Server, database: int
) -> None:
    """A full sync that is announced has replaced nothing: a worker that starts then still finds the earlier keys."""
    writer = behind.writer
    behind.apply(("SET", "earlier", 1, "PXAT", FAR), database=database)
    assert expires(target, "earlier", database) == FAR + MARGIN
    expire_one(writer)
    for number in range(2):
        behind.write(("SET", "n", number), database=database)
        writer.send()  # the end of the second transaction waits for the answer to the first
    writer.flow.happen(FlowEvent.SOURCE_CONNECTED)
    writer.flow.begin_snapshot()
    writer.put(SnapshotStart("s", REPLID, 5000, flush=True))
    writer.receive()
    writer.step()
    found = checkpoint_of(target)
    assert found is not None
    assert target.client(db=database).get("n") == b"1"
    assert (found.phase, found.margin, found.expired) == (Phase.STREAM, MARGIN, COUNTED.text)

    writer.run()
    found = checkpoint_of(target)
    assert found is not None
    assert (found.phase, found.margin, found.expired) == (Phase.SNAPSHOT, 0, COUNTED._replace(keys=1).text)


@pytest.mark.parametrize(
    "renewal",
    [
        ("PEXPIREAT", "k", FAR),
        ("PERSIST", "k"),
        ("GETEX", "k", "PXAT", FAR),
        ("SET", "k", 2, "KEEPTTL"),
    ],
)
@pytest.mark.parametrize("database", [0, 3])
def test_what_may_come_too_late_is_doubtful(
    behind: Feeding, target: Server, renewal: Command, database: int
) -> None:
    """The key may be gone, or rebuilt, on the target; the checkpoint says that there is something."""
    catch_up(behind.writer)
    behind.apply(("SET", "k", 1, "PXAT", soon(60)), ("SET", "l", 1), renewal, database=database)
    assert listed(target, DOUBTFUL, database) == set()
    fall_behind(behind.writer)
    behind.apply(("INCR", "k"), renewal)

    assert listed(target, DOUBTFUL, database) == {"k"}
    assert listed(target, COPYING, database) == set()
    assert behind.writer.flow.expiries.doubts
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.expiring, checkpoint.expired) == (1, COUNTED.text)


FAILING: list[tuple[Command, str]] = [
    (("RENAME", "k", "d"), "d"),
    (("RENAMENX", "k", "d"), "d"),
    (("LSET", "k", 0, "v"), "k"),
    (("LSET", "short", 5, "v"), "short"),
    (("XSETID", "k", "5-1"), "k"),
    (("XGROUP", "CREATE", "k", "g", "0"), "k"),
    (("XGROUP", "SETID", "stream", "g", "0"), "stream"),
    (("XCLAIM", "k", "g", "c", 0, "5-1"), "k"),
]


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize(("command", "differs"), FAILING)
def test_what_fails_for_want_of_a_key_is_copied(
    behind: Feeding, target: Server, command: Command, differs: str, late: bool
) -> None:
    """If some key may have expired early, whether it was to be expected or not: it is no rejected command."""
    catch_up(behind.writer)
    behind.apply(
        ("RPUSH", "short", "v"), ("XADD", "stream", "1-1", "f", "v"), ("SET", "d", "old"), database=3
    )  # fmt: skip
    if late:
        fall_behind(behind.writer)
    else:
        expire_one(behind.writer)
    behind.apply(command, ("SET", "next", 1))

    assert behind.writer.rejections == []
    assert not behind.writer.flow.expiries.lacking
    assert differs in listed(target, COPYING, 3) <= {differs, "k"}
    assert target.client(db=3).get("next") == b"1"
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.rejected, checkpoint.expiring) == (0, 1)


def test_what_fails_while_no_key_can_have_expired_is_rejected(behind: Feeding, target: Server) -> None:
    """Something else has taken the key: somebody has to hear of it."""
    catch_up(behind.writer)
    behind.apply(("SET", "l", 1, "PXAT", FAR), ("RENAME", "k", "d"))
    assert [rejection.command for rejection in behind.writer.rejections] == ["RENAME"]
    assert listed(target, COPYING) == set()


def test_what_fails_for_another_reason_is_rejected(behind: Feeding, target: Server) -> None:
    """Whatever may have expired."""
    catch_up(behind.writer)
    behind.apply(("SET", "string", "x"))
    expire_one(behind.writer)
    fall_behind(behind.writer)
    behind.apply(("LSET", "string", 0, "v"), ("INCR", "string"), ("EVALSHA", "0" * 40, 0))
    assert [rejection.command for rejection in behind.writer.rejections] == ["LSET", "INCR", "EVALSHA"]


def rename_of_a_missing_key(behind: Feeding, database: int = 0) -> Writer:
    """Send one, where keys may have expired early; the writer has not read the answer."""
    catch_up(behind.writer)
    expire_one(behind.writer)
    behind.write(("RENAME", "k", "d"), database=database)
    behind.writer.send()
    return behind.writer


def test_what_is_owed_to_a_lost_connection_is_remembered_by_the_next(behind: Feeding, target: Server) -> None:
    """What failed is known from an answer, and the connection is lost before the note of it is written."""
    writer = rename_of_a_missing_key(behind)
    while not writer.flow.expiries.lacking:
        writer.receive()
    assert listed(target, COPYING) == set()
    writer.cut()
    assert writer.register()
    writer.run_through()
    assert listed(target, COPYING) == {"d"}
    assert writer.rejections == []


def test_a_new_worker_takes_nothing_for_granted(
    behind: Feeding, make_writer: Callable[..., Writer], target: Server
) -> None:
    """It does not know which expiries have passed; that keys wait it reads from the checkpoint."""
    behind.apply(("SET", "k", 1), ("SET", "near", 1, "PXAT", soon()))
    other = make_writer(target)
    other.register()
    assert other.flow.expiries.waiting
    feeding = Feeding(other)
    feeding.assembler = behind.assembler
    feeding.apply(("PERSIST", "k"), ("RENAME", "near", "moved"))

    assert listed(target, COPYING) == {"moved"}
    assert listed(target, DOUBTFUL) == {"k"}


def test_a_rejected_command_is_found_beside_others(behind: Feeding, target: Server) -> None:
    """Inside EXEC and before it: requests of the worker's own stand between the runs."""
    behind.apply(
        ("SET", "a", 1, "PXAT", soon()),
        ("LPUSH", "a", "secret"),
        ("SET", "b", 1, "PXAT", soon()),
        ("SELECT", 3),
        ("SET", "c", 1, "PXAT", 4_102_444_800_000),
        ("SET", "d", 1, "PXAT", soon()),
        ("LPUSH", "d", "secret"),
        ("INCR", "n"),
    )
    told = [rejection.summary for rejection in behind.writer.rejections]
    assert [text.partition(":")[0] for text in told] == ["LPUSH a", "LPUSH d"]
    assert (listed(target), listed(target, database=3)) == ({"a", "b"}, {"d"})
    behind.writer.rejections.clear()

    behind.apply(
        ("SELECT", 0),
        ("SETEX", "x", 5, 1),
        ("NOSUCH", "y"),
        ("SETEX", "z", 5, 1),
        ("SELECT", 3),
        ("SETEX", "x", 5, 1),
        ("INCR", "n", "too", "many"),
        ("SETEX", "z", 5, 1),
    )
    told = [rejection.command for rejection in behind.writer.rejections]
    assert told == ["NOSUCH", "INCR"]
    assert (listed(target), listed(target, database=3)) == ({"a", "b", "x", "z"}, {"d", "x", "z"})
    assert target.client(db=3).get("n") == b"1"
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert checkpoint.rejected == 4


def test_the_checkpoint_tells_when_nothing_waits_any_more(behind: Feeding, target: Server) -> None:
    """At the next occasion, without a command."""
    writer = behind.writer
    behind.apply(("SET", "k", 1, "PXAT", soon()))
    assert not writer.session.behind
    writer.flow.expiries.waiting = False
    assert writer.session.behind
    writer.run()
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert checkpoint.expiring == 0


# --- without a server ---

NOW = 2_000_000_000_000


class Asked:
    """Answers for times, and keeps what it was asked: whether for a snapshot."""

    def __init__(self, *, late: bool = False) -> None:
        self.late = late
        self.questions: list[bool] = []

    def __call__(self, item: StreamItem | None) -> Times:
        self.questions.append(item is None)
        return Times(NOW, NOW + 600_000, NOW + HOLD_MS, 2000, self.late, self.late)


def part(*commands: Command, expiries: int = SETS) -> CommandRun:
    """A part of the stream."""
    return CommandRun(0, b"".join(encode(*command) for command in commands), len(commands), expiries=expiries)


def item(*parts: CommandRun) -> StreamItem:
    """A batch of parts."""
    return StreamItem(Batch(parts, 1, 10, REPLID, 2000, 0, None), 0.0)


CHAIN = Chain(CommandTable({}))


def rewritten(expiries: Expiries, item: StreamItem, run: CommandRun) -> tuple[bytes, list[tuple[int, bytes]]]:
    """What is sent for a run of the stream, and the requests that remember its keys."""
    if run.label is not None:
        return run.data, expiries.remember_huge(item, run, *run.label)
    written = CHAIN.written(run, expiries.times_for(item, run), any_waiting=expiries.waiting)
    return written.pieces[0], expiries.remember(run.database, written.found)


def restored(expiries: Expiries, *entries: Entry | LargeEntry) -> list[bytes]:
    """What is sent for keys of a snapshot: requests, then those that remember keys."""
    encoder = SnapshotEncoder("default", CHAIN, expiries)
    if isinstance(entries[0], LargeEntry):
        return encoder.requests(SnapshotChunk("s", 1, entries[0], b"", first=True, more=False)).pieces
    return encoder.requests(SnapshotKeys("s", 1, entries_of(*entries))).pieces


def test_what_tells_of_no_expiry_is_not_looked_at() -> None:
    """It is passed on as it is; what only needs a key is looked at once there is any to be copied or late."""
    asked = Asked()
    expiries = Expiries("default", asked, lambda: None)
    expiries.begin_snapshot()
    near: Command = ("PEXPIREAT", "k", NOW + 5)
    for one in (
        part(near, expiries=0),
        part(near)._replace(label=(b"SET", b"k"), commands=0),  # more of it is to come
        part(near)._replace(label=(b"SETRANGE", b"k")),
        part(near)._replace(label=(b"SET", None)),
    ):
        data, beside = rewritten(expiries, item(one), one)
        assert data is one.data
        assert beside == []
    assert asked.questions == []

    moving = part(("RENAME", "a", "b"), expiries=NEEDS)
    assert rewritten(expiries, item(moving), moving) == (moving.data, [])
    assert len(asked.questions) == 1
    expiries.waiting = True
    assert rewritten(expiries, item(moving), moving) == (moving.data, [(0, encode("SADD", COPYING, "b"))])
    late = Expiries("default", Asked(late=True), lambda: None)
    assert rewritten(late, item(moving), moving) == (moving.data, [(0, encode("SADD", DOUBTFUL, "b"))])
    assert late.doubts
    assert not expiries.doubts


def test_a_fragment_that_may_set_an_expiry_is_remembered() -> None:
    """Close behind, too: what is too large to be looked at gets no margin before it is settled."""

    def close(item: StreamItem | None) -> Times:
        return Times(NOW, NEVER, 0, margin, late=False, passed=False)

    one = part(("SET", "k", "v", "PXAT", NOW + 5))._replace(label=(b"set", b"k"))
    margin = 2000
    assert rewritten(Expiries("default", close, lambda: None), item(one), one) == (
        one.data,
        [(0, encode("SADD", EXPIRING, "k"))],
    )
    margin = 0
    assert rewritten(Expiries("default", close, lambda: None), item(one), one) == (one.data, [])


def test_a_target_that_keeps_what_expires() -> None:
    """In its import mode nothing is put off, nor late: times only become absolute."""
    expiries = Expiries("default", Asked(), lambda: None)
    expiries.by_target = True
    one = part(("EXPIRE", "k", 5), ("PERSIST", "l"))
    data, beside = rewritten(expiries, item(one), one)
    assert data == encode("PEXPIREAT", "k", NOW + 5000) + encode("PERSIST", "l")
    assert beside == []
    (data,) = restored(expiries, Entry(b"k", b"\0\0", 5, -1, -1), Entry(b"h", bytes([22]), -1, -1, -1))
    assert b"$1\r\n5\r\n" in data
    assert len(restored(expiries, LargeEntry(0, b"k", 5, 7, -1, -1))) == 3
    assert not expiries.waiting


def test_times_are_asked_for_the_item_or_for_a_snapshot() -> None:
    """The stream's own are counted from when it was written."""
    asked = Asked()
    expiries = Expiries("default", asked, lambda: None)
    one = part(("EXPIRE", "k", 5))
    rewritten(expiries, item(one), one)
    restored(expiries, Entry(b"k", b"\0\0", -1, -1, -1))
    restored(expiries, LargeEntry(0, b"k", 5, -1, -1, -1))
    assert asked.questions == [False, True, True]


def test_nothing_is_near_for_a_copy_that_is_left_alone() -> None:
    """A caller that answers NEVER gets the true expiries, of fields, too."""

    def never(item: StreamItem | None) -> Times:
        return Times(NOW, NEVER, 0, 0, late=False, passed=False)

    expiries = Expiries("default", never, lambda: None)
    assert len(restored(expiries, Entry(b"k", bytes([22]), 5, -1, -1))) == 1
    one = part(("HPEXPIREAT", "h", 5, "FIELDS", 1, "f"), ("PEXPIREAT", "k", 5))
    data = rewritten(expiries, item(one), one)
    assert data == (one.data, [])
