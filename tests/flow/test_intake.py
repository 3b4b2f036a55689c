"""Jobs pause the intake and leave a barrier there; the reader takes it over once."""

from __future__ import annotations

import time

import anyio
import pytest

from shaker.flow.intake import Intake
from shaker.model.items import Barrier

pytestmark = pytest.mark.anyio


def barrier(ended: list[bool]) -> Barrier:
    """A barrier that records how it ends."""
    return Barrier("a" * 40, 100, lambda: None, ended.append)


async def test_a_paused_intake_takes_nothing_until_it_resumes() -> None:
    intake = Intake(time.monotonic)
    await intake.wait()
    intake.pause()
    with anyio.move_on_after(0.01) as waited:
        await intake.wait()
    assert waited.cancelled_caught

    intake.resume()
    with anyio.fail_after(1):
        await intake.wait()


def test_a_barrier_is_taken_over_once() -> None:
    intake, ended = Intake(time.monotonic), list[bool]()
    made = barrier(ended)
    intake.request(made)

    assert intake.requested() is made
    assert intake.requested() is None
    intake.give_up()
    assert ended == []


def test_a_barrier_that_nobody_took_over_is_given_up() -> None:
    intake, first, second = Intake(time.monotonic), list[bool](), list[bool]()
    intake.request(barrier(first))
    intake.request(barrier(second))
    assert (first, second) == ([False], [])

    intake.give_up()
    assert second == [False]
