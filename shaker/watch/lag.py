"""Lag in seconds: the age of the oldest source offset that is not yet applied on the target."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

# The usual lag moves by this part of the difference each second; a lag above the maximum, in seconds, is not usual.
SMOOTHING: Final = 10
MOST_USUAL_LAG: Final = 2.0


class LagClock:
    """A bounded series of (time, source offset) samples, coarser the further it reaches back.

    `observe` records the source's offset at a time; `seconds` returns the age of the oldest offset beyond `applied`.
    It is 0 when everything is applied, and rises while the source is unreachable: the source may have moved on, so the
    age of the last observation counts.
    Times are seconds of any monotonic clock, offsets are bytes of one replication history.
    """

    def __init__(self, samples: int = 7200, unreachable_after: float = 3.0) -> None:
        self._samples: deque[tuple[float, int]] = deque()
        self._limit = samples
        self._unreachable_after = unreachable_after
        self._seen: float | None = None
        self._reported: deque[tuple[float, int]] = deque(maxlen=samples)  # beyond the applied offset
        self._even: float | None = None  # last time the source was known to be at or before the applied offset
        self._applied = 0
        self.usual_seconds = 0.0  # of the stream, smoothed over about ten seconds

    def observe(self, now: float, source_offset: int) -> None:
        """Record that the source was at `source_offset` at time `now`."""
        self._seen = now
        if self._samples and source_offset < self._samples[-1][1]:
            self._samples.clear()  # another history: old offsets say nothing about it
        if not self._samples or source_offset > self._samples[-1][1]:
            if len(self._samples) == self._limit:
                self._thin()
            self._samples.append((now, source_offset))

    def reported(self, asked: float, source_offset: int) -> None:
        """Record that the source, asked at time `asked`, reported that it was at `source_offset`.

        Only a report bounds the source's offset at a time: bytes of the stream may have been in transit for long.
        """
        if self._reported and source_offset < self._reported[-1][1]:
            self._reported.clear()  # another history
        self._reported.append((asked, source_offset))
        self._compare()

    def _compare(self) -> None:
        while self._reported and self._reported[0][1] <= self._applied:
            self._even = self._reported.popleft()[0]

    def _thin(self) -> None:
        """Merge each two samples into one with the earlier time and the later offset, so that no age shrinks."""
        samples = tuple(self._samples)
        pairs = zip(samples[::2], (*samples[1::2], samples[-1]), strict=False)
        self._samples = deque((time, offset) for (time, _), (_, offset) in pairs)

    def reset(self) -> None:
        """Forget all samples: a new replication history begins."""
        self._samples.clear()
        self._reported.clear()
        self._seen = self._even = None
        self._applied = 0

    def applied(self, offset: int) -> None:
        """Drop the samples at or below the applied `offset`, except the newest of them."""
        if offset < self._applied:
            self._even = None  # the target has lost data
        self._applied = offset
        self._compare()
        samples = self._samples
        while len(samples) > 1 and samples[0][1] <= offset:
            samples.popleft()

    def smooth(self, seconds: float) -> None:
        """Take a lag in seconds as a sample of the usual lag; called about once a second."""
        self.usual_seconds += (min(seconds, MOST_USUAL_LAG) - self.usual_seconds) / SMOOTHING

    def longest(self, now: float) -> float:
        """Return an upper bound of the age of the oldest offset that is not applied; infinite if unknown.

        `seconds` returns a lower bound. Only for the thread that adds the samples.
        """
        return math.inf if self._even is None else now - self._even

    def written(self, offset: int) -> float | None:
        """Return when the source was first seen at or after `offset`; None if no sample reaches it.

        Only for the thread that adds the samples.
        """
        return next((time for time, seen in self._samples if seen >= offset), None)

    def seconds(self, now: float, applied: int) -> float:
        """Return the lag in seconds at time `now` for the `applied` offset."""
        # A copy, because the event loop may add a sample while the health server's thread reads.
        waiting = next((time for time, offset in tuple(self._samples) if offset > applied), None)
        if waiting is not None:
            return max(0.0, now - waiting)
        if self._seen is None:
            return 0.0
        silent = now - self._seen
        return silent if silent > self._unreachable_after else 0.0
