"""The public state is the first that applies; reasons say what keeps the worker from being ready."""

from __future__ import annotations

import pytest

from shaker.apply.records import Checkpoint
from shaker.apply.unconfirmed import Unconfirmed
from shaker.flow.lifecycle import DataState, FlowState, Lifecycle, RunState, SourceState, TargetState
from shaker.flow.public_state import OF_RUN, public_state, reasons
from shaker.model.position import Phase, Sweep
from shaker.watch.counters import SweepProgress
from shaker.watch.status import FlowStatus, State

STREAM = Checkpoint(phase=Phase.STREAM, replid="a" * 40, offset=100)
LISTING = Checkpoint(phase=Phase.SNAPSHOT, sweep=Sweep.LISTING)
LISTED = Checkpoint(phase=Phase.STREAM, sweep=Sweep.LISTED)


def lifecycle(**states: FlowState) -> Lifecycle:
    """A lifecycle in the stream, but for these states."""
    made = Lifecycle()
    made.run, made.source, made.target = RunState.RUNNING, SourceState.RECEIVING, TargetState.REGISTERED
    made.data = DataState.CURRENT
    for name, state in states.items():
        setattr(made, name, state)
    return made


@pytest.mark.parametrize("run", OF_RUN)
def test_a_flow_that_is_not_running_says_so_whatever_its_links_are(run: RunState) -> None:
    made = lifecycle(run=run, target=TargetState.LOST)

    assert public_state(made, STREAM, near=True) is OF_RUN[run]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({"target": TargetState.LOST, "source": SourceState.HANDSHAKING}, State.PAUSED),
        ({"source": SourceState.HANDSHAKING, "target": TargetState.UNREGISTERED}, State.HANDSHAKING),
        ({"source": SourceState.SNAPSHOT_REQUESTED}, State.HANDSHAKING),
        ({"source": SourceState.DISCONNECTED}, State.CONNECTING),
        ({"target": TargetState.UNREGISTERED}, State.CONNECTING),
        ({"source": SourceState.SNAPSHOT_PENDING, "data": DataState.LOADING}, State.SNAPSHOT),
        ({}, State.STREAMING),
    ],
)
def test_the_first_state_that_applies(states: dict[str, FlowState], expected: State) -> None:
    assert public_state(lifecycle(**states), STREAM, near=True) is expected


@pytest.mark.parametrize("checkpoint", [None, LISTING])
def test_a_target_without_a_stream_is_in_the_snapshot(checkpoint: Checkpoint | None) -> None:
    assert public_state(lifecycle(), checkpoint, near=True) is State.SNAPSHOT


def test_a_flow_catches_up_until_it_is_near_and_has_no_stale_keys() -> None:
    assert public_state(lifecycle(), STREAM, near=False) is State.CATCHING_UP
    assert public_state(lifecycle(), LISTED, near=True) is State.CATCHING_UP


def found(
    made: Lifecycle, status: FlowStatus, checkpoint: Checkpoint | None, **unconfirmed: object
) -> dict[str, str]:
    """The reasons that apply."""
    work = Unconfirmed("default")
    for name, value in unconfirmed.items():
        setattr(work, name, value)
    return {name: text for name, text in reasons(made, status, checkpoint, work, 10.0).items() if text}


def test_a_flow_in_the_stream_has_no_reason() -> None:
    assert found(lifecycle(), FlowStatus(), STREAM) == {}


@pytest.mark.parametrize("source", [SourceState.SNAPSHOT_REQUESTED, SourceState.SNAPSHOT_PENDING])
def test_waiting_for_the_snapshot_is_timed(source: SourceState) -> None:
    status = FlowStatus(clock=lambda: 17.0)

    assert found(lifecycle(source=source), status, None) == {"snapshot": "waiting for the source's snapshot (7 s)"}


def test_a_sweep_says_how_far_it_is_and_what_interrupted_it() -> None:
    status = FlowStatus(sweep=SweepProgress(listed=5, deleted=3, stale=2, error="gone"))

    assert "5 so far; interrupted: gone" in found(lifecycle(), status, LISTING)["sweep"]
    assert "3 deleted, 2 left" in found(lifecycle(), status, LISTED)["sweep"]


def test_held_deletions_hide_the_sweep() -> None:
    assert found(lifecycle(), FlowStatus(sweep=SweepProgress(held="too many")), LISTED) == {
        "max_deletions": "too many"
    }


def test_unconfirmed_work_is_counted_in_bytes() -> None:
    text = found(lifecycle(), FlowStatus(), STREAM, waiting=True, bytes=70, error="gone")["unconfirmed"]

    assert text.startswith("70 bytes of the stream are unconfirmed")
    assert text.endswith("; interrupted: gone")
