"""The registration that writes: jobs wait for it, and notice its end."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from shaker.flow.registrations import Registration, Registrations

pytestmark = pytest.mark.anyio


def session() -> Any:
    """Return a stand-in that only its identity distinguishes."""
    return object()


async def test_a_job_waits_for_a_registration() -> None:
    """It gets the session that writes now."""
    registrations, found = Registrations(), []

    async def job() -> None:
        found.append(await registrations.current())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(job)
        await anyio.wait_all_tasks_blocked()
        assert found == []
        mine = session()
        with registrations.writing(mine):
            await anyio.wait_all_tasks_blocked()
            assert [each.session for each in found] == [mine]
            assert await registrations.current() is found[0]


async def test_a_registration_that_ended_is_never_offered_again() -> None:
    """Also not where the next one begins before a job has run in between."""
    registrations = Registrations()
    first, second = session(), session()
    with registrations.writing(first):
        before = await registrations.current()
    assert before.ended.is_set()
    with registrations.writing(second):
        after: Registration = await registrations.current()
        assert after.session is second
        assert not after.ended.is_set()


async def test_an_error_ends_a_registration() -> None:
    """As the loss of the connection does."""
    registrations, begun = Registrations(), []

    async def fail() -> None:
        with registrations.writing(session()):
            begun.append(await registrations.current())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert begun[0].ended.is_set()
    with anyio.move_on_after(0.01) as waiting:
        await registrations.current()
    assert waiting.cancelled_caught
