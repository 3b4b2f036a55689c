"""One connection to the source: asks for what is missing, reads it into the window, acknowledges what is applied."""

from __future__ import annotations

import secrets
import time

import anyio
import structlog

from shaker.apply.next_checkpoint import libraries_request
from shaker.apply.rejections import RESERVED
from shaker.apply.stale_set import restored_keys
from shaker.checks.circles import look_at, refuse_loop
from shaker.errors import ServerBusyError
from shaker.flow.flow import Flow, Wakeup
from shaker.model.batch import (
    AckRequested,
    BarrierReached,
    Batch,
    Continued,
    Event,
    FullSync,
    KeyCount,
    RecordWritten,
    SnapshotEnd,
    SnapshotLibrary,
    SnapshotLoss,
    SnapshotScript,
    SnapshotSize,
)
from shaker.model.entries import Entries, LargeChunk, LargeEntry
from shaker.model.items import Barrier, SnapshotFinish, SnapshotKeys, SnapshotStart, StreamItem
from shaker.model.position import Phase, Resume
from shaker.model.rejection import Rejection
from shaker.model.server_info import ServerInfo
from shaker.net.connection import Connection
from shaker.net.reconnect import Reconnect
from shaker.net.tls import READ_SIZE
from shaker.psync.records_seen import CHECKPOINT
from shaker.psync.session import ReplicaSession, ReplicaState
from shaker.readers.acknowledge import Acknowledgements
from shaker.readers.full_syncs import FullSyncs
from shaker.readers.handshake import introduce
from shaker.readers.read_coalescing import ReadCoalescing
from shaker.readers.review import Review
from shaker.readers.snapshot_intake import SnapshotIntake
from shaker.readers.spool import Spool
from shaker.rules.command_table import is_record
from shaker.rules.restore import names
from shaker.settings.schema import Settings

log = structlog.get_logger("shaker.source")

# While the target's keys are listed before the snapshot, a full window is overfilled, a little at a time: without
# a disk between, a source drops a replica that has taken nothing for repl-timeout (60 s; server file
# src/replication.c, replicationCron). Up to so many windows; a longer listing goes on while the source begins anew.
TRICKLE_SECONDS = 5.0
TRICKLE_WINDOWS = 2
# A read that is so large was full, encrypted perhaps: more is there already.
FULL_READ = READ_SIZE * 15 // 16
# Attempts for which a source that lags behind what is already received is waited for, some 30 s in all.
BEHIND_ATTEMPTS = 10


