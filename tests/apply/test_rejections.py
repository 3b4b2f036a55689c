"""Commands that the target rejects in themselves: counted, named, never their values, and nothing else suffers."""

from __future__ import annotations

import pytest

from shaker.apply.rejections import describe, is_passing, passing_error, refused_request, runs_without
from shaker.codec.resp.replies import encode
from shaker.codec.resp.requests import split
from shaker.errors import AccessError, LinkError, ServerBusyError
from shaker.model.entries import Entries
from shaker.model.items import SnapshotKeys
from shaker.model.rejection import Rejection
from shaker.rules.command_table import CommandTable
from tests.support.servers import Server
from tests.support.target_driver import Stream, Writer, checkpoint_of


def test_the_count_is_written_without_being_asked(sliced: Writer, stream: Stream, target: Server) -> None:
    """A rejection told by EXEC is written as soon as nothing else is under way."""
    sliced.put(stream.batch(("SET", "s", "text")), stream.batch(("LPUSH", "s", 1)))
    while sliced.step():
        pass

    assert checkpoint_of(target).rejected == 1  # type: ignore[union-attr]


def test_a_command_that_is_not_known(sliced: Writer, stream: Stream, target: Server) -> None:
    """It is left out and counted once; the rest of its batch and of the others takes effect once."""
    sliced.put(
        stream.batch(("INCR", "n"), ("NOSUCH", "key", "a secret"), ("INCR", "n")), stream.batch(("INCR", "n"))
    )
    sliced.run_through()

    assert target.client().get("n") == b"3"
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert checkpoint.rejected == 1
    assert checkpoint.rejected_last.startswith("NOSUCH: ERR unknown command")
    assert not any("secret" in part for rejection in sliced.rejections for part in rejection)


def test_a_batch_of_nothing_but_unknown_commands(sliced: Writer, stream: Stream, target: Server) -> None:
    """The offset moves past it, with the count."""
    sliced.put(stream.batch(("NOSUCH",), database=1), stream.batch(("NOSUCH",)))
    sliced.run_through()

    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.rejected, checkpoint.offset) == (2, stream.offset)


def test_rejections_that_come_with_a_batch(sliced: Writer, stream: Stream, target: Server) -> None:
    """What was left out before the window counts with its batch, in the same transaction, once."""
    sliced.put(stream.batch(("INCR", "n"), rejections=(Rejection("SORT", "", "reserved"),)))
    sliced.send()
    sliced.cut()
    assert sliced.register()
    sliced.run()

    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.rejected, checkpoint.rejected_last) == (1, "SORT: reserved")
    assert target.client().get("n") == b"1"


def test_a_rejection_is_not_forgotten_with_the_connection(sliced: Writer, stream: Stream, target: Server) -> None:
    """What EXEC told is known to the worker before the checkpoint has it: a lost connection must not lose it."""
    sliced.put(stream.batch(("SET", "s", 1)), stream.batch(("LPUSH", "s", 1)))
    sliced.send()
    while not sliced.session.behind or not sliced.rejections:
        sliced.receive()
    sliced.put(stream.batch(("NOSUCH",)), stream.batch(("INCR", "n")))
    sliced.run_through()

    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.rejected, target.client().get("n")) == (2, b"1")


@pytest.mark.parametrize("executed", [True, False])
def test_a_count_on_the_wire_is_not_counted_twice(
    sliced: Writer, stream: Stream, target: Server, executed: bool
) -> None:
    """The transaction that carries the count may have been executed or not when the connection is lost."""
    sliced.put(stream.batch(("SET", "s", 1)), stream.batch(("LPUSH", "s", 1)))
    sliced.send()
    while not sliced.rejections:
        sliced.receive()
    sliced.put(stream.batch(("INCR", "n"), ("LPUSH", "s", 1)))
    data = sliced.data_to_send()
    sliced.wire.send(data if executed else data[:-1])
    if executed:
        sliced.wire.receive(1)
    sliced.cut()
    assert sliced.register()
    sliced.run()

    assert target.client().get("n") == b"1"
    # The second one's answer was lost where it was executed: it is not known, and nothing was confirmed over it.
    assert checkpoint_of(target).rejected == (1 if executed else 2)  # type: ignore[union-attr]


# --- what an error means ---


