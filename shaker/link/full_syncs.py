"""Spacing of full syncs: each makes the source fork and send everything it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import anyio
import structlog

from shaker.config import Settings
from shaker.replication import Replication, Resume

log = structlog.get_logger("shaker.source")

# How often it is looked whether a partial sync will do by now.
LOOK_SECONDS: Final = 0.5


class FullSyncs:
    """Remembers when this process last began a full sync. A restart of the process forgets it.

    Supervisors space out restarts by themselves (Kubernetes: from 10 s up to 5 min).
    """

    def __init__(self, settings: Settings, replication: Replication) -> None:
        self._seconds = settings.retry.full_sync_seconds
        self._status = replication.status
        self._began: float | None = None

    def begun(self) -> None:
        """Record that the source has begun a full sync."""
        self._began = self._status.clock()

    @property
    def wait_seconds(self) -> float:
        """How long the source is not to be asked for another one; 0 when it may be."""
        if self._began is None:
            return 0.0
        return max(0.0, self._began + self._seconds - self._status.clock())

    async def turn(self, needed: Callable[[], bool]) -> None:
        """Return when the source may be asked for a full sync, or when none is `needed` any longer."""
        status, told = self._status, False
        try:
            while needed() and (left := self.wait_seconds):
                status.reasons["full_sync"] = (
                    f"a full sync is due and begins in {left:.0f} s: full syncs of the source are at least "
                    f"{self._seconds:g} s apart (retry.full_sync_seconds)"
                )
                if not told:
                    told = True
                    log.warning(
                        "full sync waits",
                        seconds=round(left, 3),
                        hint="retry.full_sync_seconds is the minimum time between two full syncs of the source",
                    )
                status.beat("source", within=60.0)
                await anyio.sleep(min(left, LOOK_SECONDS))
        finally:
            status.reasons.pop("full_sync", None)


def continues(info: Mapping[str, str], resume: Resume) -> bool:
    """Whether a source goes on behind `resume`, by its INFO (src/replication.c, masterTryPartialResync).

    True as well where INFO does not tell: then only asking does.
    """
    names = ("repl_backlog_active", "repl_backlog_first_byte_offset", "repl_backlog_histlen")
    fields = [info.get(name, "") for name in names]
    if "master_replid" not in info or not all(field.isdigit() for field in fields):
        return True
    active, first, length = map(int, fields)
    wanted = resume.offset + 1
    if resume.replid == info["master_replid"]:
        known = True
    else:
        until = info.get("second_repl_offset", "")
        known = resume.replid == info.get("master_replid2") and until.isdigit() and wanted <= int(until)
    return known and bool(active) and first <= wanted <= first + length
