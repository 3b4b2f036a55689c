"""Rate of the verification, as a share of the time or in keys and bytes per second, and the keys per barrier."""

from __future__ import annotations

from typing import Final

GENTLE_SHARE: Final = 0.05  # of the time, with verify.rate=gentle: one core-second in twenty at most
FEWEST_KEYS: Final = 20
MOST_KEYS: Final = 5000
GROWTH: Final = 1.3
LONGEST_SLEEP: Final = 600.0  # seconds: a large value may have taken half a minute


class VerifyPace:
    """Decides on pauses and page sizes; `keys_per_second` None is gentle, 0 without a limit.

    `bytes_per_second` is a further limit, None for none.
    """

    def __init__(
        self, keys_per_second: float | None, max_pause_seconds: float, bytes_per_second: int | None = None
    ) -> None:
        self._bytes_per_second = bytes_per_second
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

    def pause(self, spent_seconds: float, keys: int, size: int = 0) -> float:
        """Return for how many seconds to wait after `keys` of `size` bytes took `spent_seconds`."""
        due = 0.0
        if self._keys_per_second is None:
            due = spent_seconds / GENTLE_SHARE
        elif self._keys_per_second:
            due = keys / self._keys_per_second
        if self._bytes_per_second:
            due = max(due, size / self._bytes_per_second)
        return min(LONGEST_SLEEP, max(0.0, due - spent_seconds))
