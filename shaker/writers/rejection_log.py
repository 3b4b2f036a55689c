"""What the log tells of rejected commands: the first of them one by one, of a flood how many there were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from shaker.model.rejection import Rejection

log = structlog.get_logger("shaker.target")

# Lines for single commands; of those that follow, one line each so many seconds tells, until none came so long.
SINGLE_LINES: Final = 10
INTERVAL_SECONDS: Final = 10.0


class RejectionLog:
    """Writes to the log what it is told of, bounded in lines; `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._lines = 0
        self._untold = 0
        self._last: Rejection | None = None

    def rejected(self, rejection: Rejection) -> None:
        """Tell of a command that the target rejected, or keep it for the next summary."""
        self.turn()
        if self._lines < SINGLE_LINES:
            self._lines += 1
            self._began = self._clock()
            log.error("command rejected", command=rejection.command, key=rejection.key, error=rejection.error)
        else:
            self._untold += 1
            self._last = rejection

    def turn(self, *, ended: bool = False) -> None:
        """Tell of what was not told, if it is time to; `ended`: or if nothing will come any more."""
        now = self._clock()
        if now - self._began < INTERVAL_SECONDS and not ended:
            return
        last, count = self._last, self._untold
        if last is None:
            self._lines = 0
        else:
            log.error("commands rejected", count=count, command=last.command, key=last.key, error=last.error)
        self._began, self._untold, self._last = now, 0, None
