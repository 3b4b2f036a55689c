"""The verbs of a flow: put, room, next, applied, barrier, state; and what events change for its tasks."""

from __future__ import annotations

import anyio
import pytest
from structlog.testing import capture_logs

from shaker.apply.records import Checkpoint
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent, RunState
from shaker.model.batch import Batch
from shaker.model.items import Barrier, StreamItem
from shaker.model.position import Phase, Resume
from shaker.settings.schema import Settings
from shaker.watch.status import FlowStatus, State

pytestmark = pytest.mark.anyio

REPLID = "a" * 40
CHECKPOINT = Checkpoint(phase=Phase.STREAM, replid=REPLID, offset=100, confirmed=100)


@pytest.fixture
def flow() -> Flow:
    """A flow of which the target is registered at offset 100."""
    settings = Settings(source={"url": "redis://a"}, target={"url": "redis://b"})  # type: ignore[arg-type]
    made = Flow(FlowStatus(), settings, window_limit=1000)
    made.happen(FlowEvent.STARTED)
    made.registered(CHECKPOINT, same_server_run=False, first=True)
    made.happen(FlowEvent.SOURCE_CONNECTED)
    return made


def batch(offset: int, *, size: int = 10, more: bool = False) -> Batch:
    """A batch of the stream that ends at `offset`, in database 3."""
    return Batch((), 0, size, REPLID, offset, 3, more=more)


def put(flow: Flow, made: Batch) -> None:
    """Put a batch."""
    flow.put_batch(made, StreamItem(made, 0.0))


def test_a_registration_tells_where_the_stream_resumes(flow: Flow) -> None:
    assert flow.resume == Resume(REPLID, 100, 0)
    assert flow.acknowledged_offset == 100
    assert flow.status.stream.applied_offset == 100


def test_a_whole_batch_moves_the_resume_position(flow: Flow) -> None:
    put(flow, batch(110))
    assert flow.resume == Resume(REPLID, 110, 3)

    put(flow, batch(120, more=True))
    assert flow.resume == Resume(REPLID, 110, 3)


async def test_the_writer_waits_for_what_is_put(flow: Flow) -> None:
    put(flow, batch(110))
    with anyio.fail_after(1):
        await flow.next()
    with anyio.move_on_after(0.01) as waited:
        await flow.next()

    assert waited.cancelled_caught


async def test_the_reader_waits_for_room(flow: Flow) -> None:
    put(flow, batch(110, size=2000))
    with anyio.move_on_after(0.01) as waited:
        await flow.room()
    assert waited.cancelled_caught

    flow.window.take()
    flow.window.answered(1)
    flow.applied(CHECKPOINT._replace(offset=110))
    with anyio.fail_after(1):
        await flow.room()


async def test_the_source_hears_when_the_offset_that_it_wants_is_applied(flow: Flow) -> None:
    flow.source.ack_wanted = 110
    put(flow, batch(110))
    flow.window.take()
    flow.window.answered(1)
    flow.applied(CHECKPOINT._replace(offset=110))

    assert flow.source.ack_wanted is None
    with anyio.fail_after(1):
        await flow.wakeups.acknowledge.wait()


def test_a_barrier_needs_a_stream(flow: Flow) -> None:
    ended: list[bool] = []
    barrier = Barrier(REPLID, 100, lambda: None, ended.append)
    assert not flow.barrier(barrier)

    flow.continue_stream(100)
    assert flow.barrier(barrier)
    assert flow.intake.requested() is barrier
    assert ended == []


def test_the_state_follows_the_events_and_each_change_is_logged(flow: Flow) -> None:
    assert flow.state is State.HANDSHAKING
    with capture_logs() as lines:
        flow.continue_stream(150)
        assert flow.state is State.CATCHING_UP
        flow.status.observe_applied(150, 1, None)
        flow.refresh_state()
        flow.happen(FlowEvent.TARGET_LOST)

    assert [(line["before"], line["state"]) for line in lines if line["event"] == "state"] == [
        ("handshaking", "catching_up"),
        ("catching_up", "streaming"),
        ("streaming", "paused"),
    ]


def test_a_full_sync_replaces_everything(flow: Flow) -> None:
    put(flow, batch(110))
    flow.status.reasons["expired"] = "a key may differ"
    flow.begin_snapshot()

    assert (len(flow.window), flow.resume, flow.loading, flow.acknowledged_offset) == (0, None, True, 0)
    assert list(flow.status.reasons) == ["snapshot"]

    flow.happen(FlowEvent.SNAPSHOT_ARRIVES)
    flow.snapshot_applied(500)
    assert (flow.loading, flow.source.caught_up_at) == (False, 500)
    assert flow.status.reasons == {}


def test_wiped_records_make_the_checkpoint_worthless(flow: Flow) -> None:
    flow.happen(FlowEvent.RECORDS_WIPED)

    assert not flow.registered(CHECKPOINT, same_server_run=True, first=False)
    assert (flow.resume, flow.loading, flow.restarts, flow.ours) == (None, True, 1, True)


async def test_a_task_waits_until_the_lifecycle_meets_its_condition(flow: Flow) -> None:
    async def drain() -> None:
        await anyio.sleep(0.01)
        flow.happen(FlowEvent.STOP_REQUESTED)
        await anyio.sleep(0.01)
        flow.happen(FlowEvent.DRAINED)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drain)
        with anyio.fail_after(1):
            await flow.until(lambda lifecycle: lifecycle.run is RunState.DRAINED)
    assert flow.drained
    assert flow.state is State.DRAINING


async def test_a_restart_waits_until_the_target_is_registered_again(flow: Flow) -> None:
    async def register() -> None:
        await flow.wakeups.restart_target.wait()
        flow.registered(CHECKPOINT, same_server_run=True, first=False)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(register)
        with anyio.fail_after(1):
            await flow.restart_target()
