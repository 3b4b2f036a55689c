"""Runs of SET that go as one MSET: they count and take effect as they came, and what fails is said of each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from shaker.codec.resp.replies import encode
from shaker.errors import AccessError, LinkError
from shaker.model.items import StreamItem
from shaker.rules.mset import LEAST, SET
from tests.apply.test_deferred_expiries import Feeding
from tests.support.servers import Server
from tests.support.target_driver import Stream, Writer, checkpoint_of, start_stream

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


def test_replies_of_single_bytes(writer: Writer, target: Server) -> None:
    """However they are cut."""
    writer.slice = 1
    Feeding(writer).apply(("RPUSH", "l", 1), *sets(), ("SELECT", 1), *sets(), ("SELECT", 0), ("INCR", "l"))
    assert [one.command for one in writer.rejections] == ["INCR"]
    assert target.client(db=1).dbsize() == MANY
    assert encode("SELECT", 1) in writer.sent
