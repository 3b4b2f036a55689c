"""Takes one snapshot into the window: its keys in numbered batches, what belongs behind them, and its end."""

from __future__ import annotations

import secrets

from shaker.apply.next_checkpoint import libraries_request
from shaker.apply.stale_set import restored_keys
from shaker.flow.flow import Flow
from shaker.model.batch import FullSync, SnapshotEnd, SnapshotLibrary, SnapshotLoss, SnapshotScript
from shaker.model.entries import Entries, LargeChunk, LargeEntry
from shaker.model.items import SnapshotFinish, SnapshotKeys, SnapshotStart
from shaker.model.position import Resume
from shaker.psync.records_seen import CHECKPOINT
from shaker.readers.snapshot_extras import SnapshotExtras
from shaker.rules.command_table import is_record
from shaker.rules.restore import names
from shaker.settings.schema import Settings


class SnapshotIntake:
    """One snapshot. `records` are the checkpoints of other workers in it."""

    def __init__(self, settings: Settings, flow: Flow) -> None:
        self.records: set[str] = set()
        self._flow = flow
        self._name = settings.name
        self._keep_libraries = settings.target.on_existing == "merge" or settings.target.stale_keys == "keep"
        self._extras = SnapshotExtras(flow.status, settings.memory_limit)
        self._id = secrets.token_hex(8)
        self._batches = 0
        self._sweeps = False  # stale keys are removed after the snapshot
        self._large: LargeEntry | None = None  # whose chunks are arriving
        self._suffix = b""  # what ends its request
        self._extra_requests: list[bytes] = []  # that go with it

    def begin(self, event: FullSync, *, flush: bool, sweep: bool) -> None:
        """Append the beginning."""
        self._sweeps = sweep
        self._flow.put(SnapshotStart(self._id, event.replid, event.offset, flush=flush, sweep=sweep))

    def keep(self, event: SnapshotLibrary | SnapshotLoss | SnapshotScript) -> None:
        """Keep what is applied behind the keys."""
        self._extras.keep(event)

    def put_keys(self, event: Entries) -> None:
        """Append keys."""
        self._extras.left_out(event)
        restored, extra = self._flow.expiries.restore(event)
        if restored.skipped:
            self._flow.status.reserved_keys_skipped += len(restored.skipped)
            self.records.update(key.decode() for key in restored.skipped if key.startswith(CHECKPOINT))
        if restored.requests:
            self._batches += 1
            if self._sweeps:
                extra += restored_keys(self._name, names(event))
            data = b"".join((restored.data, *extra)) if extra else restored.data
            counts = restored.keys, restored.requests, len(extra)
            self._flow.put(SnapshotKeys(self._id, self._batches, event.database, data, *counts))

    def begin_large(self, event: LargeEntry) -> None:
        """Append the beginning of a value too large to hold; its chunks follow."""
        self._large = event
        prefix, self._suffix, self._extra_requests = self._flow.expiries.restore_large(event)
        self._put_chunk(prefix, last=False)

    def put_chunk(self, event: LargeChunk) -> None:
        """Append a chunk of that value."""
        self._put_chunk(event.data, last=event.last)

    def _put_chunk(self, data: bytes, *, last: bool) -> None:
        """Append a piece of one RESTORE, which all pieces make together."""
        entry = self._large
        assert entry is not None  # chunks follow their entry
        if is_record(entry.key):
            self._flow.status.reserved_keys_skipped += last
            return
        self._batches += last
        extra = [*self._extra_requests] if last else []
        if last and self._sweeps:
            extra += restored_keys(self._name, [entry.key])
        if last:
            data = b"".join((data, self._suffix, *extra))
        place = self._id, self._batches, entry.database
        counts = int(last), int(last), len(extra)
        self._flow.put(SnapshotKeys(*place, data, *counts, label=entry.key, more=not last))

    def end(self, event: SnapshotEnd) -> None:
        """Append scripts, libraries and the end; the stream follows."""
        flow = self._flow
        for data, requests in self._extras.scripts(flow.scripts):
            self._batches += 1
            flow.put(SnapshotKeys(self._id, self._batches, 0, data, 0, requests))
        self._put_libraries()
        flow.resume = Resume(event.replid, event.offset, event.database)
        rejections = tuple(self._extras.losses)
        flow.put(SnapshotFinish(event.replid, event.offset, event.database, rejections=rejections))

    def _put_libraries(self) -> None:
        """Append the function libraries as a part of the snapshot: refused, they leave it incomplete."""
        payload = self._extras.libraries()
        request = libraries_request(payload, self._flow.target.table, keep=self._keep_libraries)
        if request:
            self._batches += 1
            self._flow.put(SnapshotKeys(self._id, self._batches, 0, request, 0, 1))
