"""Keys that differed once: a difference counts when the key differs at several barriers in a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from shaker.model.differences import Difference

# Seconds before each further look. An expiry's deletion, or what another job does to the key, comes in between.
DELAYS: Final = (0.2, 1.0, 3.0)

Place = tuple[int, bytes]  # database and key


class _Suspect(NamedTuple):
    looks: int
    due: float


class Suspects:
    """Keys to compare again, bounded: the walk waits while they are too many."""

    def __init__(self, most: int = 10_000, delays: Sequence[float] = DELAYS) -> None:
        self.delays = delays
        self._most = most
        self._waiting: dict[Place, _Suspect] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether the walk has to wait."""
        return len(self._waiting) >= self._most

    def differs(self, difference: Difference, now: float) -> bool:
        """Note a difference; return whether it has been seen often enough to count."""
        place = (difference.database, difference.key)
        looks = self._waiting[place].looks + 1 if place in self._waiting else 1
        if looks > len(self.delays):
            self._waiting.pop(place, None)
            return True
        self._waiting[place] = _Suspect(looks, now + self.delays[looks - 1])
        return False

    def defer(self, place: Place, now: float) -> None:
        """Look at a key again later without counting a look: another job is at work on it."""
        looks = self._waiting[place].looks if place in self._waiting else 0
        self._waiting[place] = _Suspect(looks, now + self.delays[-1])

    def equal(self, place: Place) -> None:
        """Forget a key that was found equal."""
        self._waiting.pop(place, None)

    def due(self, now: float, most: int) -> dict[int, list[bytes]]:
        """Return keys by database that are to be looked at again now, at most `most`."""
        found: dict[int, list[bytes]] = {}
        for place, suspect in self._waiting.items():
            if suspect.due <= now:
                found.setdefault(place[0], []).append(place[1])
                most -= 1
                if most <= 0:
                    break
        return found
