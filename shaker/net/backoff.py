"""Back-off between attempts: exponential, bounded, with jitter."""

from __future__ import annotations

import random
from typing import Final

# Failures counted at most: the wait reaches its maximum long before, and 2 ** 1024 overflows a float.
MAX_FAILURES: Final = 64


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
        self._failures = min(self._failures + 1, MAX_FAILURES)
        if self._failures == 1:
            return 0.0
        # The formula of redis-py's ExponentialWithJitterBackoff; importing it would add a tenth to the start.
        jitter = random.random()  # noqa: S311 - spreads attempts, keeps no secret
        return min(
            self._maximum if maximum is None else maximum, jitter * self._initial * 2.0 ** (self._failures - 1)
        )
