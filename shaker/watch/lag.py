"""Lag in seconds: the age of the oldest source offset that is not yet applied on the target."""

from __future__ import annotations

import math
from collections import deque


class LagClock:
    """A bounded row of (time, source offset) samples, coarser the longer it has to reach back.

    `observe` takes what the source's offset was at a time; `seconds` answers how long the oldest offset beyond
    `applied` has been waiting. 0 when all is applied; rising when the source cannot be reached, because a
    source that cannot be asked may have gone on: the age of the last successful observation counts then.
    Times are seconds of any monotonic clock, offsets are bytes of one replication history.
    """

    def __init__(self, samples: int = 7200, unreachable_after: float = 3.0) -> None:
        self._samples: deque[tuple[float, int]] = deque()
        self._limit = samples
        self._unreachable_after = unreachable_after
        self._seen: float | None = None
        self._told: deque[tuple[float, int]] = deque(maxlen=samples)  # beyond what is applied
        self._even: float | None = None  # when the source was last known to stand at what is applied, or before it
        self._applied = 0

    def observe(self, now: float, source_offset: int) -> None:
        """Record that the source stood at `source_offset` at time `now`."""
        self._seen = now
        if self._samples and source_offset < self._samples[-1][1]:
            self._samples.clear()  # another history: old offsets say nothing about it
        if not self._samples or source_offset > self._samples[-1][1]:
            if len(self._samples) == self._limit:
                self._thin()
            self._samples.append((now, source_offset))

    def told(self, asked: float, source_offset: int) -> None:
        """Record that the source, asked at time `asked`, answered that it stood at `source_offset`.

        Only this tells how far it had not gone by then: what the stream brings can have been on the way for long.
        """
        if self._told and source_offset < self._told[-1][1]:
            self._told.clear()  # another history
        self._told.append((asked, source_offset))
        self._compare()

    def _compare(self) -> None:
        while self._told and self._told[0][1] <= self._applied:
            self._even = self._told.popleft()[0]

    def _thin(self) -> None:
        """Make one of each two samples, of the earlier time and the later offset: none gets younger by it."""
        samples = tuple(self._samples)
        pairs = zip(samples[::2], (*samples[1::2], samples[-1]), strict=False)
        self._samples = deque((time, offset) for (time, _), (_, offset) in pairs)

    def reset(self) -> None:
        """Forget all samples: a new replication history begins."""
        self._samples.clear()
        self._told.clear()
        self._seen = self._even = None
        self._applied = 0

    def applied(self, offset: int) -> None:
        """Drop the samples at or below the applied `offset`, but for the newest of them."""
        if offset < self._applied:
            self._even = None  # the target has lost something
        self._applied = offset
        self._compare()
        samples = self._samples
        while len(samples) > 1 and samples[0][1] <= offset:
            samples.popleft()

    def longest(self, now: float) -> float:
        """Return how long ago, at the most, the source went beyond what is applied; endless where nobody knows.

        What `seconds` answers is the least that it can have been. Only for the thread that adds the samples.
        """
        return math.inf if self._even is None else now - self._even

    def written(self, offset: int) -> float | None:
        """Return when the source was first seen at or behind `offset`, None where no sample reaches it.

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
