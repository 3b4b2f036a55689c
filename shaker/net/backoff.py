"""Back-off between attempts: exponential, bounded, with jitter."""

from __future__ import annotations

import random


class Backoff:
    """The wait before the next attempt, in seconds; call `reset` after a success.

    The first attempt after a success does not wait, so that one lost connection costs one round trip.
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
        if not self._failures:
            self._failures = 1
            return 0.0
        if maximum is None:
            maximum = self._maximum
        # The formula of redis-py's ExponentialWithJitterBackoff; importing it would add a tenth to the start.
        jitter = random.random()  # noqa: S311 - spreads attempts, keeps no secret
        wait = self._initial * 2.0**self._failures
        if wait < maximum:
            self._failures += 1  # from a bound that is reached, a longer one is approached as slowly
        return min(maximum, jitter * wait)
