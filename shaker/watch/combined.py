"""Derives the status of a worker with several flows: counters add up, of states and lags the worst counts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from shaker.watch.counters import (
    ExpiryProgress,
    KeyCounts,
    Latency,
    LinkCounts,
    Pause,
    SideStatus,
    SnapshotProgress,
    SweepProgress,
    Traffic,
)
from shaker.watch.status import State, Status

# From the worst to the best: the worker is in the worst state of its flows.
WORST_FIRST: Final = (
    State.FAILED,
    State.FENCED,
    State.STARTING,
    State.PAUSED,
    State.CONNECTING,
    State.HANDSHAKING,
    State.SNAPSHOT,
    State.CATCHING_UP,
    State.DRAINING,
    State.STREAMING,
    State.STOPPED,
)


def combine(status: Status) -> None:
    """Derive `status` from the records of its flows; a worker with one flow has nothing to derive."""
    if not status.flows:
        return
    records = tuple(status.flows.values())
    worst = max(records, key=lambda record: (record.lag_seconds, record.lag_bytes))
    status.enter(min((record.state for record in records), key=WORST_FIRST.index))
    status.source = _endpoint([record.source for record in records])
    status.target = _endpoint([record.target for record in records])
    status.snapshot = _snapshot([record.snapshot for record in records], worst.snapshot.offset)
    # Offsets of different sources cannot be added: those of the flow that is furthest behind are shown.
    counts = [record.stream for record in records]
    status.stream = replace(
        worst.stream,
        last_applied=max(stream.last_applied for stream in counts),
        latency=Latency(
            [sum(bucket) for bucket in zip(*(stream.latency.counts for stream in counts), strict=True)],
            sum(stream.latency.sum for stream in counts),
        ),
        **_added(counts, "commands_applied", "commands_rejected", "unconfirmed_bytes"),
    )
    status.lag = worst.lag
    status.clocks = max((record.clocks for record in records), key=lambda clocks: abs(clocks.skew_seconds or 0.0))
    links = [record.links for record in records]
    status.links = LinkCounts(
        reconnects=sum((link.reconnects for link in links), Counter()),
        errors=sum((link.errors for link in links), Counter()),
        **_added(links, "full_syncs", "partial_syncs"),
    )
    keys = [record.keys for record in records]
    status.keys = KeyCounts(
        present=dict(sum((Counter(key.present) for key in keys), Counter())),
        **_added(keys, "evicted", "reserved_skipped", "empty_skipped", "expired_skipped", "unsupported_skipped"),
    )
    status.traffic = _traffic([record.traffic for record in records])
    sweeps = [record.sweep for record in records]
    status.sweep = SweepProgress(
        held=next((sweep.held for sweep in sweeps if sweep.held), ""),
        **_added(sweeps, "listed", "stale", "deleted"),
    )
    expiries = [record.expiries for record in records]
    status.expiries = ExpiryProgress(
        pending=any(expiry.pending for expiry in expiries),
        margin_seconds=max(expiry.margin_seconds for expiry in expiries),
        **_added(expiries, "waiting", "settled", "copied"),
    )
    status.reasons = {
        f"{name}/{reason}": f"{name}: {text}"
        for name, record in status.flows.items()
        for reason, text in tuple(record.reasons.items())
    }
    # The worker's own loop beats in `status` itself.
    own = {task: beat for task, beat in status.heartbeats.items() if "/" not in task}
    status.heartbeats = own | {
        f"{name}/{task}": beat for name, record in status.flows.items() for task, beat in record.heartbeats.items()
    }


def _traffic(parts: Sequence[Traffic]) -> Traffic:
    return Traffic(
        pause=min((part.pause for part in parts), key=_urgency),
        limits=parts[0].limits,
        **_added(parts, "received_bytes", "sent_bytes", "window_bytes", "spool_bytes"),
    )


def _urgency(pause: Pause) -> tuple[bool, float]:
    """Return the order of pauses: the source that drops its connection first comes first."""
    left = pause.overflows_in_seconds
    return pause.since is None, math.inf if left is None else left


def _added(groups: Sequence[object], *names: str) -> dict[str, Any]:
    """Return the sums of numbers that the groups of all flows have."""
    return {name: sum(getattr(group, name) for group in groups) for name in names}


def _endpoint(sides: Sequence[SideStatus]) -> SideStatus:
    """Return the endpoint that needs attention: one that is not connected, or that has had an error."""
    rules: tuple[Callable[[SideStatus], bool], ...] = (
        lambda side: not side.connected,
        lambda side: bool(side.last_error),
    )
    return next((side for rule in rules for side in sides if rule(side)), sides[0])


def _snapshot(parts: Sequence[SnapshotProgress], offset: int) -> SnapshotProgress:
    """Return the progress of all snapshots; a total is known once each flow knows its own."""
    started = [part.started for part in parts if part.started is not None]
    finished = [part.finished for part in parts if part.finished is not None]

    def added(field: str, *, whole: bool = False) -> int:
        values: list[int] = [getattr(part, field) for part in parts]
        return 0 if whole and not all(values) else sum(values)

    return SnapshotProgress(
        bytes_total=added("bytes_total", whole=True),
        bytes_done=added("bytes_done"),
        keys_total=added("keys_total", whole=True),
        keys_expected=added("keys_expected", whole=True),
        keys_done=added("keys_done"),
        started=min(started, default=None),
        finished=max(finished) if len(finished) == len(parts) else None,
        offset=offset,
        keys_before=added("keys_before"),
        bytes_before=added("bytes_before"),
        types=sum((part.types for part in parts), Counter()),
    )
