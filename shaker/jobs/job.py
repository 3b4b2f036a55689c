"""The interface of a job: work on a flow beside its stream, run again by the supervisor whenever it fails."""

from __future__ import annotations

from typing import Protocol


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
