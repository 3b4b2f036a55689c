"""Received bytes pass the spool while the target keeps up; else they go through it, in order."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from shaker.flow.flow import Flow
from shaker.model.batch import Batch
from shaker.model.items import StreamItem
from shaker.readers.spool import Spool
from shaker.readers.spool_intake import SpoolIntake
from shaker.settings.schema import Settings
from shaker.watch.status import FlowStatus

pytestmark = pytest.mark.anyio

LIMIT = 100


@pytest.fixture
def flow() -> Flow:
    settings = Settings(source={"url": "redis://a"}, target={"url": "redis://b"})  # type: ignore[arg-type]
    return Flow(FlowStatus(), settings, window_limit=LIMIT)


def fill(flow: Flow) -> None:
    """Fill the window."""
    flow.put(StreamItem(Batch((), 0, LIMIT, "a" * 40, 10, 0), 0.0))


def empty(flow: Flow) -> None:
    """Let the target answer for everything."""
    flow.window.clear(None)
    flow.wakeups.space.set()


async def test_bytes_go_through_the_spool_while_the_window_is_full(flow: Flow, tmp_path: Path) -> None:
    taken: list[bytes] = []

    async def take(data: bytes) -> None:
        taken.append(data)

    intake = SpoolIntake(flow, Spool(tmp_path, LIMIT), take)
    await intake.put(b"first ")
    assert (taken, flow.status.traffic.spool_bytes) == ([b"first "], 0)

    fill(flow)
    await intake.put(b"second ")
    await intake.put(b"third ")
    assert (taken, flow.status.traffic.spool_bytes) == ([b"first "], 13)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(intake.feed)
        empty(flow)
        with anyio.fail_after(10):
            while flow.status.traffic.spool_bytes:  # noqa: ASYNC110 - the spool's own thread is waited for
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert b"".join(taken) == b"first second third "


async def test_a_full_spool_makes_the_reader_wait(flow: Flow, tmp_path: Path) -> None:
    async def take(data: bytes) -> None:
        pass

    intake = SpoolIntake(flow, Spool(tmp_path, LIMIT), take)
    await intake.room()
    fill(flow)
    await intake.put(b"x" * LIMIT)
    with anyio.move_on_after(0.05) as waited:
        await intake.room()
    assert waited.cancelled_caught

    intake.close()
    assert flow.status.traffic.spool_bytes == 0
