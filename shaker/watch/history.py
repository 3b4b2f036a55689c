"""Lag and throughput of the last minutes, a sample a second, for the curves of the page."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, NamedTuple

SCHEMA_VERSION = 1

# Five minutes of one sample a second: long enough to see whether a lag grows or shrinks.
SAMPLES = 300
# Samples in a current rate: that of one second alone fluctuates.
RATE_SAMPLES = 3


class Sample(NamedTuple):
    """The figures of one moment. `at` is Unix time; rates are since the previous sample."""

    at: float
    lag_bytes: int
    lag_seconds: float
    commands_per_second: float
    keys_per_second: float
    received_bytes_per_second: float


class History:
    """The newest `SAMPLES` samples. Added to by the event loop only; `document` may be called by any thread."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._before: tuple[float, int, int, int] | None = None

    def rates(self) -> tuple[float, float]:
        """Return keys of the snapshot and bytes received per second, over the last few samples."""
        last = tuple(self._samples)[-RATE_SAMPLES:]
        return (
            sum(sample.keys_per_second for sample in last) / max(1, len(last)),
            sum(sample.received_bytes_per_second for sample in last) / max(1, len(last)),
        )

    def add(
        self, now: float, *, lag_bytes: int, lag_seconds: float, commands: int, keys: int, received: int
    ) -> None:
        """Add the sample of `now`, in seconds of a monotonic clock.

        `commands` applied, snapshot `keys` applied and bytes `received` are totals; a total that starts over, as keys
        do with each snapshot, counts from 0 again.
        """
        counts = (commands, keys, received)
        rates = (0.0, 0.0, 0.0)
        if self._before is not None and now > self._before[0]:
            elapsed = now - self._before[0]
            before = self._before[1:]
            changes = (new - old if new >= old else new for new, old in zip(counts, before, strict=True))
            rates = tuple(round(change / elapsed, 1) for change in changes)  # type: ignore[assignment]
        self._before = (now, *counts)
        self._samples.append(Sample(round(time.time(), 3), lag_bytes, round(lag_seconds, 3), *rates))

    def document(self) -> dict[str, Any]:
        """Return the body of `/history`, schema version 1: a column for each field, oldest sample first."""
        # One atomic call, because the event loop adds samples meanwhile.
        samples = tuple(self._samples)
        columns = {name: [sample[place] for sample in samples] for place, name in enumerate(Sample._fields)}
        return {"version": SCHEMA_VERSION, "now": round(time.time(), 3), **columns}