@pytest.mark.parametrize(
    ("text", "kind", "error"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "oom", ServerBusyError),
        ("READONLY You can't write against a read only replica.", "readonly", ServerBusyError),
        ("MISCONF Redis is configured to save RDB snapshots", "misconf", ServerBusyError),
        ("NOREPLICAS Not enough good replicas to write.", "noreplicas", ServerBusyError),
        ("LOADING Redis is loading the dataset in memory", "loading", ServerBusyError),
        ("BUSY Redis is busy running a script.", "busy", ServerBusyError),
        ("EXECABORT Transaction discarded because of: OOM command not allowed", "oom", ServerBusyError),
        ("NOPERM this user has no permissions", "access", AccessError),
        ("NOAUTH Authentication required.", "access", AccessError),
    ],
)
def test_errors_that_pass(text: str, kind: str, error: type[LinkError]) -> None:
    """States of the server are waited out, under their own names."""
    assert is_passing(text)
    raised = passing_error(text)
    if not text.startswith("EXECABORT"):
        assert raised.kind == kind
    assert type(raised) is error
    assert raised.retry


@pytest.mark.parametrize(
    "text",
    [
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "ERR unknown command 'OOM', with args beginning with: 'READONLY'",
        "EXECABORT Transaction discarded because of previous errors.",
        "ERR value is not an integer or out of range",
        "",
    ],
)
def test_errors_of_the_command(text: str) -> None:
    """Errors of the command itself are not waited out, whatever words they quote."""
    assert not is_passing(text)


def test_a_description_holds_no_value() -> None:
    """Arguments quoted by the server's error are cut off; the key is shown as text, not longer than a line."""
    for quote in "'`":
        text = (
            f"ERR unknown command {quote}x{quote}, with args beginning with: {quote}k{quote} {quote}hunter2{quote}"
        )
        assert describe([b"x", b"k", b"hunter2"], text, CommandTable({})) == ("X", "", "ERR unknown command")
    table = CommandTable.from_reply([[b"incr", 2, [b"write"], 1, 1, 1]])
    rejection = describe([b"INCR", b"\xff" + b"k" * 500], "ERR no", table)
    assert rejection.key.startswith("\\xffkkk")
    assert len(rejection.key) < 200
    assert rejection.summary == f"INCR {rejection.key}: ERR no"


def test_a_refused_key_of_a_snapshot_is_named() -> None:
    """The position counts the SELECT before the keys of a database other than 0."""

    def item(database: int) -> SnapshotKeys:
        values = [each for number in range(3) for each in (b"k%d" % number, b"\x12p")]
        return SnapshotKeys("s", 1, Entries(database, [], values, [], []))

    assert "'k1' of database 0 (RDB type 18)" in str(refused_request(item(0), 1, "ERR Bad data"))
    assert "'k1' of database 5" in str(refused_request(item(5), 2, "ERR Bad data"))
    assert refused_request(item(5), 4, "ERR").kind == "records"
    assert refused_request(item(0), 3, "WRONGTYPE").kind == "records"


def test_a_refused_string_of_a_snapshot_is_named() -> None:
    """Many are in one request: by the first one's name."""
    item = SnapshotKeys("s", 1, Entries(0, [b"k0", b"v0", b"k1", b"v1"], [b"k2", b"\x12p"], [], []))
    error = refused_request(item, 0, "ERR unknown command 'MSET'")
    assert "'k0' of database 0 (a string)" in str(error)
    assert "v0" not in str(error)
    assert "'k2' of database 0 (RDB type 18)" in str(refused_request(item, 1, "ERR Bad data"))
    assert refused_request(item, 2, "ERR").kind == "records"


# --- commands left out ---


def test_commands_that_are_left_out_leave_the_others_as_they_were(stream: Stream) -> None:
    """Runs without some of their commands keep the bytes and the numbers of the others."""
    words = [(name, number) for number, name in enumerate("abcdef")]
    (part,) = stream.batch(*words).batch.parts
    for left_out in ([], [10], [12], [15], [10, 11, 15], [11, 12, 14], [*range(10, 16)]):
        runs, gone = runs_without(part, 10, left_out)
        kept = [number for number in range(10, 16) if number not in left_out]
        assert [number for run, first in runs for number in range(first, first + run.commands)] == kept
        assert b"".join(run.data for run, _ in runs) == b"".join(encode(*words[number - 10]) for number in kept)
        assert gone == [split(encode(*words[number - 10])) for number in left_out]
