"""Applied items are counted in order; rejected commands keep the worker unready and may stop it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from shaker.apply.records import Checkpoint
from shaker.errors import UnfaithfulError
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent, WorkState
from shaker.model.batch import Batch
from shaker.model.items import SnapshotFinish, StreamItem
from shaker.model.position import Phase
from shaker.model.rejection import Rejection
from shaker.settings.schema import Settings
from shaker.watch.status import FlowStatus
from shaker.writers.applied import AppliedCounter

REPLID = "a" * 40
REJECTION = Rejection("LPUSH", "key", "WRONGTYPE")


def counter(target: dict[str, Any] | None = None, **settings: Any) -> tuple[AppliedCounter, Flow]:
    """A counter, and its flow that is in the stream at offset 100."""
    made = Settings(source={"url": "redis://a"}, target={"url": "redis://b", **(target or {})}, **settings)  # type: ignore[arg-type]
    flow = Flow(FlowStatus(), made, window_limit=1000)
    checkpoint = Checkpoint(phase=Phase.STREAM, replid=REPLID, offset=100, confirmed=100)
    flow.registered(checkpoint, same_server_run=False, first=True)
    return AppliedCounter(made, flow), flow


def session(rejected: int = 0, last: str = "") -> Any:
    """What a session says of rejected commands."""
    return SimpleNamespace(rejected=rejected, rejected_last=last)


def test_commands_of_the_stream_count_without_those_left_out() -> None:
    applied, flow = counter()
    applied.count([StreamItem(Batch((), 5, 0, REPLID, 150, 0), flow.status.clock(), left_out=2)], session())

    assert (flow.status.stream.applied_offset, flow.status.stream.commands_applied) == (150, 3)
    assert sum(flow.status.stream.latency.counts) == 1


def test_the_end_of_a_snapshot_begins_catching_up() -> None:
    applied, flow = counter()
    flow.happen(FlowEvent.POSITION_LOST)
    flow.status.stream.received_offset = 700
    applied.count([SnapshotFinish(REPLID, 500, 0)], session())

    assert not flow.loading
    assert (flow.status.stream.applied_offset, flow.source.caught_up_at) == (500, 700)


@pytest.mark.parametrize(("mode", "work"), [("snapshot", WorkState.COMPLETE), ("follow", WorkState.COPYING)])
def test_the_work_of_a_snapshot_is_complete_once_it_is_applied(mode: str, work: WorkState) -> None:
    applied, flow = counter(mode=mode)
    applied.check_complete()
    applied.check_complete()

    assert flow.lifecycle.work is work


def test_a_rejected_command_keeps_the_worker_unready_until_a_full_sync() -> None:
    applied, flow = counter()
    applied.rejected(REJECTION)
    assert flow.status.stream.commands_rejected == 1
    assert "the target rejected 1 command" in flow.status.reasons["rejected"]
    assert applied.stop_error is None

    applied.recall_rejections(session())
    assert flow.status.stream.commands_rejected == 0
    assert "rejected" not in flow.status.reasons


def test_a_rejected_command_stops_the_worker_where_the_operator_wants_that() -> None:
    applied, _ = counter(target={"on_error": "stop"})
    applied.rejected(REJECTION)

    assert isinstance(applied.stop_error, UnfaithfulError)
