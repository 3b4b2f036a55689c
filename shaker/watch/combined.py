"""Derives the status of a worker with several flows: counters add up, of states and lags the worst counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from shaker.watch.status import SideStatus, SnapshotProgress, State, Status

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
# Fields whose values add up.
ADDED: Final = (
    "full_syncs",
    "partial_syncs",
    "rejected_commands",
    "unconfirmed_bytes",
    "reserved_keys_skipped",
    "empty_keys_skipped",
    "expired_keys_skipped",
    "received_bytes",
    "sent_bytes",
    "window_bytes",
    "spool_bytes",
    "sweep_listed",
    "sweep_stale",
    "sweep_deleted",
    "expiries_waiting",
    "expiries_settled",
    "expiries_copied",
    "evicted_keys",
    "latency_sum",
)


def combine(status: Status) -> None:
    """Derive `status` from the records of its flows; a worker with one flow has nothing to derive."""
    if not status.flows:
        return
    records = tuple(status.flows.values())
    worst = max(records, key=lambda record: (record.lag_seconds, record.lag_bytes))
    for field in ADDED:
        setattr(status, field, sum(getattr(record, field) for record in records))
    status.state = min((record.state for record in records), key=WORST_FIRST.index)
    status.source = _endpoint([record.source for record in records])
    status.target = _endpoint([record.target for record in records])
    status.snapshot = _snapshot([record.snapshot for record in records], worst.snapshot.offset)
    commands = sum(record.stream.commands_applied for record in records)
    # Offsets of different sources cannot be added: those of the flow that is furthest behind are shown.
    status.stream = replace(worst.stream, commands_applied=commands)
    status.lag = worst.lag
    status.clock_offsets = max(records, key=lambda record: abs(record.clock_skew_seconds or 0.0)).clock_offsets
    status.reconnects = sum((record.reconnects for record in records), Counter())
    status.errors = sum((record.errors for record in records), Counter())
    status.keys = dict(sum((Counter(record.keys) for record in records), Counter()))
    status.latency_counts = [sum(counts) for counts in zip(*(r.latency_counts for r in records), strict=True)]
    status.last_applied = max(record.last_applied for record in records)
    status.expiries_pending = any(record.expiries_pending for record in records)
    status.expiry_margin_seconds = max(record.expiry_margin_seconds for record in records)
    status.deletions_held = next((record.deletions_held for record in records if record.deletions_held), "")
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
        keys_done=added("keys_done"),
        started=min(started, default=None),
        finished=max(finished) if len(finished) == len(parts) else None,
        offset=offset,
        keys_before=added("keys_before"),
        bytes_before=added("bytes_before"),
    )
