"""The JSON document of `/status`, schema version 1. Its names and types are public."""

from __future__ import annotations

import time
from typing import Any

from shaker.watch.counters import Pause, SideStatus
from shaker.watch.cutover_document import cutover_document
from shaker.watch.status import Status

SCHEMA_VERSION = 1


def status_document(status: Status, *, max_lag_seconds: float | None) -> dict[str, Any]:
    """Return the body of `/status`, schema version 1."""
    reasons = status.not_ready(max_lag_seconds=max_lag_seconds)
    snapshot, skew = status.snapshot, status.clocks.skew_seconds
    return {
        "version": SCHEMA_VERSION,
        "shaker_version": status.version,
        "name": status.name,
        "state": str(status.state),
        "mode": status.mode,
        "ready": not reasons,
        "reasons": reasons,
        "diverged": status.diverged,
        "stalled": status.stalled(),
        "source": _endpoint(status.source),
        "target": _endpoint(status.target),
        "codec": status.codec,
        "snapshot": {
            "bytes_total": snapshot.bytes_total,
            "bytes_done": snapshot.bytes_done,
            "keys_total": status.snapshot_keys,
            "keys_done": snapshot.keys_done,
            "eta_seconds": status.eta_seconds(),
        },
        "stream": _stream(status),
        "full_syncs": status.links.full_syncs,
        "partial_syncs": status.links.partial_syncs,
        "reconnects": dict(status.links.reconnects),
        "errors": {f"{side}:{kind}": count for (side, kind), count in tuple(status.links.errors.items())},
        "rejected_commands": status.stream.commands_rejected,
        "unconfirmed_bytes": status.stream.unconfirmed_bytes,
        "spool_bytes": status.traffic.spool_bytes,
        "paused": _paused(status.traffic.pause),
        "rates": dict(status.traffic.limits),
        "evicted_keys": status.keys.evicted,
        "log_lines_dropped": status.log_lines_dropped,
        "clock_skew_seconds": None if skew is None else round(skew, 3),
        "sweep": {
            "keys_listed": status.sweep.listed,
            "keys_stale": status.sweep.stale,
            "keys_deleted": status.sweep.deleted,
            "held": status.sweep.held or None,
        },
        "expiries": {
            "margin_seconds": round(status.expiries.margin_seconds, 3),
            "pending": status.expiries.pending,
            "keys_waiting": status.expiries.waiting,
            "keys_settled": status.expiries.settled,
            "keys_copied": status.expiries.copied,
        },
        "verification": status.verification.document(time.time()),
        "cutover": cutover_document(status),
        "reserved_keys_skipped": status.keys.reserved_skipped,
        "empty_keys_skipped": status.keys.empty_skipped,
        "expired_keys_skipped": status.keys.expired_skipped,
        "unsupported_skipped": status.keys.unsupported_skipped,
    }


def _paused(pause: Pause) -> dict[str, Any] | None:
    if pause.since is None:
        return None
    left = pause.overflows_in_seconds
    return {
        "since": round(pause.since, 3),
        "by": pause.by,
        "waiting_bytes": pause.waiting_bytes,
        "bytes_per_second": round(pause.bytes_per_second),
        "overflows_in_seconds": None if left is None else round(left, 1),
        "overflow_reason": pause.overflow_reason or None,
    }


def _endpoint(side: SideStatus) -> dict[str, Any]:
    return {
        "address": side.address,
        "server": side.server,
        "connected": side.connected,
        "last_error": side.last_error or None,
        "last_error_kind": side.last_error_kind if side.last_error else None,
    }


def _stream(status: Status) -> dict[str, Any]:
    stream = status.stream
    return {
        "replid": stream.replid,
        "received_offset": stream.received_offset,
        "applied_offset": stream.applied_offset,
        "checkpoint_offset": stream.checkpoint_offset,
        "source_offset": stream.source_offset,
        "lag_bytes": status.lag_bytes,
        "lag_seconds": round(status.lag_seconds, 3),
        "commands_applied": stream.commands_applied,
        "commands_per_second": round(status.commands_per_second, 1),
    }
