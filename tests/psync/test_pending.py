"""Commands gathered for a batch: neighbouring runs are joined where nothing tells them apart."""

from __future__ import annotations

from shaker.model.batch import LEFT_OUT_BYTES, RUN_BYTES, CommandRun
from shaker.psync.pending import Pending, PendingRun
from shaker.rules.expiring_commands import SETS, SWAPS


def runs(pending: Pending) -> list[CommandRun]:
    """Return the runs as a batch gets them."""
    return [run.whole() for run in pending.parts]


def test_runs_of_one_database_become_one() -> None:
    """Their bytes, commands and marks are joined."""
    pending = Pending()
    pending.add(0, b"aa", 2, 0)
    pending.add(0, b"b", 1, SETS)

    assert runs(pending) == [CommandRun(0, b"aab", 3, expiries=SETS)]
    assert (pending.commands, pending.size) == (3, 3)
    assert pending.held == 3 + RUN_BYTES


def test_another_database_prefix_or_swap_begins_another_run() -> None:
    """What belongs to the keys of one run may not move to another's."""
    pending = Pending()
    pending.add(0, b"a", 1, 0)
    pending.add(1, b"b", 1, 0)
    pending.add(1, b"c", 2, 0, b"prefix")
    pending.add(1, b"d", 1, SWAPS)
    pending.add(1, b"e", 1, 0)

    assert [run.data for run in runs(pending)] == [b"a", b"b", b"c", b"d", b"e"]


def test_a_fragment_stands_alone_and_leaves_the_command_unfinished() -> None:
    """It ends with the fragment that counts as a command."""
    pending = Pending()
    pending.add(0, b"a", 1, 0)
    pending.add_fragment(PendingRun(0, [b"begin"], 0, (b"SET", b"k")))
    assert pending.unfinished
    pending.add_fragment(PendingRun(0, [b"end"], 1, (b"SET", b"k")))
    assert not pending.unfinished
    pending.add(0, b"b", 1, 0)

    assert [(run.data, run.commands) for run in runs(pending)] == [(b"a", 1), (b"begin", 0), (b"end", 1), (b"b", 1)]


def test_a_transaction_joins_the_commands_before_it() -> None:
    """With what was left out of it."""
    pending, transaction = Pending(), Pending()
    pending.add(0, b"a", 1, 0)
    transaction.add(0, b"b", 1, 0)
    transaction.add(2, b"c", 1, 0)
    transaction.rejected, transaction.skipped, transaction.scripts = [b"SET"], 2, [b"return 1"]
    pending.merge(transaction)

    assert [(run.database, run.data) for run in runs(pending)] == [(0, b"ab"), (2, b"c")]
    assert (pending.commands, pending.size, pending.skipped) == (3, 3, 2)
    assert (pending.rejected, pending.scripts) == ([b"SET"], [b"return 1"])
    assert pending.held == 3 + 2 * RUN_BYTES + LEFT_OUT_BYTES


def test_what_was_given_out_is_forgotten() -> None:
    """A batch that goes out in pieces starts empty after each, and remembers that it has begun."""
    pending = Pending()
    pending.add(0, b"a", 1, 0)
    pending.rejected.append(b"SET")
    pending.spill()

    assert runs(pending) == []
    assert (pending.commands, pending.held, pending.spilled) == (0, 0, True)
