"""A poll whose interval a caller can cut short."""

from __future__ import annotations

import anyio
import pytest

from shaker.net.poll_interval import PollInterval

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("begin", ["in a pause", "in a look"])
async def test_a_fresh_look_begins_after_it_was_asked_for(begin: str) -> None:
    looks, asked = PollInterval(), 0
    begun: list[int] = []  # how often a fresh one had been asked for when each look began
    looking = anyio.Event()

    async def poll() -> None:
        while True:
            begun.append(asked)
            looking.set()
            await anyio.wait_all_tasks_blocked() if begin == "in a look" else None
            await looks.pause(600)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(poll)
        await looking.wait()
        for _ in range(3):
            asked += 1
            with anyio.fail_after(10):
                await looks.fresh()
            assert begun[-1] == asked
        tasks.cancel_scope.cancel()
