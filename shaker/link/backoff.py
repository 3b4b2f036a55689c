"""Waiting between attempts: exponential, bounded, with jitter."""

from __future__ import annotations

from redis.backoff import ExponentialWithJitterBackoff


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
        self._failures += 1
        return 0.0 if self._failures == 1 else float(self._policy.compute(self._failures - 1))
