"""Takes one snapshot into the window: its keys in numbered batches, then libraries and scripts, then its end."""

from __future__ import annotations

import secrets

from shaker.apply.snapshot_requests import takes_libraries
from shaker.flow.flow import Flow
from shaker.model.batch import FullSync, SnapshotEnd, SnapshotLibrary, SnapshotLoss, SnapshotScript
from shaker.model.entries import Entries, LargeChunk, LargeEntry, keys_in
from shaker.model.items import (
    SnapshotChunk,
    SnapshotFinish,
    SnapshotKeys,
    SnapshotLibraries,
    SnapshotScripts,
    SnapshotStart,
)
from shaker.model.position import Resume
from shaker.psync.records_seen import CHECKPOINT
from shaker.readers.snapshot_extras import SnapshotExtras
from shaker.readers.type_counts import TypeCounts
from shaker.readers.unsupported import Unsupported
from shaker.settings.schema import Settings


class SnapshotIntake:
    """One snapshot. `records` are the checkpoints of other workers in it."""

    def __init__(self, settings: Settings, flow: Flow) -> None:
        self.records: set[str] = set()
        self._flow = flow
        self._keep_libraries = settings.target.on_existing == "merge" or settings.target.stale_keys == "keep"
        self._extras = SnapshotExtras(flow.status, settings.memory_limit)
        self._id = secrets.token_hex(8)
        self._batches = 0
        self._sweeps = False  # stale keys are removed after the snapshot
        self._chain = flow.target.chain
        self._unsupported = Unsupported(self._chain.form, flow.status)
        types = flow.status.snapshot.types
        self._types = TypeCounts(types) if settings.report.file is not None else None
        self._large: LargeEntry | None = None  # whose chunks are arriving, None for one that is left out
        self._large_begins = False  # its first chunk is next

    def begin(self, event: FullSync, *, flush: bool, sweep: bool) -> None:
        """Append the beginning."""
        self._sweeps = sweep
        self._flow.put(SnapshotStart(self._id, event.replid, event.offset, flush=flush, sweep=sweep))

    def keep(self, event: SnapshotLibrary | SnapshotLoss | SnapshotScript) -> None:
        """Keep a library, script or loss: they are applied after the keys."""
        if not (isinstance(event, SnapshotLibrary) and self._unsupported.leaves_out_library()):
            self._extras.keep(event)

    def put_keys(self, event: Entries) -> None:
        """Append keys."""
        self._extras.left_out(event)
        skipped: list[bytes] = []
        entries = self._unsupported.without(self._chain.entries(event, skipped))
        if skipped:
            self._flow.status.keys.reserved_skipped += len(skipped)
            self.records.update(key.decode() for key in skipped if key.startswith(CHECKPOINT))
        if keys := keys_in(entries):
            self._flow.intake.rates.charge("snapshot_keys", keys)
            if self._types is not None:
                self._types.add(entries)
            self._batches += 1
            self._flow.put(SnapshotKeys(self._id, self._batches, entries, listed=self._sweeps))

    def begin_large(self, event: LargeEntry) -> None:
        """Note a value too large to hold; its chunks follow."""
        self._large, self._large_begins = self._chain.large(event), True
        if self._large is not None:
            self._unsupported.note_large(self._large)

    def put_chunk(self, event: LargeChunk) -> None:
        """Append a chunk of that value."""
        self._flow.intake.rates.charge("snapshot_keys", event.last)
        entry, first = self._large, self._large_begins
        self._large_begins = False
        if entry is None:
            self._flow.status.keys.reserved_skipped += event.last
            return
        if first and self._types is not None:
            self._types.add_large(entry, event.data)
        self._batches += event.last
        place = self._id, self._batches, entry
        self._flow.put(SnapshotChunk(*place, event.data, first, not event.last, listed=self._sweeps))

    def end(self, event: SnapshotEnd) -> None:
        """Append scripts, libraries and the end; the stream follows."""
        flow = self._flow
        for bodies in self._extras.scripts(flow.scripts):
            self._batches += 1
            flow.put(SnapshotScripts(self._id, self._batches, bodies))
        self._put_libraries()
        flow.resume = Resume(event.replid, event.offset, event.database)
        rejections = tuple(self._extras.losses)
        flow.put(SnapshotFinish(event.replid, event.offset, event.database, rejections=rejections))

    def _put_libraries(self) -> None:
        """Append the function libraries as a part of the snapshot: refused, they leave it incomplete."""
        codes, keep = self._extras.libraries(), self._keep_libraries
        if takes_libraries(codes, self._flow.target.table, keep=keep):
            self._batches += 1
            self._flow.put(SnapshotLibraries(self._id, self._batches, codes, keep))
