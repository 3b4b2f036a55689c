"""Rate limits of the health server, which shares the interpreter with the replication."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Pace:
    """Spreads events evenly: `per_second` of them, and `at_once` in a burst after a pause."""

    def __init__(self, *, per_second: float, at_once: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._interval = 1.0 / per_second
        self._ahead = self._interval * (at_once - 1)
        self._next = 0.0  # time of the next event if all were evenly spread

    def delay(self) -> float:
        """Return the seconds until the next event may happen; 0 for now."""
        return max(0.0, self._next - self._ahead - self._clock())

    def count(self) -> float:
        """Count one event; return the seconds that it has to wait."""
        delay = self.delay()
        self._next = max(self._next, self._clock()) + self._interval
        return delay


class Sparing(Generic[T]):
    """Makes a value on request while `pace` allows it, and returns the newest one otherwise."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._newest: T | None = None

    def get(self, make: Callable[[], T]) -> T:
        """Return the value of `make`, called now or a moment ago."""
        if self._newest is None or not self._pace.delay():
            self._pace.count()
            self._newest = make()
        return self._newest
