"""The count of rejected commands continues the checkpoint's, and each rejection is reported before it is counted."""

from __future__ import annotations

from shaker.apply.records import Checkpoint
from shaker.apply.tally import Tally
from shaker.model.position import Phase, Position
from shaker.model.rejection import Rejection


def test_rejections_are_added_to_the_checkpoints_count_and_reported() -> None:
    """The count goes on from that of the checkpoint, and the last summary is that of the newest rejection."""
    reported: list[Rejection] = []
    tally = Tally(3, "SET old: ERR", reported.append)
    rejections = [Rejection("LPUSH", "a", "WRONGTYPE"), Rejection("NOSUCH", "", "ERR unknown command")]
    tally.add(rejections)

    assert (tally.count, tally.last) == (5, "NOSUCH: ERR unknown command")
    assert reported == rejections
    checkpoint = tally.counted_in(Checkpoint(offset=7))
    assert (checkpoint.rejected, checkpoint.rejected_last, checkpoint.offset) == (5, tally.last, 7)
    position = Position(Phase.STREAM, "history", 7)
    assert tally.at(position) == (position, 5, tally.last)


def test_a_snapshot_begins_the_count_again() -> None:
    """A snapshot replaces all keys, also those that a rejected command left different."""
    tally = Tally(3, "SET old: ERR", lambda _: None)
    tally.clear()

    assert (tally.count, tally.last) == (0, "")
