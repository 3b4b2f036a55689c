"""The status of a worker with several flows: counters add up, of states and lags the worst counts."""

from __future__ import annotations

import pytest

from shaker.watch.combined import WORST_FIRST, combine
from shaker.watch.counters import SnapshotProgress, StreamProgress
from shaker.watch.metrics import Metrics
from shaker.watch.status import FlowStatus, State, Status
from shaker.watch.status_document import status_document


@pytest.fixture
def status() -> Status:
    """Two flows, the second one behind."""
    now = [100.0]
    status = Status(clock=lambda: now[0])
    status.flows = {name: FlowStatus(clock=status.clock, state=State.STREAMING) for name in ("a", "b")}
    for record, source in zip(status.records, (1000, 5000), strict=True):
        record.source.connected = record.target.connected = True
        record.observe_applied(1000, 10, 0.001)
        record.observe_source_offset(source)
    now[0] += 7
    return status


def test_one_flow_counts_into_the_status_itself() -> None:
    status = Status(state=State.STREAMING, stream=StreamProgress(commands_rejected=3))
    before = status_document(status, max_lag_seconds=None)
    combine(status)

    assert status.records == (status,)
    assert status_document(status, max_lag_seconds=None) == before


def test_counters_add_up(status: Status) -> None:
    for record in status.records:
        record.traffic.received_bytes, record.stream.commands_rejected = 100, 1
        record.count_error("target", "oom")
        record.keys.present["source"] = 5
    combine(status)

    assert status.traffic.received_bytes == 200
    assert (status.stream.commands_rejected, status.stream.commands_applied) == (2, 20)
    assert status.links.errors == {("target", "oom"): 2}
    assert status.keys.present == {"source": 10}
    assert sum(status.stream.latency.counts) == 2


def test_lag_is_that_of_the_flow_furthest_behind(status: Status) -> None:
    combine(status)

    assert (status.lag_bytes, status.lag_seconds) == (4000, 7.0)
    assert status.not_ready(max_lag_seconds=5) == ["lag of 7.0 s is above 5 s"]


@pytest.mark.parametrize("state", State)
def test_every_state_has_its_rank(status: Status, state: State) -> None:
    status.flows["a"].state = state
    combine(status)

    assert status.state is min(state, State.STREAMING, key=WORST_FIRST.index)


def test_a_lost_side_of_one_flow_is_shown(status: Status) -> None:
    lost = status.flows["b"].target
    lost.address, lost.connected, lost.last_error = "b:6379", False, "gone"
    combine(status)

    assert (status.target.address, status.target.connected) == ("b:6379", False)
    assert status.source.connected


def test_reasons_name_their_flow(status: Status) -> None:
    status.flows["b"].reasons["rejected"] = "1 command was rejected"
    combine(status)
    combine(status)

    assert status.reasons == {"b/rejected": "b: 1 command was rejected"}
    assert status.diverged


def test_a_stalled_task_of_any_flow_stalls_the_worker(status: Status) -> None:
    status.heartbeat("loop", within=60)
    status.flows["a"].heartbeat("source", within=-1)
    combine(status)
    assert status.stalled() == ["a/source"]

    status.flows["a"].forget("source")
    combine(status)
    assert status.stalled() == []


def test_totals_of_snapshots_are_known_once_each_is(status: Status) -> None:
    first, second = status.records
    first.snapshot = SnapshotProgress(keys_total=10, keys_done=5, started=1.0)
    second.snapshot = SnapshotProgress(keys_done=1, started=2.0)
    combine(status)
    assert (status.snapshot.keys_total, status.snapshot.keys_done, status.snapshot.started) == (0, 6, 1.0)

    second.snapshot.keys_total, first.snapshot.finished = 2, 3.0
    combine(status)
    assert (status.snapshot.keys_total, status.snapshot.finished) == (12, None)


def test_metrics_read_the_combined_status(status: Status) -> None:
    combine(status)
    body, _ = Metrics(status, ready_max_lag_seconds=30).render("")

    assert b'shaker_lag_bytes{name="default"} 4000.0' in body
