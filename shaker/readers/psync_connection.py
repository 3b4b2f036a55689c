"""One connection to the source: requests the missing part, reads it into the window, acknowledges applied offsets."""

from __future__ import annotations

import time
from typing import Final

import anyio
import structlog

from shaker.apply.rejections import RESERVED
from shaker.checks.circles import look_at, refuse_loop
from shaker.errors import ServerBusyError
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent
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
from shaker.model.items import Barrier, StreamItem
from shaker.model.position import Phase, Resume
from shaker.model.rejection import Rejection
from shaker.model.server_info import ServerInfo
from shaker.net.connection import Connection
from shaker.net.reconnect import Reconnect
from shaker.net.tls import READ_SIZE
from shaker.psync.handshake_states import ReplicaState
from shaker.psync.session import ReplicaSession
from shaker.readers.acknowledge import Acknowledgements
from shaker.readers.admission import Admission
from shaker.readers.full_syncs import FullSyncs
from shaker.readers.handshake import introduce
from shaker.readers.read_coalescing import ReadCoalescing
from shaker.readers.review import Review
from shaker.readers.snapshot_intake import SnapshotIntake
from shaker.readers.spool_intake import SpoolIntake
from shaker.settings.schema import Settings

log = structlog.get_logger("shaker.source")

# While the target's keys are listed before the snapshot, a full window is overfilled slowly: without a spool, a source
# drops a replica that has taken nothing for repl-timeout (60 s; server file src/replication.c, replicationCron). This
# ends at so many windows; a longer listing continues while the source begins again.
TRICKLE_SECONDS: Final = 5.0
TRICKLE_WINDOWS: Final = 2
# A read of this size was full, perhaps of encrypted bytes: more is there already.
FULL_READ: Final = READ_SIZE * 15 // 16
# Attempts to wait for a source that lags behind the received offset, some 30 s in all.
BEHIND_ATTEMPTS: Final = 10


