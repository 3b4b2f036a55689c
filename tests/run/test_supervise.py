"""The supervisor runs a job again after each failure, spaces the attempts, and ends a one-off mode where it must."""

from __future__ import annotations

import time
from typing import Any

import anyio
import pytest

from shaker.errors import AccessError, HeldError, LinkError, RefusedError, ShakerError
from shaker.net.connection import ReplyError
from shaker.run.supervise import supervise
from shaker.settings.schema import Settings
from shaker.watch.status import Status

pytestmark = pytest.mark.anyio


class Failing:
    """A job that fails by one error after the other, and then ends."""

    name = "failing"

    def __init__(self, *errors: Exception, quiet: bool = False, pause_seconds: float = 0.0) -> None:
        self.quiet = quiet
        self.pause_seconds = pause_seconds
        self.began: list[float] = []
        self._errors = list(errors)

    async def run(self) -> None:
        """Fail."""
        self.began.append(time.monotonic())
        if self._errors:
            raise self._errors.pop(0)


def settings(mode: str = "follow", **retry: float) -> Settings:
    """Return settings with these pauses."""
    made: dict[str, Any] = {
        "source": {"url": "redis://a"},
        "target": {"url": "redis://b"},
        "mode": mode,
        "retry": retry,
    }
    return Settings(**made)


@pytest.mark.parametrize("error", [LinkError("gone"), ReplyError("ERR no"), RefusedError("too many")])
async def test_a_failed_job_runs_again(error: Exception) -> None:
    """The first time at once."""
    job, status = Failing(error, pause_seconds=0.01), Status()
    with anyio.fail_after(3):
        await supervise(job, status, settings(access_seconds=1.0))
    assert len(job.began) == 2
    assert status.heartbeats == {}


async def test_failures_in_a_row_are_spaced_out() -> None:
    """No more often than the job's own pause allows."""
    job = Failing(*(LinkError("gone") for _ in range(4)), pause_seconds=0.1)
    with anyio.fail_after(10):
        await supervise(job, Status(), settings(max_seconds=0.1, initial_seconds=0.01))
    gaps = [later - before for before, later in zip(job.began, job.began[1:], strict=False)]
    assert min(gaps) >= 0.1


async def test_a_waiting_job_has_a_heartbeat() -> None:
    """It is not stalled while it pauses."""
    status = Status()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(supervise, Failing(AccessError("forbidden")), status, settings(access_seconds=300.0))
        await anyio.sleep(0.05)
        assert status.heartbeats["failing"][1] > 300
        tasks.cancel_scope.cancel()
    assert status.heartbeats == {}


@pytest.mark.parametrize("mode", ["migrate", "snapshot"])
@pytest.mark.parametrize("error", [AccessError("forbidden"), HeldError("too many"), RefusedError("too many")])
async def test_a_one_off_mode_ends_where_only_an_operator_can_help(mode: str, error: ShakerError) -> None:
    """No operator is there to fix the cause."""
    with pytest.raises(type(error)):
        await supervise(Failing(error), Status(), settings(mode))


async def test_a_quiet_job_never_ends_a_one_off_mode() -> None:
    """The link to the same server reports the cause."""
    job = Failing(AccessError("forbidden"), quiet=True)
    with anyio.fail_after(1):
        await supervise(job, Status(), settings("migrate"))
    assert len(job.began) == 2


async def test_an_error_of_the_program_is_not_hidden() -> None:
    """It ends the worker like everywhere else."""
    with pytest.raises(ZeroDivisionError):
        await supervise(Failing(ZeroDivisionError()), Status(), settings())
