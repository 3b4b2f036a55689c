"""Waiting between attempts: exponential, bounded, with jitter."""

from __future__ import annotations

from typing import Final

from redis.backoff import ExponentialWithJitterBackoff

# Failures counted: the wait reached its maximum long before, and 2 ** 1024 is beyond a float.
MAX_FAILURES: Final = 64


class Backoff:
    """Tells how long to wait before the next attempt, in seconds; `reset` after a success.

    The first attempt after a success waits not at all, so that one lost connection costs one round trip.
    """

    def __init__(self, *, initial: float, maximum: float) -> None:
        self._policy = ExponentialWithJitterBackoff(cap=maximum, base=initial)
        self._failures = 0

    def reset(self) -> None:
        """Forget the failures."""
        self._failures = 0

    def next(self) -> float:
        """Return the seconds to wait now."""
        self._failures = min(self._failures + 1, MAX_FAILURES)
        return 0.0 if self._failures == 1 else float(self._policy.compute(self._failures - 1))
