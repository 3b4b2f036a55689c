"""Texts for the next checkpoint."""

from __future__ import annotations

from shaker.apply.records import Checkpoint
from shaker.flow.known import Notes


def test_notes_that_the_checkpoint_has_are_not_lacking() -> None:
    """None keeps the text that is there."""
    checkpoint = Checkpoint(cutover="a", turned="b")
    assert not Notes().lacking(checkpoint)
    assert not Notes("a", "b").lacking(checkpoint)
    assert Notes("", None).lacking(checkpoint)
    assert Notes(None, "c").lacking(checkpoint)
