"""The JSON document of `/status`, schema version 1. Its names and types are public."""

from __future__ import annotations

from typing import Any

from shaker.watch.status import SideStatus, Status

SCHEMA_VERSION = 1


def status_document(status: Status, *, max_lag_seconds: float | None) -> dict[str, Any]:
    """Return the body of `/status`, schema version 1."""
    reasons = status.not_ready(max_lag_seconds=max_lag_seconds)
    snapshot, stream, skew = status.snapshot, status.stream, status.clock_skew_seconds
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
            "keys_total": snapshot.keys_total,
            "keys_done": snapshot.keys_done,
            "eta_seconds": status.eta_seconds(),
        },
        "stream": {
            "replid": stream.replid,
            "received_offset": stream.received_offset,
            "applied_offset": stream.applied_offset,
            "checkpoint_offset": stream.checkpoint_offset,
            "source_offset": stream.source_offset,
            "lag_bytes": status.lag_bytes,
            "lag_seconds": round(status.lag_seconds, 3),
            "commands_applied": stream.commands_applied,
            "commands_per_second": round(status.commands_per_second, 1),
        },
        "full_syncs": status.full_syncs,
        "partial_syncs": status.partial_syncs,
        "reconnects": dict(status.reconnects),
        "errors": {f"{side}:{kind}": count for (side, kind), count in tuple(status.errors.items())},
        "rejected_commands": status.rejected_commands,
        "unconfirmed_bytes": status.unconfirmed_bytes,
        "spool_bytes": status.spool_bytes,
        "evicted_keys": status.evicted_keys,
        "log_lines_dropped": status.log_lines_dropped,
        "clock_skew_seconds": None if skew is None else round(skew, 3),
        "sweep": {
            "keys_listed": status.sweep_listed,
            "keys_stale": status.sweep_stale,
            "keys_deleted": status.sweep_deleted,
        },
        "expiries": {
            "margin_seconds": round(status.expiry_margin_seconds, 3),
            "pending": status.expiries_pending,
            "keys_waiting": status.expiries_waiting,
            "keys_settled": status.expiries_settled,
            "keys_copied": status.expiries_copied,
        },
        "reserved_keys_skipped": status.reserved_keys_skipped,
        "empty_keys_skipped": status.empty_keys_skipped,
        "expired_keys_skipped": status.expired_keys_skipped,
    }


def _endpoint(side: SideStatus) -> dict[str, Any]:
    return {
        "address": side.address,
        "server": side.server,
        "connected": side.connected,
        "last_error": side.last_error or None,
        "last_error_kind": side.last_error_kind if side.last_error else None,
    }
