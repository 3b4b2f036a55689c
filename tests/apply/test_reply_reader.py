"""Replies matched to requests: each rejected command is counted once, however many and however cut."""

from __future__ import annotations

import time

import pytest

from shaker.apply import reply_reader
from shaker.codec.resp import replies as resp
from tests.support.servers import Server
from tests.support.target_driver import Stream, Writer, checkpoint_of


def test_a_command_that_fails_inside_exec(sliced: Writer, stream: Stream, target: Server) -> None:
    """The rest of the batch takes effect, and the checkpoint gets the count, with command and key."""
    sliced.put(
        stream.batch(("SET", "s", "text"), ("LPUSH", "s", "a secret"), ("INCR", "n"), ("INCR", "s"), ("INCR", "n"))
    )
    sliced.run()

    assert target.client().get("n") == b"2"
    assert [(r.command, r.key, r.error.split()[0]) for r in sliced.rejections] == [
        ("LPUSH", "s", "WRONGTYPE"),
        ("INCR", "s", "ERR"),
    ]
    assert not any("secret" in part or "text" in part for rejection in sliced.rejections for part in rejection)
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert checkpoint.rejected == 2
    assert checkpoint.rejected_last.startswith("INCR s: ERR")
    assert checkpoint.confirmed == checkpoint.offset == stream.offset


def test_several_in_one_batch_and_in_several_databases(sliced: Writer, stream: Stream, target: Server) -> None:
    """Commands left out before EXEC and commands that fail inside it, mixed, each counted once."""
    unknown = ("NOSUCH", "key")
    sliced.put(
        stream.parts(
            (0, (unknown, ("SET", "s", 1), ("LPUSH", "s", 1), unknown)),
            (2, (("INCR", "n"), ("INCR",), ("INCR", "n"))),
            (0, (unknown, ("INCR", "n"))),
            (3, (unknown,)),
        ),
        stream.batch(("INCR", "n"), unknown),
    )
    sliced.run_through()

    assert target.client(db=2).get("n") == b"2"
    assert target.client(db=0).get("n") == b"2"
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.rejected, checkpoint.offset, checkpoint.database) == (7, stream.offset, 0)


@pytest.mark.parametrize("kept", [resp.MAX_ERRORS, 10])
def test_thousands_of_rejections_are_all_counted(
    writer: Writer, stream: Stream, target: Server, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """Every one is counted and named, however many come at once, in a time that does not grow with their square."""
    for module in (resp, reply_reader):
        monkeypatch.setattr(module, "MAX_ERRORS", kept)
    writer.put(stream.batch(("SET", "s", "text")))
    writer.put(
        stream.parts((0, tuple(("LPUSH", "s", n) for n in range(4000))), (1, (("SET", "l", 1), ("LPUSH", "l", 1))))
    )
    started = time.process_time()
    writer.run()

    assert len(writer.rejections) == 4001
    assert {(rejection.command, rejection.key) for rejection in writer.rejections} == {
        ("LPUSH", "s"),
        ("LPUSH", "l"),
    }
    assert checkpoint_of(target).rejected == 4001  # type: ignore[union-attr]
    assert time.process_time() - started < 2.0
