"""Rate of the verification, as a share of the time or in keys per second, and the number of keys per barrier."""

from __future__ import annotations

from typing import Final

GENTLE_SHARE: Final = 0.05  # of the time, with verify.rate=gentle: one core-second in twenty at most
FEWEST_KEYS: Final = 20
MOST_KEYS: Final = 5000
GROWTH: Final = 1.3
LONGEST_SLEEP: Final = 10.0  # seconds


class VerifyPace:
    """Decides on pauses and page sizes; `keys_per_second` None is gentle, 0 without a limit."""

    def __init__(self, keys_per_second: float | None, max_pause_seconds: float) -> None:
        self._keys_per_second = keys_per_second
        self._max_pause = max_pause_seconds
        self.keys = 200  # of the next page

    def adapt(self, held_seconds: float, round_trip: float) -> None:
        """Adapt the page size to `held_seconds` of the stream, of which a round trip to the target is always part."""
        allowed = self._max_pause + 2 * round_trip
        if held_seconds > allowed:
            self.keys = max(FEWEST_KEYS, int(self.keys * max(0.3, 0.8 * allowed / held_seconds)))
        elif held_seconds < 0.7 * allowed:
            self.keys = min(MOST_KEYS, int(self.keys * GROWTH) + 1)

    def pause(self, spent_seconds: float, keys: int) -> float:
        """Return for how many seconds to wait after `keys` took `spent_seconds`."""
        if self._keys_per_second is None:
            return min(LONGEST_SLEEP, spent_seconds * (1 / GENTLE_SHARE - 1))
        if not self._keys_per_second:
            return 0.0
        return max(0.0, keys / self._keys_per_second - spent_seconds)
