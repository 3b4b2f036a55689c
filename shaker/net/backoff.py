"""Back-off between attempts: exponential, bounded, with jitter."""

from __future__ import annotations

import random
from typing import Final

# The wait before jitter grows no further, in seconds: from here on nearly every wait is the bound.
LONGEST: Final = 1e9


class Backoff:
    """The wait before the next attempt, in seconds; call `reset` after a success.

    The first attempt after a success does not wait, so that one lost connection costs one round trip.
    """

    def __init__(self, *, initial: float, maximum: float) -> None:
        self._initial = initial
        self._maximum = maximum
        self._bound = maximum  # of the last wait
        self._wait = 0.0  # the last wait, before jitter and bound

    def reset(self) -> None:
        """Forget the failures."""
        self._wait = 0.0

    def next(self, maximum: float | None = None) -> float:
        """Return the seconds to wait now, up to `maximum` if given."""
        if not self._wait:
            self._wait = self._initial
            return 0.0
        bound = self._maximum if maximum is None else maximum
        if bound > self._bound:
            self._wait = min(self._wait, self._bound / 2)  # a longer bound is approached from the one before
        self._bound = bound
        self._wait = min(2.0 * self._wait, LONGEST)
        # The formula of redis-py's ExponentialWithJitterBackoff; importing it would add a tenth to the start.
        jitter = random.random()  # noqa: S311 - spreads attempts, keeps no secret
        return min(bound, jitter * self._wait)
