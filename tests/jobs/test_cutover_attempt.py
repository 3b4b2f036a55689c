"""One attempt: each cause that ends it, and the outcome that it reports."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from shaker.jobs.cutover_order import Order
from shaker.model.cutover import CutoverPhase
from tests.support.cutting_over import cutting_over
from tests.support.servers import Server

pytestmark = pytest.mark.anyio


async def test_fenced_writes_are_bounded(source: Server, target: Server, tmp_path: Path) -> None:
    """The hook counts."""
    async with cutting_over(source, target, tmp_path) as cutting:
        cutting.cutover.order(Order(hook=True, timeout_seconds=0.2))
        report = await cutting.ended()
    assert report["outcome"] == "timed_out"
    assert "--timeout" in str(report["reason"])


async def test_the_command_has_to_ask(source: Server, target: Server, tmp_path: Path) -> None:
    """It was killed: nobody else would end the fence."""
    async with cutting_over(source, target, tmp_path) as cutting:
        cutting.cutover.order(Order(hook=True, attended=True, fence_seconds=1.0))
        report = await cutting.ended()
        assert (report["outcome"], "is gone" in str(report["reason"])) == ("aborted", True)
        assert source.client().incr("k") == 1


async def test_the_command_has_time_from_the_beginning_on(source: Server, target: Server, tmp_path: Path) -> None:
    """Checks of a slow source come before: while they last, the command waits for its first answer."""
    async with cutting_over(source, target, tmp_path) as cutting:
        order = Order(attended=True, fence_seconds=10.0)
        order.attended_at -= 60
        order.fetched.set()
        cutting.cutover.order(order)
        assert (await cutting.ended())["outcome"] == "done"


async def test_an_abort_takes_effect_up_to_the_last_moment(source: Server, target: Server, tmp_path: Path) -> None:
    """`shaker abort` is answered at once: what it says is so, also just before the lasting fence."""
    async with cutting_over(source, target, tmp_path) as cutting:
        for number in range(1, 6):
            order = Order(hook=True)
            cutting.cutover.order(order)
            await cutting.links.wait(lambda: cutting.state.phase is CutoverPhase.HOOK, "the hook")
            order.hook_succeeded.set()
            order.aborted = "enough"
            report = await cutting.ended()
            assert (report["outcome"], report["source_open"]) == ("aborted", True)
            assert source.client().incr("k") == number
            await cutting.links.wait(lambda: cutting.cutover.busy is None, "the next order")


async def test_a_fence_that_somebody_lifts_is_noticed(source: Server, target: Server, tmp_path: Path) -> None:
    """A write behind the end offset would be missing from the proof."""
    async with cutting_over(source, target, tmp_path) as cutting:
        order = Order(hook=True)
        cutting.cutover.order(order)
        await cutting.links.wait(lambda: cutting.state.phase is CutoverPhase.HOOK, "the hook")
        source.client().client_unpause()
        source.client().incr("k")
        await cutting.links.wait_applied(source)
        order.hook_succeeded.set()
        report = await cutting.ended()
    assert (report["outcome"], "behind the fence" in str(report["reason"])) == ("failed", True)


async def test_a_lost_stream_ends_it(source: Server, target: Server, tmp_path: Path) -> None:
    """The source is open again long before the stream is back."""
    async with cutting_over(source, target, tmp_path) as cutting:
        cutting.cutover.order(Order(hook=True))
        await cutting.links.wait(lambda: cutting.state.phase is CutoverPhase.HOOK, "the hook")
        began = time.monotonic()
        target.pause()
        await anyio.sleep(0.1)
        target.resume()

        async def cut() -> None:
            while True:  # a stream that is back at once is not lost
                source.client().client_kill_filter(_type="replica")
                await anyio.sleep(0.02)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut)
            report = await cutting.ended()
            tasks.cancel_scope.cancel()
        assert report["source_open"]
        assert time.monotonic() - began < 15


async def test_without_a_fence_the_end_offset_is_the_last_one(
    source: Server, target: Server, tmp_path: Path
) -> None:
    """Keys may expire meanwhile."""
    async with cutting_over(source, target, tmp_path) as cutting:
        order = Order(fence="none", hook=True)
        cutting.cutover.order(order)
        await cutting.links.wait(lambda: cutting.state.phase is CutoverPhase.HOOK, "the hook")
        source.client().incr("k")
        order.hook_succeeded.set()
        report = await cutting.ended()
        assert report["outcome"] == "done"
        assert target.client().get("k") == b"1"


@pytest.mark.parametrize("fence", ["replicas", "pause", "none"])
async def test_a_source_that_is_a_replica_is_refused(
    server: Callable[..., Server], target: Server, tmp_path: Path, fence: str
) -> None:
    """Its primary would take writes behind the end offset. Nothing is fenced on either."""
    primary, replica = server(), server()
    replica.replicate(primary)
    async with cutting_over(replica, target, tmp_path) as cutting:
        cutting.cutover.order(Order(fence=fence))
        report = await cutting.ended()
    assert (report["outcome"], report["source_open"]) == ("refused", True)
    assert "the source is a replica" in str(report["reason"])
    assert list(replica.client().config_get("min-replicas-to-write").values()) == ["0"]
    assert primary.client().incr("k") == 1
