"""Decides how expiries are treated at one moment: their margin, which are deferred, and whether renewals may be late.

Pure: it sees clock readings and lags as plain numbers and has no state. The target expires keys by its own clock, so
each expiry lies later there by a margin. While the stream is behind, near expiries are deferred to a time that no
catching up can reach, and the source's own are restored once it has caught up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from shaker.rules.expiry import NEVER, Times
from shaker.settings.schema import Settings

# While behind, the time to catch up is an estimate: a constant, or a multiple of the known lag.
BEHIND_SECONDS: Final = 600.0
BEHIND_FACTOR: Final = 4.0
# One INFO, and the time between two, may add this to the known lag.
NOTICE_SECONDS: Final = 0.25
# An INFO takes one round trip to the source and a transaction two to the target; one may begin after another.
ROUND_TRIPS: Final = 2.0
# The margin is at least this multiple of what makes the target early. From this share of it on a delay is too long:
# the rest covers what happens between the worker's reading of the clock and the target's own.
MARGIN_FACTOR: Final = 4.0
MARGIN_SHARE: Final = 0.75
MAX_SKEW_SECONDS: Final = 3600.0  # clocks that differ by more are wrong, and no margin covers that


class Reading(NamedTuple):
    """One moment of a flow, all in seconds.

    `source_time` is the source's clock (Unix time). `longest_lag` is the longest time for which the source can have
    been ahead of the target, infinite while unknown. `usual_lag` is smoothed. `skew` is how far the target's clock
    is ahead of the source's, None if unknown. `round_trips` is the sum of those to both servers. `copying` is the
    time that the rest of the snapshot will take.
    """

    source_time: float
    longest_lag: float
    usual_lag: float = 0.0
    skew: float | None = None
    round_trips: float = 0.0
    copying: float = 0.0


@dataclass(frozen=True, slots=True)
class ExpiryPolicy:
    """The settings by which moments are judged; times in seconds.

    `margin_seconds` 0 turns the margin off. Lags below `tolerated_seconds` need no deferral; deferred expiries lie
    `deferred_seconds` ahead. `follows`: the copy is kept up to date until an operator stops the worker.
    `migrates`: without a margin, near expiries are deferred until the copy is complete.
    """

    margin_seconds: float
    tolerated_seconds: float
    deferred_seconds: float
    follows: bool = True
    migrates: bool = False

    @classmethod
    def of(cls, settings: Settings) -> ExpiryPolicy:
        """Return the policy of a worker's settings."""
        expiry, held = settings.expiry, settings.mode == "migrate" and settings.migrate.hold
        return cls(
            margin_seconds=expiry.margin_seconds,
            tolerated_seconds=expiry.hold_below_seconds,
            deferred_seconds=expiry.hold_seconds,
            follows=settings.mode == "follow" or held,
            migrates=settings.mode == "migrate" and not held,
        )

    def grace(self, reading: Reading) -> float:
        """Return by how much the target may be late without being behind, and the time that noticing takes."""
        return self.tolerated_seconds + NOTICE_SECONDS + ROUND_TRIPS * reading.round_trips

    def behind(self, reading: Reading) -> bool:
        """Whether the stream is so far behind that near expiries are deferred."""
        return reading.longest_lag >= self.grace(reading)

    def late(self, reading: Reading) -> bool:
        """Whether the target may expire a key before a renewal is applied that the source has already made."""
        limit = MARGIN_SHARE * self.margin_seconds if self.margin_seconds else self.grace(reading)
        return reading.longest_lag + _ahead(reading) >= limit

    def margin(self, reading: Reading) -> int:
        """Return by how many milliseconds expiries lie later on the target than on the source."""
        if not self.margin_seconds or not self.follows:
            return 0
        skew = min(abs(reading.skew or 0.0), MAX_SKEW_SECONDS)
        return round(max(self.margin_seconds, MARGIN_FACTOR * (reading.usual_lag + skew)) * 1000)

    def times(self, reading: Reading, *, age: float | None, final: bool, margin: int, expired: bool) -> Times:
        """Return how expiries are treated: of a part of the stream written `age` seconds ago, or of a snapshot (None).

        `final`: the copy is not kept up to date any longer, so that it gets the source's expiries. `margin` is the
        one in effect, in milliseconds. `expired`: the target may have expired a key since it was known to agree with
        the source.
        """
        stream = age is not None
        late = not final and stream and self.late(reading)
        near, until = NEVER, 0
        if not final and (not stream or self.migrates or self.behind(reading)):
            safe = reading.source_time + _ahead(reading) + self.grace(reading)
            until = int((safe + self.deferred_seconds) * 1000)
            near = min(int((safe + _catching_up(reading, snapshot=not stream)) * 1000), until)
        return Times(
            written=int((reading.source_time - (age or 0.0)) * 1000),
            near=near,
            until=until,
            margin=0 if final else margin,
            late=late,
            passed=late or expired,
        )


def _catching_up(reading: Reading, *, snapshot: bool) -> float:
    """Return how long catching up may take: much longer than the lag, and longest while there is none to measure."""
    if snapshot or reading.longest_lag == math.inf:
        return BEHIND_SECONDS + BEHIND_FACTOR * reading.copying
    return BEHIND_FACTOR * reading.longest_lag


def _ahead(reading: Reading) -> float:
    """Return how far the target's clock is ahead: it expires keys that much too early."""
    return max(reading.skew or 0.0, 0.0)
