"""The report of a run: copied keys, durations, errors on the way, verification, settings, and how it ended."""

from __future__ import annotations

import time
from typing import Any, Final

import structlog

from shaker import __version__
from shaker.errors import EXIT_OK, ShakerError
from shaker.flow.flow import Flow
from shaker.run.progress import next_step
from shaker.settings.names import SETTINGS
from shaker.settings.schema import Settings
from shaker.settings.sources import masked
from shaker.watch.counters import SideStatus
from shaker.watch.curves import Curves
from shaker.watch.report_file import write_report
from shaker.watch.status import State, Status

log = structlog.get_logger("shaker.report")

SCHEMA_VERSION: Final = 1


class RunReport:
    """Collects the report of one run; `refresh` is called several times a second, `end` once."""

    def __init__(self, settings: Settings, status: Status, flow: Flow) -> None:
        self._settings = settings
        self._status = status
        self._flow = flow
        self._curves = Curves()
        self._began = time.time()

    def refresh(self) -> None:
        """Add a point to the curves, if it is time to."""
        if self._settings.report.file is None:
            return
        status = self._status
        known = status.stream.applied_offset or status.snapshot.started is not None
        self._curves.add(
            status.clock(),
            lag_bytes=status.lag_bytes if known else 0,
            lag_seconds=status.lag_seconds,
            commands=status.stream.commands_applied,
            keys=status.snapshot.keys_done,
            received=status.traffic.received_bytes,
        )

    def end(self, code: int, verification: dict[str, Any] | None, error: ShakerError | None = None) -> None:
        """Write the report to report.file; a file that cannot be written is logged."""
        path = self._settings.report.file
        if path is None:
            return
        try:
            write_report(path, self.document(code, verification, error))
        except OSError as failure:
            log.error("report not written", file=str(path), error=failure.strerror)
        else:
            log.info("report written", file=str(path))

    def document(self, code: int, verification: dict[str, Any] | None, error: ShakerError | None) -> dict[str, Any]:
        """Return the report of a run that ends with `code`, because of `error` if there is one."""
        status, flow, ended = self._status, self._flow, time.time()
        stream, links, fence = status.stream, status.links, flow.target.fence
        return {
            "version": SCHEMA_VERSION,
            "kind": "run",
            "shaker_version": __version__,
            "codec": status.codec,
            "name": status.name,
            "mode": status.mode,
            "exit_code": code,
            "complete": code == EXIT_OK,
            "next": next_step(status, code),
            "error": {"kind": error.kind, "text": str(error)} if error is not None else None,
            "began": round(self._began, 3),
            "ended": round(ended, 3),
            "seconds": round(ended - self._began, 3),
            "restarts": max(0, fence.epoch - 1) if fence is not None else 0,
            "source": _side(status.source, flow.source.identity.run_id if flow.source.identity else ""),
            "target": _side(status.target, flow.target.run_id),
            "copied": self._copied(),
            "stream": {
                "replid": stream.replid,
                "snapshot_offset": status.snapshot.offset or None,
                "applied_offset": stream.applied_offset,
                "checkpoint_offset": stream.checkpoint_offset,
                "source_offset": stream.source_offset,
                "commands_applied": stream.commands_applied,
                "commands_rejected": stream.commands_rejected,
                "received_bytes": status.traffic.received_bytes,
                "sent_bytes": status.traffic.sent_bytes,
            },
            "syncs": {
                "full": links.full_syncs,
                "partial": links.partial_syncs,
                "reconnects": dict(links.reconnects),
            },
            "errors": {f"{side}:{kind}": count for (side, kind), count in links.errors.items()},
            "last_errors": {
                side: end.last_error
                for side, end in (("source", status.source), ("target", status.target))
                if end.last_error
            },
            "verification": verification,
            "cutover": status.cutover.report,
            "left_out": {
                "reserved_keys": status.keys.reserved_skipped,
                "empty_keys": status.keys.empty_skipped,
                "expired_keys": status.keys.expired_skipped,
            },
            "deleted_stale_keys": status.sweep.deleted,
            "settings": {name: masked(name, value_of(self._settings, name)) for name in SETTINGS},
            "timeline": timeline(tuple(status.timeline), ended),
            "curves": self._curves.document(),
        }

    def _copied(self) -> dict[str, Any]:
        """Return what this run copied by snapshots, the last one by database and type."""
        snapshot = self._status.snapshot
        seconds = None
        if snapshot.started is not None:
            seconds = max((snapshot.finished or self._status.clock()) - snapshot.started, 0.001)
        databases: dict[str, dict[str, int]] = {}
        for (database, kind), count in sorted(snapshot.types.items()):
            databases.setdefault(str(database), {})[kind] = count
        return {
            "keys": snapshot.keys_before + snapshot.keys_done,
            "bytes": snapshot.bytes_before + snapshot.bytes_done,
            "snapshot_seconds": None if seconds is None else round(seconds, 3),
            "keys_per_second": round(snapshot.keys_done / seconds) if seconds else None,
            "bytes_per_second": round(snapshot.bytes_done / seconds) if seconds else None,
            "databases": databases,
            "source_keys": self._status.keys.present.get("source"),
            "target_keys": self._status.keys.present.get("target"),
        }


def _side(side: SideStatus, run_id: str) -> dict[str, Any]:
    return {"address": side.address, "server": side.server, "run_id": run_id}


def timeline(states: tuple[tuple[float, State], ...], ended: float) -> list[dict[str, Any]]:
    """Return each state with its beginning (Unix time) and the seconds that it lasted."""
    ends = [*(at for at, _ in states), ended][1:]
    return [
        {"at": round(at, 3), "state": str(state), "seconds": round(max(0.0, end - at), 3)}
        for (at, state), end in zip(states, ends, strict=True)
    ]


def value_of(settings: Settings, name: str) -> Any:
    """Return the value of a dotted setting."""
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value
