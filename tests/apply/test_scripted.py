"""A target without memory takes what frees some, with the checkpoint, exactly once; what needs some waits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from shaker.apply.scripted import SCRIPT, failures, script
from shaker.codec.resp.replies import encode
from shaker.errors import LinkError, ServerBusyError
from shaker.model.batch import RecordsWiped
from shaker.writers.register import _take_by_script
from tests.support.servers import NAMES, Server
from tests.support.target_driver import Stream, Writer, checkpoint_of, fence_of, finish, keys_of, start_stream

MakeWriter = Callable[..., Writer]


def filled(make_writer: MakeWriter, target: Server, stream: Stream, database: int) -> Writer:
    """Return a writer in the stream on a target that is full."""
    writer = make_writer(target)
    writer.register()
    start_stream(writer, stream)
    commands = [("SET", f"key:{number}", "v" * 1000) for number in range(20)]
    writer.put(stream.batch(*commands, ("RPUSH", "l", *range(100)), ("SADD", "s", "a", "b"), database=database))
    writer.put(stream.batch(("SET", "other", 1)))
    writer.run()
    target.client().config_set("maxmemory", 1)
    return writer


def run_through(writer: Writer) -> None:
    """Run, with a new connection for as long as that gets on."""
    for _ in range(4):
        try:
            writer.run()
            break
        except ServerBusyError:
            writer.cut()
            while True:
                try:
                    assert writer.register(), "the window was not kept"
                    break
                except ServerBusyError:
                    assert writer.flow.window.tight
    else:
        writer.run()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("database", [0, 4])
def test_deletions_go_through(
    server: Callable[..., Server], make_writer: MakeWriter, name: str, database: int
) -> None:
    """What frees memory takes effect once and is covered by the checkpoint, as long as nothing else is before it."""
    target, stream = server(name), Stream()
    writer = filled(make_writer, target, stream, database)
    deletions = [("DEL" if number % 2 else "UNLINK", f"key:{number}") for number in range(18)]
    writer.put(stream.batch(*deletions, database=database))
    writer.put(stream.parts((database, (("LTRIM", "l", 1, -1), ("LTRIM", "s", 0, 1))), (0, (("DEL", "other"),))))
    freed = stream.offset
    writer.put(stream.batch(("SREM", "s", "a"), ("SET", "later", 1), database=database))
    with pytest.raises(ServerBusyError):
        run_through(writer)

    client = target.client(db=database)
    assert sorted(keys_of(target, database) - {b"shaker:fence:default", b"shaker:checkpoint:default"}) == [
        *(b"key:18", b"key:19", b"l", b"s")
    ]
    assert client.llen("l") == 99
    assert client.smembers("s") == {b"a", b"b"}
    assert target.client().exists("other") == 0
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.offset, checkpoint.rejected) == (freed, 1)
    assert checkpoint.rejected_last == "LTRIM s: WRONGTYPE"

    target.client().config_set("maxmemory", 0)
    writer.cut()
    writer.register()
    run_through(writer)
    assert (client.get("later"), client.llen("l"), client.smembers("s")) == (b"1", 99, {b"b"})
    assert not writer.flow.window.tight
    assert checkpoint_of(target).offset == stream.offset  # type: ignore[union-attr]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("database", [0, 4])
def test_a_new_worker_on_a_full_target(
    server: Callable[..., Server], make_writer: MakeWriter, name: str, database: int
) -> None:
    """It registers, the older one writes no more, and deletions go through from where that one stood."""
    target, stream = server(name), Stream()
    older = filled(make_writer, target, stream, database)
    newer = make_writer(target)
    with pytest.raises(ServerBusyError):
        newer.register()
    newer.cut()
    newer.register()

    assert (newer.registered.killed, newer.registered.wiped) == (1, False)
    assert fence_of(target) == newer.registered.fence
    assert newer.registered.fence.epoch == older.registered.fence.epoch + 1
    assert newer.flow.resume is not None
    assert newer.flow.resume.offset == stream.offset
    older.put(stream.batch(("DEL", "key:1"), database=database))
    with pytest.raises(LinkError):
        older.run()
    newer.put(stream.batch(("DEL", "key:2"), database=database))
    newer.run()
    assert target.client(db=database).exists("key:1", "key:2") == 1


def test_a_registration_by_script_that_lost_the_race(
    make_writer: MakeWriter, target: Server, stream: Stream
) -> None:
    """A fence that changed since it was read is not overwritten."""
    writer = filled(make_writer, target, stream, 0)
    fence = writer.registered.fence
    for seen in (None, fence._replace(epoch=7), fence._replace(token="x"), fence._replace(connection=7)):
        taken = _take_by_script(writer.wire, "default", seen, fence._replace(epoch=9), [])  # type: ignore[arg-type]
        assert finish(taken) is None
    assert fence_of(target) == fence


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("command", "moved_to"), [(("FLUSHALL",), None), (("FLUSHDB",), None), (("SWAPDB", 0, 4), 4)]
)
def test_records_that_the_stream_takes(
    server: Callable[..., Server],
    make_writer: MakeWriter,
    name: str,
    command: tuple[str | int, ...],
    moved_to: int | None,
) -> None:
    """FLUSHALL, FLUSHDB and SWAPDB go through with both records; nobody is taken for their thief."""
    target, stream = server(name), Stream()
    writer = filled(make_writer, target, stream, 0)
    writer.put(stream.batch(command, records=RecordsWiped(moved_to)), stream.batch(("DEL", "key:0"), database=4))
    run_through(writer)

    assert b"key:1" not in keys_of(target)
    assert (b"key:1" in keys_of(target, 4)) == (command[0] == "SWAPDB")
    assert b"key:0" not in keys_of(target, 4)
    assert checkpoint_of(target).offset == stream.offset  # type: ignore[union-attr]
    assert fence_of(target) == writer.registered.fence
    assert checkpoint_of(target, database=4) is None


def test_a_target_that_forbids_scripts(make_writer: MakeWriter, target: Server, stream: Stream) -> None:
    """The error names the right that is missing; with it, it goes on."""
    writer = filled(make_writer, target, stream, 4)
    admin = target.client()
    admin.execute_command("ACL", "SETUSER", "default", "-eval")
    writer.put(stream.batch(("DEL", "key:1"), database=4))
    errors = []
    for _ in range(6):
        try:
            writer.run()
        except LinkError as error:
            errors.append(str(error))
        while True:
            writer.cut()
            try:
                writer.register()
                break
            except LinkError as error:
                errors.append(str(error))
                if len(errors) > 6:
                    break
        if len(errors) > 6:
            break

    assert any("EVAL" in text for text in errors)
    assert any("maxmemory" in text for text in errors)
    admin.execute_command("ACL", "SETUSER", "default", "+eval")
    writer.cut()
    with suppress(LinkError):
        writer.register()
    writer.cut()
    writer.register()
    run_through(writer)
    assert target.client(db=4).exists("key:1") == 0


def test_what_a_script_says_of_its_requests(target: Server) -> None:
    """The last reply, or the numbers and errors of the first ten that failed."""
    client = target.client(decode_responses=True)
    client.set("s", "text")
    good = encode("INCR", "n") + encode("SELECT", 3) + encode("INCR", "n")
    bad = encode("LPUSH", "s", 1) + encode("INCR", "s")
    request = script(good, "n")
    assert request.startswith(encode("EVAL", SCRIPT, 1, "n")[4:][:20]) or b"EVAL" in request
    connection = client.connection_pool.get_connection()

    def answer(requests: bytes) -> object:
        connection.send_packed_command([script(requests, "n")])
        return connection.read_response()

    assert answer(good) == 1
    assert target.client(db=3).get("n") == b"1"
    with pytest.raises(Exception, match="SHAKER 24 0:WRONGTYPE 1:ERR") as caught:
        answer(bad * 12)
    found = failures(str(caught.value))
    assert len(found) == 10
    assert found[:3] == [(0, "WRONGTYPE"), (1, "ERR"), (2, "WRONGTYPE")]
    client.connection_pool.release(connection)
