"""The lifecycle follows its table: each event changes its regions, and an event without a row is a bug."""

from __future__ import annotations

from enum import Enum

import pytest

from shaker.flow.lifecycle import (
    ATTRIBUTES,
    INITIAL,
    REGIONS,
    TRANSITIONS,
    DataState,
    FlowEvent,
    FlowState,
    Lifecycle,
    LifecycleError,
    RecordsState,
    RunState,
    SourceState,
    TargetState,
    WorkState,
)

ROWS = [(state, event) for event in FlowEvent for region in REGIONS[event] for state in region]


def lifecycle(**states: FlowState) -> Lifecycle:
    """A lifecycle in these states."""
    made = Lifecycle()
    for name, state in states.items():
        setattr(made, name, state)
    return made


def states(made: Lifecycle) -> dict[str, Enum]:
    """The state of each region."""
    return {name: getattr(made, name) for name in ATTRIBUTES.values()}


def known_elsewhere(event: FlowEvent, region: type[FlowState]) -> dict[str, FlowState]:
    """States in which every other region of the event knows it."""
    found = {}
    for other in REGIONS[event]:
        if other is not region:
            found[ATTRIBUTES[other]] = next(
                state for state, known in TRANSITIONS if known is event and type(state) is other
            )
    return found


def test_it_begins_where_the_diagrams_do() -> None:
    assert states(Lifecycle()) == {ATTRIBUTES[region]: first for region, first in INITIAL.items()}


def test_every_event_changes_something() -> None:
    assert all(REGIONS.values())


def test_every_state_can_be_reached() -> None:
    for region, first in INITIAL.items():
        assert {first, *(state for state in TRANSITIONS.values() if type(state) is region)} == set(region)


@pytest.mark.parametrize(("state", "event"), ROWS, ids=lambda each: f"{each.value}")
def test_an_event_does_what_its_row_says(state: FlowState, event: FlowEvent) -> None:
    region = ATTRIBUTES[type(state)]
    made = lifecycle(**{region: state}, **known_elsewhere(event, type(state)))
    before = states(made)
    following = TRANSITIONS.get((state, event))
    if following is None:
        with pytest.raises(LifecycleError, match=event.value):
            made.happen(event)
        assert states(made) == before
    else:
        made.happen(event)
        assert getattr(made, region) is following
        untouched = {ATTRIBUTES[other] for other in ATTRIBUTES if other not in REGIONS[event]}
        assert {name: states(made)[name] for name in untouched} == {name: before[name] for name in untouched}


def test_an_event_that_one_region_does_not_know_changes_no_region() -> None:
    made = lifecycle(source=SourceState.RECEIVING, data=DataState.CURRENT)

    with pytest.raises(LifecycleError):
        made.happen(FlowEvent.FULL_SYNC)
    assert made.data is DataState.CURRENT


def test_a_worker_from_start_to_stop() -> None:
    """An empty target: snapshot, stream, a lost link on each side, drain."""
    made = Lifecycle()
    for event in (
        FlowEvent.STARTED,
        FlowEvent.SOURCE_CONNECTED,
        FlowEvent.REGISTERED_EMPTY,
        FlowEvent.POSITION_LOST,
        FlowEvent.SNAPSHOT_REQUESTED,
        FlowEvent.FULL_SYNC,
        FlowEvent.SNAPSHOT_ARRIVES,
        FlowEvent.SNAPSHOT_APPLIED,
        FlowEvent.SOURCE_LOST,
        FlowEvent.SOURCE_CONNECTED,
        FlowEvent.PARTIAL_SYNC,
        FlowEvent.TARGET_LOST,
        FlowEvent.REGISTERED,
        FlowEvent.STOP_REQUESTED,
        FlowEvent.DRAINED,
        FlowEvent.ENDED,
    ):
        made.happen(event)

    assert states(made) == {
        "run": RunState.STOPPED,
        "work": WorkState.COPYING,
        "source": SourceState.RECEIVING,
        "target": TargetState.REGISTERED,
        "data": DataState.CURRENT,
        "records": RecordsState.KEPT,
    }


def test_wiped_records_stay_wiped_until_a_registration() -> None:
    made = lifecycle(target=TargetState.REGISTERED)
    made.happen(FlowEvent.RECORDS_WIPED)
    made.happen(FlowEvent.TARGET_LOST)
    assert made.records is RecordsState.WIPED

    made.happen(FlowEvent.REGISTERED)
    assert made.records is RecordsState.REFILLING

    made.happen(FlowEvent.REGISTERED_EMPTY)
    assert made.records is RecordsState.REFILLING

    made.happen(FlowEvent.REGISTERED)
    assert made.records is RecordsState.KEPT
