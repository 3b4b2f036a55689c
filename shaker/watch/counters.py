"""The groups of counters and positions that make up a flow's status.

Each group is written by the event loop only. Its fields change one by one: readers of another thread may see a group
between two assignments. `Status` replaces a whole group where values belong together.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

# Answers of a side whose minimum is its round trip: the others include waiting.
ROUND_TRIPS: Final = 8
# Upper bounds, in seconds, of the apply-latency histogram's buckets: from one loopback round trip to a stall.
LATENCY_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(slots=True)
class SideStatus:
    """One side of the replication as the worker sees it."""

    address: str = ""
    server: str = ""
    connected: bool = False
    last_error: str = ""
    last_error_kind: str = ""


@dataclass(slots=True)
class SnapshotProgress:
    """Progress of the snapshot. `bytes_total` and `keys_total` are 0 while the source has not reported them.

    `keys_expected` are the keys that the source had at its beginning: the snapshot announces those of a database only
    when it comes to it. `offset` is the start of the stream after it; `keys_before` and `bytes_before` are the totals
    of earlier ones.
    """

    bytes_total: int = 0
    bytes_done: int = 0
    keys_total: int = 0
    keys_expected: int = 0
    keys_done: int = 0
    started: float | None = None
    finished: float | None = None
    offset: int = 0
    keys_before: int = 0
    bytes_before: int = 0
    types: Counter[tuple[int, str]] = field(default_factory=Counter)  # keys by database and type, for a report


@dataclass(slots=True)
class Latency:
    """Histogram of the seconds from reading a batch to the target's answer; `counts` has one more for longer ones."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BUCKETS) + 1))
    sum: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one answer."""
        self.sum += seconds
        bucket = next((i for i, bound in enumerate(LATENCY_BUCKETS) if seconds <= bound), len(LATENCY_BUCKETS))
        self.counts[bucket] += 1


@dataclass(slots=True)
class StreamProgress:
    """Progress of the stream: offsets in bytes of the source's replication history."""

    replid: str = ""
    received_offset: int = 0
    applied_offset: int = 0
    checkpoint_offset: int = 0
    source_offset: int = 0
    commands_applied: int = 0
    commands_rejected: int = 0
    unconfirmed_bytes: int = 0
    last_applied: float = 0.0  # Unix time of the last applied command; 0: none
    latency: Latency = field(default_factory=Latency)

    def applied(self, commands: int) -> None:
        """Count commands that the target has just applied."""
        if commands:
            self.commands_applied += commands
            self.last_applied = time.time()


@dataclass(slots=True)
class LinkCounts:
    """Synchronizations, reconnects by side, and errors by side and kind."""

    full_syncs: int = 0
    partial_syncs: int = 0
    reconnects: Counter[str] = field(default_factory=Counter)
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)


@dataclass(slots=True)
class Pause:
    """A pause by an operator, since a Unix time (None: not paused), and the source's buffer for the worker.

    `waiting_bytes` wait in the source, which writes `bytes_per_second`, averaged over some seconds. It drops the
    connection in `overflows_in_seconds`, unless bytes are taken: for `overflow_reason`. None: never, or unknown.
    """

    since: float | None = None
    by: str = ""
    waiting_bytes: int = 0
    bytes_per_second: float = 0.0
    overflows_in_seconds: float | None = None
    overflow_reason: str = ""

    def begin(self, by: str) -> None:
        """Begin a pause; one that lasts stays as it is."""
        if self.since is None:
            self.since, self.by = time.time(), by

    def end(self) -> None:
        """End the pause."""
        self.since, self.by = None, ""


@dataclass(slots=True)
class Traffic:
    """Bytes read and sent, and bytes held between the two; the operator's pause and limits a second."""

    received_bytes: int = 0
    sent_bytes: int = 0
    window_bytes: int = 0
    spool_bytes: int = 0
    pause: Pause = field(default_factory=Pause)
    limits: dict[str, int | None] = field(default_factory=dict)


@dataclass(slots=True)
class KeyCounts:
    """Keys of the servers, and keys left out."""

    present: dict[str, int] = field(default_factory=dict)  # of each side, without the worker's records
    evicted: int = 0  # by the target, since the worker started
    reserved_skipped: int = 0
    empty_skipped: int = 0  # aggregates without elements in snapshots
    unsupported_skipped: int = 0  # keys and commands left out, whole or in part, that the target cannot hold
    expired_skipped: int = 0  # keys that had expired before their snapshot was made


@dataclass(slots=True)
class SweepProgress:
    """Progress of the sweep of stale keys."""

    listed: int = 0
    stale: int = 0  # found and not removed yet
    deleted: int = 0
    held: str = ""  # why bulk deletions wait for an operator; empty if they do not
    error: str = ""  # the last interruption; empty once the sweep continues


@dataclass(slots=True)
class ExpiryProgress:
    """Progress of deferred expiries."""

    pending: bool = False  # expiries may still be deferred
    margin_seconds: float = 0.0  # maximum by which expiries were later on the target
    waiting: int = 0  # at the last count
    settled: int = 0  # restored, or the key was gone
    copied: int = 0  # keys copied from the source, which the target had lost or for their fields


@dataclass(slots=True)
class ServerClocks:
    """Clocks and round trips of the sides.

    `offsets` are the Unix time by the clock of a side minus the worker's clock, in seconds; None if unknown.
    `round_trips` are in seconds.
    """

    offsets: dict[str, float | None] = field(default_factory=dict)
    round_trips: dict[str, float] = field(default_factory=dict)
    _recent: dict[str, deque[float]] = field(default_factory=dict)

    def observe_round_trip(self, side: str, seconds: float) -> None:
        """Record the response time of a server of `side`; the minimum of the last ones is the round trip."""
        recent = self._recent.setdefault(side, deque(maxlen=ROUND_TRIPS))
        recent.append(seconds)
        self.round_trips[side] = min(recent)

    @property
    def skew_seconds(self) -> float | None:
        """Seconds that the target's clock is ahead of the source's; negative if behind, None if unknown."""
        source, target = self.offsets.get("source"), self.offsets.get("target")
        return None if source is None or target is None else target - source
