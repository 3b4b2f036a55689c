"""A flow as the expiry policy sees it: takes the readings, asks the policy, and records which margin is in effect."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from shaker.apply.deferred_expiries import Expiries
from shaker.apply.expired import ExpiredKeys, expired_nothing
from shaker.apply.window import Window
from shaker.flow.expiry_policy import ExpiryPolicy, Reading
from shaker.flow.known import KnownSource, KnownTarget
from shaker.flow.lifecycle import DataState, Lifecycle, WorkState
from shaker.model.items import StreamItem
from shaker.rules.expiry import Times
from shaker.settings.schema import Settings
from shaker.watch.status import FlowStatus


class ExpiryView:
    """Answers for one flow how expiries are treated now; `deferred` carries the answers out."""

    def __init__(
        self,
        settings: Settings,
        status: FlowStatus,
        window: Window,
        lifecycle: Lifecycle,
        source: KnownSource,
        target: KnownTarget,
    ) -> None:
        self.deferred = Expiries(settings.name, self.times, lambda: target.expired)
        self._policy = ExpiryPolicy.of(settings)
        self._snapshot_only = settings.mode == "snapshot"
        self._status = status
        self._window = window
        self._lifecycle = lifecycle
        self._source = source
        self._target = target

    @property
    def source_time(self) -> float:
        """The source's clock, Unix time in seconds; the worker's own where the source does not report its time."""
        offset = self._status.clocks.offsets.get("source")
        return time.time() if offset is None else self._status.clock() + offset

    @property
    def behind(self) -> bool:
        """Whether the stream is so far behind that near expiries are deferred."""
        return self._policy.behind(self._reading())

    @property
    def late(self) -> bool:
        """Whether the target may expire a key before a renewal is applied that the source has already made."""
        return self._policy.late(self._reading())

    @property
    def margin(self) -> int:
        """The margin in effect: expiries are so many milliseconds later on the target than on the source."""
        return self._margin(self._reading())

    @property
    def widest_margin(self) -> int:
        """The most milliseconds by which expiries may lie later on the target, also those that earlier workers gave.

        An older version did not record its margin: it was that of mode=follow.
        """
        now = self.margin
        if not (self._policy.follows or self.deferred.by_target):
            now = replace(self._policy, follows=True).margin(self._reading())
        return max(now, self.deferred.margin)

    def widen(self, margin: int) -> None:
        """Record that expiries may lie later on the target by a margin in milliseconds."""
        if margin > self.deferred.margin:
            self.deferred.margin = margin
            self._status.expiries.margin_seconds = margin / 1000

    def times(self, item: StreamItem | None) -> Times:
        """Return how expiries are treated now: of an item of the stream, or without one of a snapshot."""
        reading = self._reading(snapshot=item is None)
        # A copy that is not kept up to date any longer has the source's expiries.
        final = self._snapshot_only or self._lifecycle.work is not WorkState.COPYING
        return self._policy.times(
            reading,
            age=None if item is None else self._age(item),
            final=final,
            margin=0 if final else self._margin(reading),
            expired=not expired_nothing(self.deferred.expired, self._target.expired),
        )

    def observe_expired(self, asked_late: bool, expired: ExpiredKeys | None) -> None:
        """Record what the target had expired when asked; `asked_late` is what `late` was before the question."""
        self._target.expired = expired
        if not (asked_late or self.late or self.deferred.doubts):
            self.deferred.expired = expired

    def _age(self, item: StreamItem) -> float:
        """Return for how many seconds the commands of an item have been in the source's history."""
        seen = self._status.lag.written(item.batch.end_offset)
        return self._status.clock() - (item.received_at if seen is None else min(seen, item.received_at))

    def _margin(self, reading: Reading) -> int:
        if self.deferred.by_target:
            return 0
        margin = self._policy.margin(reading)
        self.widen(margin)
        return margin

    def _reading(self, *, snapshot: bool = False) -> Reading:
        status = self._status
        longest = self._longest_lag
        # Estimated only where it is used: it costs more than all the rest.
        copying = status.lag_seconds + (status.eta_seconds() or 0.0) if snapshot or longest == math.inf else 0.0
        return Reading(
            self.source_time,
            longest,
            status.lag.usual_seconds,
            status.clocks.skew_seconds,
            sum(status.clocks.round_trips.values()),
            copying,
        )

    @property
    def _longest_lag(self) -> float:
        status, base = self._status, self._window.applied_position
        applied = base.number if base is not None else status.stream.applied_offset
        if self._lifecycle.data is DataState.LOADING or applied < self._source.caught_up_at:
            return math.inf
        return status.lag.longest(status.clock())
