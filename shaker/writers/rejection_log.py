"""Rate-limited log of rejected commands: the first ten individually, then a summary every 10 s."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from shaker.model.rejection import Rejection

log = structlog.get_logger("shaker.target")

# Lines for single commands. Later ones share one line per interval, until an interval has none.
SINGLE_LINES: Final = 10
INTERVAL_SECONDS: Final = 10.0


class RejectionLog:
    """Logs rejected commands, bounded in lines; `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._lines = 0
        self._unreported = 0
        self._last: Rejection | None = None

    def rejected(self, rejection: Rejection) -> None:
        """Log a command that the target rejected, or keep it for the next summary."""
        self.report()
        if self._lines < SINGLE_LINES:
            self._lines += 1
            self._began = self._clock()
            log.error("command rejected", command=rejection.command, key=rejection.key, error=rejection.error)
        else:
            self._unreported += 1
            self._last = rejection

    def report(self, *, ended: bool = False) -> None:
        """Log the summary of unreported commands once its interval is over, or at the end (`ended`)."""
        now = self._clock()
        if now - self._began < INTERVAL_SECONDS and not ended:
            return
        last, count = self._last, self._unreported
        if last is None:
            self._lines = 0
        else:
            log.error("commands rejected", count=count, command=last.command, key=last.key, error=last.error)
        self._began, self._unreported, self._last = now, 0, None
