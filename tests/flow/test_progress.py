"""Progress of a flow: only what was never reached before is a step forward."""

from __future__ import annotations

import pytest

from shaker.apply.records import Checkpoint
from shaker.flow.flow import Flow
from shaker.flow.progress import FlowProgress
from shaker.model.items import SnapshotStart
from shaker.model.position import Phase
from shaker.watch.status import Status
from tests.support.settings import settings


@pytest.fixture
def flow() -> Flow:
    """A flow without any data."""
    return Flow(Status(), settings(), window_limit=1 << 20)


def stream_at(flow: Flow, offset: int, history: str = "a") -> None:
    """Apply the stream up to an offset."""
    flow.target.checkpoint = Checkpoint(phase=Phase.STREAM, replid=history, offset=offset)
    flow.status.stream.replid, flow.status.stream.applied_offset = history, offset


def steps(flow: Flow, progress: FlowProgress, *offsets: int) -> list[int]:
    """Return the number of steps after each offset."""
    found = []
    for offset in offsets:
        stream_at(flow, offset)
        found.append(progress.steps)
    return found


def test_only_a_higher_offset_than_ever_is_a_step(flow: Flow) -> None:
    """A target that lost what it had and gets it again is where it was."""
    progress = FlowProgress(flow)

    assert steps(flow, progress, 100, 100, 70, 100, 101) == [1, 1, 1, 1, 2]


def test_another_history_is_a_step_at_any_offset(flow: Flow) -> None:
    """Its offsets say nothing about those before."""
    progress = FlowProgress(flow)
    stream_at(flow, 100)
    assert progress.steps == 1
    stream_at(flow, 5, "b")
    assert progress.steps == 2


def test_a_snapshot_counts_keys_beyond_the_best_attempt(flow: Flow) -> None:
    """One that starts over makes no progress until it has more."""
    progress = FlowProgress(flow)
    found = []
    for keys in (10, 10, 5, 10, 11):
        flow.status.snapshot.keys_done = keys
        found.append(progress.steps)

    assert found == [1, 1, 1, 1, 2]


def test_removed_stale_keys_are_steps(flow: Flow) -> None:
    """A sweep may take long while the offset stays."""
    progress = FlowProgress(flow)
    stream_at(flow, 100)
    found = [progress.steps]
    for deleted in (5, 5, 9):
        flow.status.sweep.deleted = deleted
        found.append(progress.steps)

    assert found == [1, 2, 2, 3]


def test_a_flow_is_at_rest_in_the_stream_with_nothing_to_apply(flow: Flow) -> None:
    """Neither during a snapshot nor with items in the window or the spool."""
    progress = FlowProgress(flow)
    assert not progress.at_rest
    stream_at(flow, 100)
    assert progress.at_rest
    flow.window.put(SnapshotStart("s", "a", 100, flush=False))
    assert not progress.at_rest
    flow.window.clear(None)
    flow.status.traffic.spool_bytes = 1
    assert not progress.at_rest
