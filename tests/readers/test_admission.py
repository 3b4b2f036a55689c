"""Bytes are admitted whole without limits, else in pieces that wait for their rate and for a pause."""

from __future__ import annotations

import time

import anyio
import pytest

from shaker.flow.flow import Flow
from shaker.readers.admission import Admission
from shaker.settings.schema import Settings
from shaker.watch.status import FlowStatus

pytestmark = pytest.mark.anyio


def admission(taken: list[bytes], *, loading: bool = False) -> tuple[Flow, Admission]:
    """A flow and the admission to it."""
    settings = Settings(source={"url": "redis://a"}, target={"url": "redis://b"})  # type: ignore[arg-type]
    flow = Flow(FlowStatus(), settings, window_limit=1 << 20)

    async def take(data: bytes) -> None:
        taken.append(data)

    return flow, Admission(flow, take, lambda: loading)


async def test_without_limits_bytes_pass_whole() -> None:
    taken: list[bytes] = []
    _, admitting = admission(taken)
    await admitting.admit(b"x" * 100_000)
    assert [len(each) for each in taken] == [100_000]


@pytest.mark.parametrize("loading", [True, False])
async def test_a_limit_is_of_its_phase(loading: bool) -> None:
    taken: list[bytes] = []
    flow, admitting = admission(taken, loading=loading)
    flow.limit({"snapshot_bytes": 200_000})
    began = time.monotonic()
    await admitting.admit(b"x" * 60_000)
    assert sum(map(len, taken)) == 60_000
    assert (time.monotonic() - began > 0.2) is loading


async def test_a_pause_holds_the_next_piece() -> None:
    taken: list[bytes] = []
    flow, admitting = admission(taken)
    flow.limit({"stream_bytes": 10_000_000})
    flow.intake.hold()
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(5):
            tasks.start_soon(admitting.admit, b"x" * 1000)
            await anyio.sleep(0.05)
            assert taken == []
            flow.intake.release()
    assert taken == [b"x" * 1000]
