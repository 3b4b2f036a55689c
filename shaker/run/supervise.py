"""The supervisor of jobs: runs each again after a failure, with back-off, or ends a one-off mode."""

from __future__ import annotations

import logging
from typing import Final

import anyio
import structlog

from shaker.errors import AccessError, LinkError, RefusedError, ShakerError
from shaker.jobs.job import Job
from shaker.net.backoff import Backoff
from shaker.net.connection import ReplyError
from shaker.settings.schema import Settings
from shaker.watch.status import FlowStatus

log = structlog.get_logger("shaker.jobs")

# After a run of this length, a failure counts as a first one, and the back-off starts over.
STEADY_SECONDS: Final = 1.0
# Tolerance for a late run before the job counts as stalled.
LATE_SECONDS: Final = 60.0


async def supervise(job: Job, status: FlowStatus, settings: Settings) -> None:
    """Run `job` until cancelled, and again after each failure.

    Raises AccessError and RefusedError outside of follow mode, where no operator can fix the cause.
    """
    backoff = Backoff(initial=settings.retry.initial_seconds, maximum=settings.retry.max_seconds)
    try:
        while True:
            began = status.clock()
            try:
                await job.run()
                return
            except (LinkError, ReplyError, RefusedError) as error:
                needs_operator = isinstance(error, AccessError | RefusedError) and not job.quiet
                if needs_operator and settings.mode != "follow":
                    raise
                if status.clock() - began >= STEADY_SECONDS:
                    backoff.reset()
                seconds = settings.retry.access_seconds if needs_operator else backoff.next()
                seconds = max(seconds, job.pause_seconds)
                _report(job, error, seconds)
            status.heartbeat(job.name, within=seconds + LATE_SECONDS)
            await anyio.sleep(seconds)
    finally:
        status.forget(job.name)


def _report(job: Job, error: Exception, seconds: float) -> None:
    kind, what, hint = "refused", str(error), ""
    if isinstance(error, ShakerError):
        kind, what, hint = error.kind, error.what, error.hint
    log.log(
        logging.DEBUG if job.quiet else logging.WARNING,
        "job interrupted",
        job=job.name,
        kind=kind,
        error=what,
        hint=hint or None,
        next_try_seconds=round(seconds, 3),
    )
