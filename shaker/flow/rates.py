"""Limits of the intake: a token bucket for each rate, changeable at any time; without limits they cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import anyio

# Bytes and keys of a snapshot, bytes and commands of the stream: each a second.
RATES: Final = ("snapshot_bytes", "snapshot_keys", "stream_bytes", "stream_commands")
# Bytes are taken in pieces: of a limit on bytes this share, of any other limit so many for each item.
PIECE_SECONDS: Final = 0.05
ITEM_BYTES: Final = 2
SMALLEST_PIECE: Final = 512


class Rates:
    """Limits of the intake, a second each. `active`: at least one limit is set.

    Items are taken first and paid for afterwards: `charge` adds to the debt, `pay` waits until it is paid off.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.active = False
        self._clock = clock
        self._limits: dict[str, int] = {}
        self._paid_at: dict[str, float] = {}
        self._changed = anyio.Event()

    @property
    def limits(self) -> dict[str, int | None]:
        """Each rate with its limit a second; None is without a limit."""
        return {name: self._limits.get(name) for name in RATES}

    def change(self, limits: Mapping[str, int | None]) -> None:
        """Set the limits that are named, None for no limit. A debt at another rate is forgotten."""
        for name, limit in limits.items():
            if self._limits.get(name) != limit:
                self._paid_at.pop(name, None)
            if limit is None:
                self._limits.pop(name, None)
            else:
                self._limits[name] = limit
        self.active = bool(self._limits)
        self._changed.set()
        self._changed = anyio.Event()

    def charge(self, name: str, amount: int) -> None:
        """Add to the debt of a rate; without effect where it has no limit."""
        limit = self._limits.get(name)
        if limit is not None:
            now = self._clock()
            self._paid_at[name] = max(now, self._paid_at.get(name, now)) + amount / limit

    async def pay(self) -> None:
        """Return once nothing is owed at the limits of that time."""
        while (seconds := max(self._paid_at.values(), default=0.0) - self._clock()) > 0:
            with anyio.move_on_after(seconds):
                await self._changed.wait()

    def pieces(self, data: bytes, *, snapshot: bool) -> Iterator[bytes]:
        """Divide received bytes so that no piece owes much time."""
        size = len(data)
        if limit := self._limits.get("snapshot_bytes" if snapshot else "stream_bytes"):
            size = min(size, int(limit * PIECE_SECONDS))
        if limit := self._limits.get("snapshot_keys" if snapshot else "stream_commands"):
            size = min(size, limit * ITEM_BYTES)
        size = max(size, SMALLEST_PIECE)
        for start in range(0, len(data), size):
            yield data[start : start + size]
