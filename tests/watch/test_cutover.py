"""The state of a cutover: its phase and its timeline."""

from __future__ import annotations

import pytest

from shaker.model.cutover import CutoverEvent, CutoverPhase
from shaker.watch.cutover import CutoverState


def test_the_timeline_is_that_of_the_last_cutover() -> None:
    """A new one begins it again."""
    state = CutoverState()
    for event in (CutoverEvent.STARTED, CutoverEvent.GIVEN_UP, CutoverEvent.LIFTED):
        state.happen(event)
    assert [phase for phase, _ in state.timeline] == ["preparing", "lifting", "idle"]
    state.happen(CutoverEvent.STARTED)
    assert [phase for phase, _ in state.timeline] == ["preparing"]


def test_an_event_out_of_order_changes_nothing() -> None:
    """It is a bug, and says so."""
    state = CutoverState()
    with pytest.raises(ValueError, match="happened to a cutover that was idle"):
        state.happen(CutoverEvent.FENCED)
    assert (state.phase, state.timeline) == (CutoverPhase.IDLE, [])
