"""Phases of a cutover by their table, and the note in the checkpoint."""

from __future__ import annotations

import pytest

from shaker.model.cutover import FENCED, TRANSITIONS, CutoverEvent, CutoverNote, CutoverPhase, following, rule_fault


@pytest.mark.parametrize("phase", sorted(FENCED - {CutoverPhase.LIFTING}))
def test_a_failure_in_any_fenced_phase_lifts_the_fence(phase: CutoverPhase) -> None:
    """There is no way around LIFTING, and it ends where a new cutover can begin."""
    assert following(phase, CutoverEvent.GIVEN_UP) is CutoverPhase.LIFTING
    assert following(CutoverPhase.LIFTING, CutoverEvent.LIFTED) is CutoverPhase.IDLE


def test_only_a_confirmed_note_completes_a_cutover() -> None:
    """From CLOSING, and from nowhere else; afterwards nothing happens to it."""
    assert [row for row, behind in TRANSITIONS.items() if behind is CutoverPhase.DONE] == [
        (CutoverPhase.CLOSING, CutoverEvent.CONFIRMED)
    ]
    for event in CutoverEvent:
        with pytest.raises(ValueError, match="happened to a cutover that was done"):
            following(CutoverPhase.DONE, event)


def test_each_phase_is_reached_from_idle() -> None:
    """In the order of the table, without a detour."""
    reached = {CutoverPhase.IDLE}
    for _ in CutoverPhase:
        reached |= {behind for (phase, _), behind in TRANSITIONS.items() if phase in reached}
    assert reached == set(CutoverPhase)


def test_a_note_survives_as_text() -> None:
    """As the checkpoint keeps it."""
    note = CutoverNote(True, {"min-replicas-to-write": "0"}, 1234, 1_700_000_000)
    assert CutoverNote.parse(str(note)) == note


@pytest.mark.parametrize("text", ["", "x", "[]", "[1, 2, 3, 4]", "{}", "[1, {}, null, 0]"])
def test_no_note_is_found_in_other_text(text: str) -> None:
    """Of another version, or damaged."""
    assert CutoverNote.parse(text) is None


@pytest.mark.parametrize("rules", ["-@write", "resetkeys %R~* +get", "nocommands +@read"])
def test_rules_about_commands_and_keys_are_taken(rules: str) -> None:
    """A fence can restore them."""
    assert rule_fault(rules) == ""


@pytest.mark.parametrize("rules", ["", "off", "-@write >word", "reset", "(+get)", "resetchannels"])
def test_other_rules_are_not(rules: str) -> None:
    """Nothing else of a user is changed."""
    assert rule_fault(rules)
