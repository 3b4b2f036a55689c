"""A right that is taken away between QUEUED and EXEC: what it was for is copied later, and nothing else is missed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.apply.planner import EXEC, MULTI
from shaker.apply.records import copying_key, doubtful_key
from shaker.codec.resp.replies import encode
from shaker.codec.resp.requests import commands
from shaker.errors import AccessError
from shaker.model.batch import CommandRun
from shaker.model.items import Barrier
from shaker.rules.expiring_commands import NEEDS
from tests.support.servers import NAMES, Server, wait_until
from tests.support.target_driver import Stream, Writer, checkpoint_of, start_stream

MakeWriter = Callable[..., Writer]
Commands = tuple[tuple[str | int, ...], ...]


def copying(target: Server, database: int) -> set[bytes]:
    """Return the keys of a database that are to be copied."""
    found: set[bytes] = target.client(db=database).smembers(copying_key("default"))  # type: ignore[assignment]
    return found


def execute_without(writer: Writer, right: str) -> None:
    """Have the open transaction executed once a right is taken away behind its last QUEUED; give it back."""
    admin, connection = writer.server.client(), writer.registered.fence.connection
    while not (data := writer.data_to_send()).endswith(EXEC):
        writer.wire.send(data)
        writer.receive()
    writer.wire.send(data[:-5])
    count = len(list(commands(bytes(writer.sent).rpartition(MULTI)[2]))) - 1

    def queued() -> bool:
        entry = next(client for client in admin.client_list() if int(client["id"]) == connection)
        return int(entry["multi"]) == count

    wait_until(queued, f"{count} commands to be queued")
    admin.execute_command("ACL", "SETUSER", "default", right)
    writer.wire.send(data[-5:])
    with pytest.raises(AccessError):
        writer.run()
    admin.execute_command("ACL", "SETUSER", "default", "+@all")


def go_on(writer: Writer) -> None:
    """Go on by a new connection."""
    writer.cut()
    assert writer.register()
    writer.run()


def started(make_writer: MakeWriter, target: Server, stream: Stream) -> Writer:
    """Return a writer in the stream that has proven database 4."""
    writer = make_writer(target)
    writer.register()
    start_stream(writer, stream)
    writer.put(stream.batch(("SET", "k", 1), database=5), stream.batch(("SET", "k", 1), database=4))
    writer.run()
    return writer


@pytest.mark.parametrize("name", NAMES)
def test_keys_of_commands_that_had_no_right(
    server: Callable[..., Server], make_writer: MakeWriter, name: str
) -> None:
    """They are remembered in the target, to be copied; it is no rejected command, and the worker waits."""
    target, stream = server(name), Stream()
    writer = started(make_writer, target, stream)
    before = stream.offset
    writer.put(stream.batch(("INCR", "n"), ("SET", "other", 1), ("INCR", "m"), ("SET", "more", 1), database=4))
    execute_without(writer, "-incr")

    assert checkpoint_of(target).offset == stream.offset  # type: ignore[union-attr]
    assert target.client(db=4).exists("other", "more", "n", "m") == 2
    go_on(writer)
    # Nothing behind it counts as applied before the keys are copied, here by the test.
    assert writer.flow.acknowledged_offset == before
    assert (copying(target, 4), copying(target, 0)) == ({b"n", b"m"}, set())
    assert writer.rejections == []
    assert writer.flow.expiries.waiting
    assert checkpoint_of(target).expiring == 1  # type: ignore[union-attr]
    writer.flow.expiries.waiting = False
    assert writer.flow.acknowledged_offset == stream.offset


@pytest.mark.parametrize(
    ("command", "right", "copied"),
    [
        (("MOVE", "k", 6), "-move", {4: {b"k"}, 6: {b"k"}}),
        (("COPY", "k", "k2", "DB", 5), "-copy", {4: {b"k", b"k2"}, 5: {b"k", b"k2"}}),
        (("RENAME", "k", "k2"), "-rename", {4: {b"k", b"k2"}}),
        (("PUBLISH", "channel", "x"), "-publish", {}),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else "",
)
def test_which_keys(
    target: Server,
    make_writer: MakeWriter,
    stream: Stream,
    command: tuple[str | int, ...],
    right: str,
    copied: dict[int, set[bytes]],
) -> None:
    """All that the command names, in each database that it changes; without keys it is a rejected command."""
    writer = started(make_writer, target, stream)
    writer.put(stream.batch(("SET", "x", 1), database=6))
    writer.run()
    writer.put(stream.batch(command, ("SET", "x", 1), database=4))
    execute_without(writer, right)
    go_on(writer)

    assert {database: copying(target, database) for database in copied} == copied
    assert [rejection.command for rejection in writer.rejections] == ([] if copied else ["PUBLISH"])


@pytest.mark.parametrize("database", [0, 4])
def test_what_is_made_of_them_until_they_are_copied(
    target: Server, make_writer: MakeWriter, stream: Stream, database: int
) -> None:
    """A key that another command makes of one that differs is copied as well, in the same transaction and later."""
    writer = started(make_writer, target, stream)
    sources: Commands = (("SADD", "s", 1), ("SUNIONSTORE", "source", "s"), ("SDIFFSTORE", "made", "source"))
    item = stream.batch(*sources, database=database)
    item.batch = item.batch._replace(parts=tuple(part._replace(expiries=NEEDS) for part in item.batch.parts))
    writer.put(item)
    execute_without(writer, "-sunionstore")
    later = stream.batch(("SDIFFSTORE", "later", "made"), ("SADD", "alone", 1), database=database)
    later.batch = later.batch._replace(parts=tuple(part._replace(expiries=NEEDS) for part in later.batch.parts))
    writer.put(later)
    go_on(writer)

    assert copying(target, database) >= {b"source", b"made"}
    remembered = copying(target, database) | set(target.client(db=database).smembers(doubtful_key("default")))
    assert b"later" in remembered
    assert b"alone" not in remembered
    assert writer.rejections == []


@pytest.mark.parametrize("database", [0, 4])
def test_a_command_that_fails_without_what_was_missed(
    target: Server, make_writer: MakeWriter, stream: Stream, database: int
) -> None:
    """In the same transaction: it is no rejected command."""
    writer = started(make_writer, target, stream)
    writer.put(stream.batch(("SET", "n", 1), database=database))
    writer.run()
    writer.put(stream.batch(("DEL", "n"), ("RPUSH", "n", 1), ("SET", "x", 1), database=database))
    execute_without(writer, "-del")
    go_on(writer)

    assert writer.rejections == []
    assert copying(target, database) == {b"n"}


@pytest.mark.parametrize("database", [0, 4])
def test_a_checkpoint_that_had_no_right(
    target: Server, make_writer: MakeWriter, stream: Stream, database: int
) -> None:
    """The commands took effect, the checkpoint did not: this process knows, writes it later and repeats nothing."""
    writer = started(make_writer, target, stream)
    before = checkpoint_of(target)
    writer.put(stream.batch(("INCR", "n"), ("RPUSH", "l", 1), database=database))
    execute_without(writer, "-hset")

    assert target.client(db=database).get("n") == b"1"
    assert checkpoint_of(target) == before
    go_on(writer)
    client = target.client(db=database)
    assert (client.get("n"), client.llen("l")) == (b"1", 1)
    assert checkpoint_of(target).offset == stream.offset  # type: ignore[union-attr]


def test_a_copy_that_had_no_right(target: Server, make_writer: MakeWriter, stream: Stream) -> None:
    """Requests of the worker's own at a barrier: their keys are to be copied again."""
    writer = started(make_writer, target, stream)
    ended: list[bool] = []
    hold = Barrier(stream.replid, stream.offset, lambda: None, ended.append)
    requests = encode("UNLINK", "k") + encode("SREM", copying_key("default"), "k")
    hold.go_on((CommandRun(4, requests, 2),))
    writer.put(hold)
    execute_without(writer, "-unlink")
    go_on(writer)

    assert ended == [True]
    assert copying(target, 4) >= {b"k"}


@pytest.mark.parametrize("right", ["-srem", "-sadd"])
def test_a_list_of_keys_that_had_no_right(
    target: Server, make_writer: MakeWriter, stream: Stream, right: str
) -> None:
    """What the worker could not enter in a list, or take off it, is entered again; a record is never copied."""
    writer = started(make_writer, target, stream)
    hold = Barrier(stream.replid, stream.offset, lambda: None, lambda _: None)
    request = encode(right[1:].upper(), copying_key("default"), "k")
    hold.go_on((CommandRun(4, request, 1),))
    writer.put(hold)
    execute_without(writer, right)
    go_on(writer)

    assert copying(target, 4) == {b"k"}
    assert writer.rejections == []
