"""Watching the stream for commands on one key."""

from __future__ import annotations

import pytest

from shaker.codec.resp.replies import encode
from shaker.flow.watch import MOST_KEYS, ChangedKeys, KeyWatch
from shaker.model.batch import Batch, CommandRun
from shaker.rules.command_table import CommandTable, KeyPositions


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


ROWS = {name: KeyPositions(1, 1, 1, movable=False) for name in ("set", "del")} | {
    "mset": KeyPositions(1, -1, 2, movable=False)
}


def changed() -> ChangedKeys:
    """A collection that knows a few commands."""
    names: dict[str, KeyPositions] = {
        "flushdb": KeyPositions(0, 0, 0, movable=False),
        "flushall": KeyPositions(0, 0, 0, movable=False),
    }
    return ChangedKeys(CommandTable(ROWS | names))


def test_changed_keys_are_taken_once() -> None:
    """By database; the next ones are collected from then on."""
    watch = changed()
    watch.see(batch(run("SET", "a", "1"), run("MSET", "b", "1", "c", "2"), run("del", "a")))
    assert len(watch) == 3
    assert watch.take() == {0: {b"a", b"b", b"c"}}
    assert watch.take() == {}
    assert watch.complete


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB"])
def test_a_command_that_names_no_keys_makes_the_collection_incomplete(command: str) -> None:
    """Any key may have changed; nothing more is kept."""
    watch = changed()
    watch.see(batch(run("SET", "a", "1"), run(command)))
    watch.see(batch(run("SET", "b", "1")))
    assert (watch.complete, len(watch)) == (False, 0)


def test_a_collection_is_bounded() -> None:
    """Beyond the limit any key may have changed."""
    watch = changed()
    keys = [str(number) for number in range(2 * MOST_KEYS + 2)]
    watch.see(batch(run("MSET", *keys)))
    assert (watch.complete, len(watch)) == (False, 0)
