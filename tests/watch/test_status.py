"""The one status: its counters and the figures derived from them."""

from __future__ import annotations

import sys
import threading

import pytest

from shaker.watch.counters import LATENCY_BUCKETS, SnapshotProgress
from shaker.watch.metrics import Metrics
from shaker.watch.status import State, Status
from shaker.watch.status_document import status_document


class Clock:
    """A clock that the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def status(clock: Clock) -> Status:
    return Status(clock=clock)


def test_states_are_those_of_the_contract() -> None:
    known = "starting connecting handshaking snapshot catching_up streaming paused draining stopped fenced failed"

    assert " ".join(State) == known


def test_a_task_stalls_when_its_beat_is_overdue(status: Status, clock: Clock) -> None:
    status.heartbeat("source", within=5)
    status.heartbeat("target", within=60)
    clock.now += 5
    assert status.stalled() == []

    clock.now += 1
    assert status.stalled() == ["source"]

    status.heartbeat("source", within=5)
    assert status.stalled() == []


def test_a_retired_task_cannot_stall(status: Status, clock: Clock) -> None:
    status.heartbeat("source", within=5)
    status.forget("source")
    status.forget("never began")
    clock.now += 100

    assert status.stalled() == []


def test_errors_are_counted_and_the_last_one_kept_for_its_side(status: Status) -> None:
    status.count_error("source", "link", "refused")
    status.count_error("source", "link", "reset by peer")
    status.count_error("worker", "internal", "elsewhere")

    document = status_document(status, max_lag_seconds=30)
    assert document["errors"] == {"source:link": 2, "worker:internal": 1}
    assert document["source"]["last_error"] == "reset by peer"
    assert document["target"]["last_error"] is None


@pytest.mark.parametrize(
    ("source", "received", "applied", "lag"),
    [(100, 90, 40, 60), (90, 100, 40, 60), (0, 0, 40, 0), (100, 0, 100, 0)],
)
def test_lag_counts_what_still_waits_inside_the_source(
    status: Status, source: int, received: int, applied: int, lag: int
) -> None:
    status.stream.source_offset, status.stream.received_offset = source, received
    status.stream.applied_offset = applied

    assert status.lag_bytes == lag


def test_lag_in_a_snapshot_begins_where_the_stream_will(status: Status) -> None:
    status.observe_source_offset(10_000_500)
    status.sample_rate()
    status.snapshot = SnapshotProgress(started=1.0, offset=10_000_000)
    assert status.lag_bytes == 500

    status.sample_rate()
    status.observe_applied(10_000_200, 0, None)
    status.sample_rate()
    assert status.history.document()["lag_bytes"] == [0, 500, 300]


def test_ready_is_streaming_without_a_reason_and_within_the_lag(status: Status, clock: Clock) -> None:
    assert status.not_ready(max_lag_seconds=30) == ["state is starting"]

    status.state = State.STREAMING
    assert status.not_ready(max_lag_seconds=30) == []

    status.observe_source_offset(5000)
    clock.now += 31
    status.reasons["rejected"] = "1 command was rejected"
    assert status.not_ready(max_lag_seconds=30, max_lag_bytes=4999) == [
        "1 command was rejected",
        "lag of 31.0 s is above 30 s",
        "lag of 5000 bytes is above 4999 bytes",
    ]
    assert status.not_ready(max_lag_seconds=None, max_lag_bytes=5000) == ["1 command was rejected"]


def test_the_rate_is_that_of_the_last_sample(status: Status, clock: Clock) -> None:
    assert status.commands_per_second == 0.0
    status.sample_rate()
    status.observe_applied(10, 300, None)
    clock.now += 2
    status.sample_rate()
    assert status.commands_per_second == 150.0

    clock.now += 1
    status.sample_rate()
    assert status.commands_per_second == 0.0


def test_a_snapshot_tells_when_it_will_be_done(status: Status, clock: Clock) -> None:
    progress = status.snapshot
    assert status.eta_seconds() is None

    progress.started, progress.bytes_total, progress.bytes_done = clock.now, 400, 100
    clock.now += 10
    assert status.eta_seconds() == pytest.approx(30)

    progress.bytes_total, progress.keys_total, progress.keys_done = 0, 200, 100
    assert status.eta_seconds() == pytest.approx(10)

    progress.finished = clock.now
    assert status.eta_seconds() is None


@pytest.mark.parametrize(("latency", "bucket"), [(0.0001, 0), (0.0005, 0), (0.0006, 1), (10.0, -2), (11.0, -1)])
def test_latencies_are_counted_in_their_bucket(status: Status, latency: float, bucket: int) -> None:
    status.observe_applied(1, 1, latency)

    assert len(status.stream.latency.counts) == len(LATENCY_BUCKETS) + 1
    assert status.stream.latency.counts[bucket] == sum(status.stream.latency.counts) == 1
    assert status.stream.latency.sum == latency


def test_another_thread_may_read_while_the_worker_writes() -> None:
    status = Status()
    metrics = Metrics(status, ready_max_lag_seconds=30)
    ended = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not ended.is_set():
                status_document(status, max_lag_seconds=30)
                status.stalled()
                metrics.render("")
        except BaseException as failure:
            failures.append(failure)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(3000):
            status.count_error("source", f"kind {number % 50}")
            status.observe_source_offset(number * 10)
            status.observe_applied(number * 10 - 500, 1, 0.001)
            status.heartbeat(f"task {number % 20}")
            status.reasons[f"reason {number % 20}"] = "x"
            if number % 25 == 0:
                status.links.errors.clear()
                status.reasons.clear()
                status.heartbeats.clear()
    finally:
        ended.set()
        reader.join()
        sys.setswitchinterval(interval)

    assert failures == []
