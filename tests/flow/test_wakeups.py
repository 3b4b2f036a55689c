"""A wake-up that comes while nobody waits is kept for the next wait."""

from __future__ import annotations

import anyio
import pytest

from shaker.flow.wakeups import Wakeup

pytestmark = pytest.mark.anyio


async def test_a_set_is_kept_for_one_wait() -> None:
    wakeup = Wakeup()
    wakeup.set()
    wakeup.set()
    with anyio.fail_after(1):
        await wakeup.wait()
    with anyio.move_on_after(0.01) as waited:
        await wakeup.wait()

    assert waited.cancelled_caught
