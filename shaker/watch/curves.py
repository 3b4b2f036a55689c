"""Lag and throughput of a whole run: samples that are thinned out as the run gets longer."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

SAMPLES: Final = 600


class Point(NamedTuple):
    """The figures of one moment. `at` is Unix time; the others are totals."""

    at: float
    lag_bytes: int
    lag_seconds: float
    commands: int
    keys: int
    received: int


class Curves:
    """Points at a distance that doubles whenever there are `samples` of them."""

    def __init__(self, samples: int = SAMPLES) -> None:
        self._samples = samples
        self._points: list[Point] = []
        self._distance = 1.0
        self._added = 0.0

    def add(
        self, now: float, *, lag_bytes: int, lag_seconds: float, commands: int, keys: int, received: int
    ) -> None:
        """Add the figures of `now`, in seconds of a monotonic clock, unless the last ones are too near."""
        if self._points and now - self._added < self._distance:
            return
        self._added = now
        self._points.append(
            Point(round(time.time(), 3), lag_bytes, round(lag_seconds, 3), commands, keys, received)
        )
        if len(self._points) >= self._samples:
            del self._points[1::2]
            self._distance *= 2

    def document(self) -> dict[str, list[float]]:
        """Return a column for each figure, oldest first; throughput is per second since the point before."""
        found: dict[str, list[float]] = {
            name: []
            for name in (
                *("at", "lag_bytes", "lag_seconds"),
                *("commands_per_second", "keys_per_second", "received_bytes_per_second"),
            )
        }
        before: Point | None = None
        for point in self._points:
            seconds = point.at - before.at if before is not None else 0.0
            rates = [0.0, 0.0, 0.0]
            if before is not None and seconds > 0:
                # A total that starts over, as keys do with each snapshot, counts from 0 again.
                pairs = zip(point[3:], before[3:], strict=True)
                rates = [round((new - old if new >= old else new) / seconds, 1) for new, old in pairs]
            for column, value in zip(found.values(), (*point[:3], *rates), strict=True):
                column.append(value)
            before = point
        return found
