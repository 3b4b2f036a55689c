"""Conditions of a full sync: a minimum time since the last one, and a source that can fill a flushed target again.

Each full sync makes the source fork and send all its data.
"""

from __future__ import annotations

from typing import Final

import anyio
import structlog

from shaker.checks.circles import SCAN_SECONDS, refuse_loop, scan
from shaker.checks.deletions import check_flush
from shaker.errors import HeldError, LinkError
from shaker.flow.flow import Flow
from shaker.model.position import Resume
from shaker.model.server_info import ServerInfo
from shaker.settings.schema import Settings

log = structlog.get_logger("shaker.source")

# Interval at which a waiting full sync checks whether a partial sync has become possible.
CHECK_SECONDS: Final = 0.5


class FullSyncs:
    """Remembers when this process last began a full sync. A restart of the process forgets it.

    Supervisors space out restarts themselves (Kubernetes: from 10 s up to 5 min).
    """

    def __init__(self, settings: Settings, flow: Flow) -> None:
        self._settings = settings
        self._flow = flow
        self._seconds = settings.retry.full_sync_seconds
        self._status = flow.status
        self._began: float | None = None
        self._checked = False  # the next full sync may flush
        self._held = False  # a flush is held back

    def begun(self) -> None:
        """Record that the source has begun a full sync; raises LinkError where the target must not be flushed yet."""
        self._began = self._status.clock()
        checked, self._checked = self._checked, False
        if self.flushes and not checked:
            self._flow.resume = None
            raise LinkError(
                "the source began a full sync that its INFO did not announce: the next attempt checks the target first"
            )

    @property
    def flushes(self) -> bool:
        """Whether a snapshot begins with emptying the target."""
        target = self._settings.target
        return (target.stale_keys if self._flow.ours else target.on_existing) == "flush"

    @property
    def wait_seconds(self) -> float:
        """Seconds until the source may be asked for another full sync; 0 when it may be."""
        if self._began is None:
            return 0.0
        return max(0.0, self._began + self._seconds - self._status.clock())

    async def turn(self, info: ServerInfo) -> None:
        """Return once the source, whose INFO is `info`, may be asked: at once where it continues the stream.

        Raises HeldError where the target would be flushed and the source has too few keys to fill it again,
        RefusedError where the source gets its data from the target.
        """
        await self._wait(info)
        if self._needed(info) and self.flushes:
            await self._check_flush(info)
        elif self._held:
            self._held, self._status.sweep.held = False, ""

    def _needed(self, info: ServerInfo) -> bool:
        resume = self._flow.resume
        return resume is None or not continues(info, resume)

    async def _wait(self, info: ServerInfo) -> None:
        status, reported = self._status, False
        try:
            while self._needed(info) and (left := self.wait_seconds):
                status.reasons["full_sync"] = (
                    f"a full sync is due and begins in {left:.0f} s: full syncs of the source are at least "
                    f"{self._seconds:g} s apart (retry.full_sync_seconds)"
                )
                if not reported:
                    reported = True
                    log.warning(
                        "full sync waits",
                        seconds=round(left, 3),
                        hint="retry.full_sync_seconds is the minimum time between two full syncs of the source",
                    )
                status.heartbeat("source", within=60.0)
                await anyio.sleep(min(left, CHECK_SECONDS))
        finally:
            status.reasons.pop("full_sync", None)

    async def _check_flush(self, info: ServerInfo) -> None:
        flow, status = self._flow, self._status
        status.heartbeat("source", within=SCAN_SECONDS + 60.0)
        records = await scan(self._settings, flow)
        refuse_loop(self._settings, flow, streams=False)
        try:
            if not flow.target.deletions_allowed:
                await check_flush(self._settings, info, first=not flow.ours, records=records)
        except HeldError as error:
            self._held, status.sweep.held = True, str(error)
            raise
        self._held, status.sweep.held = False, ""
        self._checked = True


def continues(info: ServerInfo, resume: Resume) -> bool:
    """Whether a source continues after `resume`, by its INFO (src/replication.c, masterTryPartialResync).

    True also where INFO lacks the fields: then only PSYNC can answer.
    """
    source = info.replication
    active, first, length = source.backlog_active, source.backlog_first, source.backlog_length
    if not source.replid or active is None or first is None or length is None:
        return True
    wanted = resume.offset + 1
    if resume.replid == source.replid:
        known = True
    else:
        until = source.second_offset
        known = resume.replid == source.replid2 and until is not None and wanted <= until
    return known and active > 0 and first <= wanted <= first + length