class PsyncConnection:
    """Reads the events of one `ReplicaSession` into the window of a flow."""

    def __init__(
        self,
        settings: Settings,
        flow: Flow,
        connection: Connection,
        session: ReplicaSession,
        reconnect: Reconnect,
        full_syncs: FullSyncs,
    ) -> None:
        self.acknowledgements = Acknowledgements(flow, connection, session)
        self.admission = Admission(flow, self.take, lambda: session.state is not ReplicaState.STREAMING)
        self.restarts = flow.restarts  # the window's when this connection began to fill it
        self._settings = settings
        self._flow = flow
        self._connection = connection
        self._session = session
        self._reconnect = reconnect
        self._full_syncs = full_syncs
        self._coalescing = ReadCoalescing(FULL_READ, flow.status.clock)
        self._info = ServerInfo()
        self._asked = 0.0  # when the source was asked for its INFO, by the status's clock
        self._snapshot: SnapshotIntake | None = None
        self._review: Review | None = None
        self._barrier: Barrier | None = None  # that the stream has not reached

    async def introduce(self) -> None:
        """Shake hands, find out who the source is, and check that it can be one."""
        self._asked = self._flow.status.clock()
        self._info = await introduce(self._connection, self._session, self._settings, self._flow)
        # From here on the source may be silent for as long as it takes to fork.
        self._flow.status.source.connected = True

    async def request(self) -> None:
        """Ask for the stream from where the target is, or for a snapshot, once the target is known."""
        flow = self._flow
        await flow.target.ready.wait()
        await self._full_syncs.turn(self._info)
        await flow.target.ready.wait()
        if flow.window.drop_unfinished():
            await flow.restart_target()
        if flow.resume is None:
            # The rest of an interrupted snapshot is not applied; it fills the window while keys are being listed.
            flow.window.discard_waiting()
        # Asked now, the source would begin a snapshot or fill its buffers for a reader that cannot read.
        await flow.room()
        await flow.intake.wait()
        self.restarts = flow.restarts
        resume = flow.resume
        if resume is not None:
            self._check_not_behind(resume)
        replid, offset, database = resume if resume is not None else (None, 0, 0)
        self._review = Review(flow, resume, self._info)
        review = self._review.begin
        log.info("psync", replid=replid or "?", offset=(review[0] if review else offset) + 1 if replid else -1)
        if replid is None:
            flow.request_snapshot()
        self._session.request(replid, offset, database, chain=flow.target.chain, review=review)
        await self._connection.send(self._session.data_to_send())

    def _check_not_behind(self, resume: Resume) -> None:
        """Wait for a lagging replica of the same history: asked now, it would answer with a needless snapshot."""
        replid, offset = self._info.replication.replid, self._info.replication.offset
        if replid == resume.replid and offset is not None and offset < resume.offset:
            self._reconnect.behind += 1
            if self._reconnect.behind <= BEHIND_ATTEMPTS:
                raise ServerBusyError(
                    f"the source is at offset {offset}, behind the received offset {resume.offset}",
                    kind="behind",
                )
        self._reconnect.behind = 0

    async def read(self, spool: SpoolIntake | None) -> None:
        """Read snapshot and stream, no faster than the window, or the spool, takes them."""
        while self._continues:
            await (self._room() if spool is None else spool.room())
            data = await self._connection.receive(timeout=self._settings.source.timeout_seconds)
            self._flow.status.traffic.received_bytes += len(data)
            await (self._admit(data) if spool is None else spool.put(data))
            await self._coalescing.gather(len(data))

    async def _admit(self, data: bytes) -> None:
        await self._flow.intake.wait()
        await self.admission.admit(data)

    async def _room(self) -> None:
        """Return once the window has room, or once a little has to be read all the same."""
        window = self._flow.window
        while window.full:
            with anyio.move_on_after(TRICKLE_SECONDS) as waited:
                await self._flow.wakeups.space.wait()
            overfilled = window.size >= TRICKLE_WINDOWS * window.limit
            if waited.cancelled_caught and self._flow.listing and not overfilled:
                return

    @property
    def _continues(self) -> bool:
        """Whether there is more to read: not after the window was emptied, nor after the only snapshot wanted."""
        if self._flow.restarts != self.restarts:
            return False
        received = self._snapshot is not None and self._flow.resume is not None
        return not (received and self._settings.mode == "snapshot")

    async def take(self, data: bytes) -> None:
        """Take bytes of the source, in order."""
        if not self._continues:
            return  # these bytes do not follow those in the window
        self._take_barrier()
        status, session = self._flow.status, self._session
        for event in session.receive_data(data):
            if isinstance(event, SnapshotEnd) and self._snapshot is not None and self._snapshot.records:
                # Before the checkpoint says that the stream is applied: the other worker takes that for the circle.
                await look_at(self._settings, self._flow, self._snapshot.records)
            self._handle(event)
        if session.state is ReplicaState.LOADING:
            status.snapshot.bytes_done = session.snapshot_bytes
        elif (received := session.received_offset) is not None:
            status.stream.received_offset = received
            if received > status.stream.source_offset:
                status.observe_source_offset(received)

    def _handle(self, event: Event) -> None:
        if isinstance(event, Batch):
            self._put_batch(event)
        elif isinstance(event, BarrierReached):
            self._reach(event)
        elif isinstance(event, RecordWritten):
            self._record_written(event)
        elif isinstance(event, AckRequested):
            self._flow.source.ack_wanted = event.offset
            self._flow.wakeups.acknowledge.set()
        elif isinstance(event, FullSync):
            self._begin_snapshot(event)
        elif isinstance(event, Continued):
            self._continue(event)
        elif self._snapshot is not None and self._handle_snapshot(event, self._snapshot):
            pass
        elif self._review is not None:
            self._review.take(event)

    def _handle_snapshot(self, event: Event, snapshot: SnapshotIntake) -> bool:
        """Handle an event of the snapshot; False for any other."""
        if isinstance(event, Entries):
            snapshot.put_keys(event)
        elif isinstance(event, LargeEntry):
            snapshot.begin_large(event)
        elif isinstance(event, LargeChunk):
            snapshot.put_chunk(event)
        elif isinstance(event, SnapshotSize):
            self._flow.status.snapshot.bytes_total = event.size
            self._flow.happen(FlowEvent.SNAPSHOT_ARRIVES)
        elif isinstance(event, KeyCount):
            self._flow.status.snapshot.keys_total += event.keys
        elif isinstance(event, SnapshotLibrary | SnapshotLoss | SnapshotScript):
            snapshot.keep(event)
        elif isinstance(event, SnapshotEnd):
            snapshot.end(event)
            self.acknowledgements.hurry()
            self._flow.status.snapshot.bytes_done = self._session.snapshot_bytes
            log.info("snapshot received", offset=event.offset, bytes=self._session.snapshot_bytes)
        else:
            return False
        return True

    def _put_batch(self, event: Batch) -> None:
        rejections = tuple(Rejection(name.decode("ascii", "replace"), "", RESERVED) for name in event.rejected)
        if self._flow.intake.rates.active:
            self._flow.intake.rates.charge("stream_commands", event.commands)
        self._flow.status.keys.reserved_skipped += event.skipped
        self._flow.status.keys.unsupported_skipped += event.unsupported
        self._flow.put_batch(event, StreamItem(event, time.monotonic(), rejections))

    def _record_written(self, event: RecordWritten) -> None:
        """Look at who writes to the source; raises RefusedError where that closes a circle."""
        flow = self._flow
        texts = [field.decode("ascii", "replace") for field in event.fields]
        flow.source.upstream.put(
            event.key.decode("ascii", "replace"), dict(zip(texts[::2], texts[1::2], strict=False))
        )
        refuse_loop(self._settings, flow, streams=flow.phase == Phase.STREAM)

    def _begin_snapshot(self, event: FullSync) -> None:
        flow, status = self._flow, self._flow.status
        self._full_syncs.begun()
        self._succeeded()
        status.begin_snapshot(event.offset)
        status.lag.reset()
        status.stream.replid = event.replid
        status.stream.applied_offset = 0
        status.stream.received_offset = event.offset
        status.observe_source_offset(event.offset, self._asked)
        flush = self._full_syncs.flushes
        # The source may no longer have keys of an earlier snapshot or stream of ours, even of an interrupted one.
        sweep = self._settings.target.stale_keys == "sweep" and flow.ours and not flush
        log.warning("full sync", replid=event.replid, offset=event.offset, flush=flush, sweep=sweep)
        flow.begin_snapshot()
        self._snapshot = SnapshotIntake(self._settings, flow)
        self._snapshot.begin(event, flush=flush, sweep=sweep)

    async def take_barriers(self) -> None:
        """Take over barriers as they are requested, until cancelled; the stream may be idle."""
        while True:
            await self._flow.wakeups.barrier.wait()
            self._take_barrier()

    def _take_barrier(self) -> None:
        barrier = self._flow.intake.requested()
        if barrier is None:
            return
        self.give_up_barrier()
        if self._flow.loading:
            barrier.ended(False)
            return
        self._barrier = barrier
        for event in self._session.cut(barrier.offset):
            self._handle(event)

    def give_up_barrier(self) -> None:
        """Give up a barrier that the stream has not reached."""
        barrier, self._barrier = self._barrier, None
        if barrier is not None:
            barrier.ended(False)

    def _reach(self, event: BarrierReached) -> None:
        barrier = self._barrier
        if barrier is None or barrier.offset != event.wanted:
            return
        barrier.offset = event.offset
        if not event.clean or not self._continues:
            self.give_up_barrier()
            return
        self._barrier = None
        self._flow.put(barrier)

    def _continue(self, event: Continued) -> None:
        flow, status, review = self._flow, self._flow.status, self._review
        assert review is not None  # made before the request
        review.continued(event.replid)
        self._succeeded()
        status.links.partial_syncs += 1
        resume = flow.resume
        assert resume is not None  # only a request with an offset is continued
        log.info("partial sync", replid=event.replid, offset=resume.offset)
        caught_up_at = 0
        if (source := self._info.replication).replid == event.replid and source.offset is not None:
            # The age of the missing part is unknown: no sample of the lag is older than this worker.
            caught_up_at = source.offset
            status.observe_source_offset(max(source.offset, resume.offset), self._asked)
        flow.continue_stream(caught_up_at)
        if event.replid != resume.replid:
            # The new id must reach the target at once: a second failover would make the old one unknown.
            batch = Batch((), 0, 0, event.replid, resume.offset, resume.database, persist=True)
            flow.put_batch(batch, StreamItem(batch, time.monotonic()))

    def _succeeded(self) -> None:
        self._flow.status.source.last_error = ""
        self._reconnect.succeeded()