class PsyncConnection:
    """One connection's worth of replication: reads events of a `ReplicaSession` into the window."""

    def __init__(
        self,
        settings: Settings,
        flow: Flow,
        connection: Connection,
        session: ReplicaSession,
        reconnect: Reconnect,
        full_syncs: FullSyncs,
    ) -> None:
        self._settings = settings
        self._flow = flow
        self._status = flow.status
        self._connection = connection
        self._session = session
        self._reconnect = reconnect
        self._full_syncs = full_syncs
        self._records: set[str] = set()  # checkpoints of other workers that the snapshot holds
        self._coalescing = ReadCoalescing(FULL_READ, flow.status.clock)
        self.restarts = flow.source_restarts
        self._info = ServerInfo()
        self._asked = 0.0  # when the source was asked where it stands
        self._batches = 0
        self._snapshot = ""
        self._spooled = Wakeup()  # the spool changed
        self._feeding = False  # bytes from the spool are on their way into the window
        self._hold: Barrier | None = None
        self._large: LargeEntry | None = None
        self._tail = b""
        self._beside: list[bytes] = []  # requests that go with it
        self._review: Review | None = None
        self._sweeps = False  # the snapshot is followed by the removal of stale keys
        self.acknowledgements = Acknowledgements(flow, connection, session)
        self._intake = SnapshotIntake(flow.status, settings.memory_limit)
        self._keep_libraries = settings.target.on_existing == "merge" or settings.target.stale_keys == "keep"

    async def introduce(self) -> None:
        """Shake hands, find out who the source is, and check that it can be one."""
        self._asked = self._status.clock()
        self._info = await introduce(self._connection, self._session, self._settings, self._flow)
        # From here on the source may be silent for as long as it takes to fork.
        self._status.source.connected = True

    async def request(self) -> None:
        """Ask for the stream where the target stands, or for a snapshot, once the target is known."""
        flow = self._flow
        await flow.target_ready.wait()
        await self._full_syncs.turn(self._info)
        await flow.target_ready.wait()
        if flow.window.drop_unfinished():
            await flow.restart_target()
        if flow.resume is None:
            # Nothing more is applied of a snapshot cut short, which fills the window while keys are being listed.
            flow.window.discard_waiting()
        # Asked now, the source would begin a snapshot or fill its buffers for a reader that cannot read.
        while flow.window.full:
            await flow.space.wait()
        self.restarts = flow.source_restarts
        resume = flow.resume
        if resume is not None:
            self._check_not_behind(resume)
        replid, offset, database = resume if resume is not None else (None, 0, 0)
        self._review = Review(flow, resume, self._info)
        review = self._review.begin
        log.info("psync", replid=replid or "?", offset=(review[0] if review else offset) + 1 if replid else -1)
        if replid is None:
            flow.snapshot_asked = self._status.clock()
            flow.refresh_state()
        self._session.request(replid, offset, database, table=flow.table, review=review)
        await self._connection.send(self._session.data_to_send())

    def _check_not_behind(self, resume: Resume) -> None:
        """Wait for a lagging replica of the same history: asked now, it would answer with a needless snapshot."""
        replid, offset = self._info.replication.replid, self._info.replication.offset
        if replid == resume.replid and offset is not None and offset < resume.offset:
            self._reconnect.behind += 1
            if self._reconnect.behind <= BEHIND_ATTEMPTS:
                raise ServerBusyError(
                    f"the source is at offset {offset}, behind what is already received ({resume.offset})",
                    kind="behind",
                )
        self._reconnect.behind = 0

    async def read(self) -> None:
        """Read snapshot and stream into the window, no faster than the target empties it."""
        while self._going_on:
            await self._room()
            data = await self._receive()
            await self._flow.pass_gate()
            await self._take(data)
            await self._coalescing.gather(len(data))

    async def _room(self) -> None:
        """Wait until the window has room for what comes, or until a little has to be read all the same."""
        window = self._flow.window
        while window.full:
            with anyio.move_on_after(TRICKLE_SECONDS) as waited:
                await self._flow.space.wait()
            overfilled = window.size >= TRICKLE_WINDOWS * window.limit
            if waited.cancelled_caught and self._flow.listing and not overfilled:
                return

    async def spool(self, spool: Spool) -> None:
        """Read what comes into the window, or into the spool while the target is behind."""
        while self._going_on:
            while spool.full:
                await self._spooled.wait()
            data = await self._receive()
            await self._flow.pass_gate()
            if spool.size == 0 and not self._feeding and not self._flow.window.full:
                await self._take(data)
            else:
                await spool.put(data)
                self._status.spool_bytes = spool.size
                self._spooled.set()
            await self._coalescing.gather(len(data))

    async def feed(self, spool: Spool) -> None:
        """Move what is in the spool into the window, as the target empties it."""
        while True:
            while spool.size == 0:
                self._feeding = False
                await self._spooled.wait()
            while self._flow.window.full:
                await self._flow.space.wait()
            self._feeding = True
            data = await spool.get(READ_SIZE)
            await self._flow.pass_gate()
            await self._take(data)
            self._status.spool_bytes = spool.size
            self._spooled.set()

    @property
    def _going_on(self) -> bool:
        """Whether there is more to read: not where the window was emptied, nor behind the one wanted snapshot."""
        if self._flow.source_restarts != self.restarts:
            return False
        return not (self._snapshot and self._flow.resume is not None and self._settings.mode == "snapshot")

    async def _receive(self) -> bytes:
        data = await self._connection.receive(timeout=self._settings.source.timeout_seconds)
        self._status.received_bytes += len(data)
        return data

    async def _take(self, data: bytes) -> None:
        """Take bytes of the source, in order."""
        if not self._going_on:
            return  # what comes now does not follow what the window holds
        status, session = self._status, self._session
        for event in session.receive_data(data):
            if isinstance(event, SnapshotEnd) and self._records:
                # Before the checkpoint says that the stream is applied: the other worker takes that for the circle.
                await look_at(self._settings, self._flow, self._records)
            self._handle(event)
        if session.state is ReplicaState.LOADING:
            status.snapshot.bytes_done = session.snapshot_bytes
        elif (received := session.received_offset) is not None:
            status.stream.received_offset = received
            if received > status.stream.source_offset:
                status.observe_source_offset(received)

    def _handle(self, event: Event) -> None:
        if isinstance(event, Batch):
            rejections = tuple(Rejection(name.decode("ascii", "replace"), "", RESERVED) for name in event.rejected)
            self._status.reserved_keys_skipped += event.skipped
            self._flow.put_batch(event, StreamItem(event, time.monotonic(), rejections))
        elif isinstance(event, Entries):
            self._put_keys(event)
        elif isinstance(event, LargeEntry):
            self._large = event
            head, self._tail, self._beside = self._flow.expiries.restore_large(event)
            self._put_piece(head, last=False)
        elif isinstance(event, LargeChunk):
            self._put_piece(event.data, last=event.last)
        elif isinstance(event, BarrierReached):
            self._reach(event)
        elif isinstance(event, RecordWritten):
            self._record_written(event)
        elif isinstance(event, AckRequested):
            self._flow.ack_wanted = event.offset
            self._flow.ack.set()
        elif isinstance(event, SnapshotSize):
            self._status.snapshot.bytes_total = event.size
            self._flow.snapshot_asked = None
            self._flow.refresh_state()
        elif isinstance(event, KeyCount):
            self._status.snapshot.keys_total += event.keys
        elif isinstance(event, SnapshotLibrary | SnapshotLoss | SnapshotScript):
            self._intake.keep(event)
        elif isinstance(event, FullSync):
            self._begin_snapshot(event)
        elif isinstance(event, SnapshotEnd):
            self._end_snapshot(event)
        elif isinstance(event, Continued):
            self._continue(event)
        elif self._review is not None:
            self._review.take(event)

    def _record_written(self, event: RecordWritten) -> None:
        """Look at who writes to the source; raises RefusedError where that closes a circle."""
        flow = self._flow
        texts = [field.decode("ascii", "replace") for field in event.fields]
        flow.upstream.put(event.key.decode("ascii", "replace"), dict(zip(texts[::2], texts[1::2], strict=False)))
        refuse_loop(self._settings, flow, streams=flow.phase == Phase.STREAM)

    def _begin_snapshot(self, event: FullSync) -> None:
        flow, status = self._flow, self._status
        self._full_syncs.begun()
        self._connected()
        status.begin_snapshot(event.offset)
        status.lag.reset()
        status.stream.replid = event.replid
        status.stream.applied_offset = 0
        status.stream.received_offset = event.offset
        status.observe_source_offset(event.offset, self._asked)
        flow.begin_snapshot()
        flow.upstream.clear()
        if flow.snapshot_asked is None:  # the stream was asked for, and is not to be had
            flow.snapshot_asked = status.clock()
        flow.caught_up_at = 0
        self._snapshot = secrets.token_hex(8)
        flow.window.discard_waiting()
        flow.resume = None
        flush = self._full_syncs.flushes
        # What an earlier snapshot or stream of ours left, a snapshot cut short too, may be gone on the source.
        sweeps = self._settings.target.stale_keys == "sweep"
        self._sweeps = sweep = sweeps and flow.ours and not flush
        log.warning("full sync", replid=event.replid, offset=event.offset, flush=flush, sweep=sweep)
        flow.put(SnapshotStart(self._snapshot, event.replid, event.offset, flush=flush, sweep=sweep))

    def _put_keys(self, event: Entries) -> None:
        self._intake.left_out(event)
        restored, beside = self._flow.expiries.restore(event)
        if restored.skipped:
            self._status.reserved_keys_skipped += len(restored.skipped)
            self._records.update(key.decode() for key in restored.skipped if key.startswith(CHECKPOINT))
        if restored.requests:
            self._batches += 1
            if self._sweeps:
                beside += restored_keys(self._settings.name, names(event))
            data = b"".join((restored.data, *beside)) if beside else restored.data
            counts = restored.keys, restored.requests, len(beside)
            self._flow.put(SnapshotKeys(self._snapshot, self._batches, event.database, data, *counts))

    def cut(self, hold: Barrier) -> None:
        """Have the target held where the stream stands at the hold's offset; the hold ends at once if it cannot."""
        self.end_hold()
        if self._flow.loading:
            hold.ended(False)
            return
        self._hold = hold
        for event in self._session.cut(hold.offset):
            self._handle(event)

    def end_hold(self) -> None:
        """Give up a hold that the stream has not reached."""
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.ended(False)

    def _reach(self, event: BarrierReached) -> None:
        hold = self._hold
        if hold is None or hold.offset != event.wanted:
            return
        hold.offset = event.offset
        if not event.clean or not self._going_on:
            self.end_hold()
            return
        self._hold = None
        self._flow.put(hold)

    def _put_piece(self, data: bytes, *, last: bool) -> None:
        """Append a piece of a value too large to hold: together they are one RESTORE."""
        entry = self._large
        assert entry is not None  # pieces follow their entry
        if is_record(entry.key):
            self._status.reserved_keys_skipped += last
            return
        self._batches += last
        beside = [*self._beside] if last else []
        if last and self._sweeps:
            beside += restored_keys(self._settings.name, [entry.key])
        if last:
            data = b"".join((data, self._tail, *beside))
        place = self._snapshot, self._batches, entry.database
        counts = int(last), int(last), len(beside)
        self._flow.put(SnapshotKeys(*place, data, *counts, label=entry.key, more=not last))

    def _end_snapshot(self, event: SnapshotEnd) -> None:
        flow = self._flow
        for data, requests in self._intake.scripts(flow.scripts):
            self._batches += 1
            flow.put(SnapshotKeys(self._snapshot, self._batches, 0, data, 0, requests))
        self._put_libraries()
        flow.resume = Resume(event.replid, event.offset, event.database)
        rejections = tuple(self._intake.losses)
        flow.put(SnapshotFinish(event.replid, event.offset, event.database, rejections=rejections))
        self.acknowledgements.hurry()
        self._status.snapshot.bytes_done = self._session.snapshot_bytes
        log.info("snapshot received", offset=event.offset, bytes=self._session.snapshot_bytes)

    def _put_libraries(self) -> None:
        """Have the function libraries applied as a part of the snapshot: refused, they leave it incomplete."""
        payload = self._intake.libraries()
        request = libraries_request(payload, self._flow.table, keep=self._keep_libraries)
        if request:
            self._batches += 1
            self._flow.put(SnapshotKeys(self._snapshot, self._batches, 0, request, 0, 1))

    def _continue(self, event: Continued) -> None:
        flow, review = self._flow, self._review
        assert review is not None  # made before the request
        review.continued(event.replid)
        self._connected()
        self._status.partial_syncs += 1
        resume = flow.resume
        assert resume is not None  # only a request with an offset is continued
        log.info("partial sync", replid=event.replid, offset=resume.offset)
        flow.caught_up_at = 0
        if (source := self._info.replication).replid == event.replid and source.offset is not None:
            # How old what is behind us is, nobody knows: no sample of the lag is older than this worker.
            flow.caught_up_at = source.offset
            self._status.observe_source_offset(max(source.offset, resume.offset), self._asked)
        flow.refresh_state()
        if event.replid != resume.replid:
            # The new id must reach the target at once: a second failover would make the old one unknown.
            batch = Batch((), 0, 0, event.replid, resume.offset, resume.database, persist=True)
            flow.put_batch(batch, StreamItem(batch, time.monotonic()))

    def _connected(self) -> None:
        self._flow.handshaking = False
        self._status.source.last_error = ""
        self._reconnect.succeeded()
