"""Watching the stream for commands on one key."""

from __future__ import annotations

import pytest

from shaker.codec.resp.replies import encode
from shaker.flow.watch import KeyWatch
from shaker.model.batch import Batch, CommandRun


def batch(*runs: CommandRun) -> Batch:
    """A batch of command runs."""
    return Batch(runs, len(runs), 0, "id", 100, 0)


def run(*arguments: str, label: tuple[bytes, bytes | None] | None = None) -> CommandRun:
    """A run of one command."""
    return CommandRun(0, encode(*arguments), 1, label)


@pytest.mark.parametrize(
    "command",
    [("APPEND", "big", "x"), ("RENAME", "other", "big"), ("flushall",), ("FLUSHDB",), ("SWAPDB", "0", "1")],
    ids=str,
)
def test_a_command_that_may_change_the_key_touches_it(command: tuple[str, ...]) -> None:
    """By name, or as one of all keys."""
    watch = KeyWatch(b"big")
    watch.see(batch(run("SET", "k", "v"), run(*command)))
    assert watch.touched


def test_a_fragment_of_a_huge_command_touches_every_key() -> None:
    """Its arguments are not all at hand."""
    watch = KeyWatch(b"big")
    watch.see(batch(run("MSET", "a", "1", label=(b"MSET", b"a"))))
    assert watch.touched


def test_commands_on_other_keys_do_not() -> None:
    """However many."""
    watch = KeyWatch(b"big")
    for number in range(100):
        watch.see(batch(run("SET", f"k{number}", "v")))
    assert not watch.touched
