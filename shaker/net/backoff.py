"""Waiting between attempts: exponential, bounded, with jitter."""

from __future__ import annotations

import random
from typing import Final

# Failures counted: the wait reached its maximum long before, and 2 ** 1024 is beyond a float.
MAX_FAILURES: Final = 64


class Backoff:
    """Tells how long to wait before the next attempt, in seconds; `reset` after a success.

    The first attempt after a success waits not at all, so that one lost connection costs one round trip.
    """

    def __init__(self, *, initial: float, maximum: float) -> None:
        self._initial = initial
        self._maximum = maximum
        self._failures = 0

    def reset(self) -> None:
        """Forget the failures."""
        self._failures = 0

    def next(self, maximum: float | None = None) -> float:
        """Return the seconds to wait now, up to `maximum` if given."""
        self._failures = min(self._failures + 1, MAX_FAILURES)
        if self._failures == 1:
            return 0.0
        # The same as in redis-py, whose import alone would take a sixth of the worker's start.
        jitter = random.random()  # noqa: S311 - spreads attempts, keeps no secret
        return min(
            self._maximum if maximum is None else maximum, jitter * self._initial * 2.0 ** (self._failures - 1)
        )
