"""The interface of a job: work on a flow beside its stream, run again by the supervisor whenever it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import anyio


class Job(Protocol):
    """One task beside the stream of one flow, which it knows from its construction on.

    `name` is that of its heartbeat and of its failures in the log. `quiet` jobs report failures at debug level only
    and never end a one-off mode: the link to the same server reports the cause. `pause_seconds` is the minimum time
    from a failure to the next run.
    """

    name: str
    quiet: bool
    pause_seconds: float

    async def run(self) -> None:
        """Work until cancelled; raises LinkError, ReplyError or RefusedError when an attempt fails."""


async def until(condition: Callable[[], bool], every: float) -> None:
    """Return once `condition` holds, looked at after each `every` seconds."""
    while True:
        if condition():
            return
        await anyio.sleep(every)
