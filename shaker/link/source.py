"""The source link: connects, asks for what is missing, reads it into the window, acknowledges what is applied."""

from __future__ import annotations

import secrets
import time
from contextlib import AbstractAsyncContextManager

import anyio
import structlog

from shaker.codec.rdb_events import LargeEntry, LargePiece
from shaker.config import Settings
from shaker.errors import LinkError, RefusedError, ServerBusyError
from shaker.link.attempts import Attempts, credentials, open_connection
from shaker.link.connection import Connection
from shaker.link.distinct import check_distinct
from shaker.link.sentinel import follow
from shaker.link.servers import server_name
from shaker.link.tasks import together
from shaker.replica.events import (
    AckRequested,
    Batch,
    Continued,
    Event,
    FullSync,
    Introduced,
    KeyCount,
    SnapshotEnd,
    SnapshotEntries,
    SnapshotLibrary,
    SnapshotLoss,
    SnapshotSize,
)
from shaker.replica.session import ReplicaSession, ReplicaState
from shaker.replication import Replication, Resume, SourceIdentity
from shaker.target.items import Rejection, SnapshotFinish, SnapshotKeys, SnapshotStart, StreamItem
from shaker.transform.commands import RESERVED
from shaker.transform.restore import functions_payload, large_restore, restore_requests

log = structlog.get_logger("shaker.source")

ACK_SECONDS = 1.0
# A diskless source holds its stream back until the first acknowledgement behind the snapshot, and can overlook
# one that comes right away: for a second they come this often.
EAGER_ACK_SECONDS = 0.05
EAGER_ACKS = 20
# Strings, commands and transactions above this share of the window are not held whole but passed on in pieces.
PASS_SHARE = 4
# Attempts for which a source that lags behind what is already received is waited for, some 30 s in all.
BEHIND_ATTEMPTS = 10


class SourceLink:
    """Keeps a replication connection to the source, from the first attempt to the drain."""

    def __init__(self, settings: Settings, replication: Replication) -> None:
        self._settings = settings
        self._replication = replication
        self._status = replication.status
        self._attempts = Attempts(settings, "source", replication.status)
        self._reading = anyio.CancelScope()
        self._stopped = False
        self.ended = anyio.Event()  # the last acknowledgement is sent, the connection closed

    def stop(self) -> None:
        """Read no more; the connection stays until the drain has ended, for the last acknowledgement."""
        self._stopped = True
        self._reading.cancel()

    async def run(self) -> None:
        """Replicate until `stop`. Raises ShakerError for what trying again does not help."""
        while not self._stopped:
            try:
                async with self._open() as connection:
                    await self._converse(connection)
            except LinkError as error:
                self._disconnected()
                await self._attempts.failed(error, give_up=lambda: self._stopped)
            finally:
                self._disconnected()
        self.ended.set()

    def _open(self) -> AbstractAsyncContextManager[Connection]:
        return open_connection(self._settings.source, "source", self._attempts)

    def _disconnected(self) -> None:
        self._replication.handshaking = False
        self._status.source.connected = False
        self._replication.refresh_state()

    async def _converse(self, connection: Connection) -> None:
        username, password = credentials(self._settings.source)
        session = ReplicaSession(
            username=username,
            password=password,
            max_value=self._settings.snapshot.max_value,
            pass_above=self._replication.window.limit // PASS_SHARE,
        )
        conversation = _Conversation(self._settings, self._replication, connection, session, self._attempts)
        self._replication.handshaking = True
        self._reading = anyio.CancelScope()
        if self._stopped:
            return

        async def read() -> None:
            with self._reading:
                await conversation.introduce()
                await conversation.request()
                self._replication.handshaking = False
                await conversation.read()
            if session.state is ReplicaState.STREAMING:
                await self._replication.drained.wait()
                await conversation.acknowledge()

        async def restart() -> None:
            while self._replication.source_restarts == conversation.restarts:
                await self._replication.restart_source.wait()
            log.warning("source link restarts", reason="the target stands where the window does not reach")

        async def moved() -> None:
            await follow(self._settings.source, connection.address)

        await together(read, conversation.acknowledge_forever, restart, moved)


class _Conversation:
    """One connection's worth of replication."""

    def __init__(
        self,
        settings: Settings,
        replication: Replication,
        connection: Connection,
        session: ReplicaSession,
        attempts: Attempts,
    ) -> None:
        self._settings = settings
        self._replication = replication
        self._status = replication.status
        self._connection = connection
        self._session = session
        self._attempts = attempts
        self.restarts = replication.source_restarts
        self._info: dict[str, str] = {}
        self._batches = 0
        self._snapshot = ""
        self._large: LargeEntry | None = None
        self._tail = b""
        self._eager_acks = 0
        self._libraries: list[bytes] = []
        self._losses: list[Rejection] = []
        self._keep_libraries = settings.target.on_existing == "merge" or settings.target.stale_keys == "keep"

    async def introduce(self) -> None:
        """Shake hands, find out who the source is, and check that it can be one."""
        session = self._session
        session.start()
        while True:
            await self._connection.send(session.data_to_send())
            events = session.receive_data(await self._connection.receive())
            introduced = next((event for event in events if isinstance(event, Introduced)), None)
            if introduced is not None:
                break
        self._info = info = introduced.info
        self._status.source.server = server_name(info)
        if info.get("cluster_enabled") == "1":
            raise RefusedError(
                f"the source {self._status.source.address} has cluster mode enabled",
                hint="replication from a cluster is not built yet: one shard at a time cannot be told apart",
            )
        if info.get("role") == "slave" and info.get("master_link_status") != "up":
            raise ServerBusyError("the source is a replica that has lost its own primary", kind="masterdown")
        replication = self._replication
        replids = {info.get("master_replid", ""), info.get("master_replid2", "")} - {"", "0" * 40}
        replication.source = SourceIdentity(
            self._settings.source.address.text, info.get("run_id", ""), frozenset(replids)
        )
        replication.source_known.set()
        resume = replication.resume
        if replication.target_registered and (
            info.get("role") == "slave" or resume is None or resume.replid not in replids
        ):
            # Not who it was: an address can move to the target, and a source be made its replica.
            await check_distinct(self._settings, replication.source)

    async def request(self) -> None:
        """Ask for the stream where the target stands, or for a snapshot, once the target is known."""
        replication = self._replication
        await replication.target_ready.wait()
        if replication.window.drop_unfinished():
            await replication.restart_target()
        # Asked now, the source would begin a snapshot or fill its buffers for a reader that cannot read.
        while replication.window.full:
            await replication.space.wait()
        self.restarts = replication.source_restarts
        resume = replication.resume
        if resume is not None:
            self._check_not_behind(resume)
        replid, offset, database = resume if resume is not None else (None, 0, 0)
        log.info("psync", replid=replid or "?", offset=offset + 1 if replid else -1)
        self._session.request(replid, offset, database, table=replication.table)
        await self._connection.send(self._session.data_to_send())

    def _check_not_behind(self, resume: Resume) -> None:
        """Wait for a lagging replica of the same history: asked now, it would answer with a needless snapshot."""
        offset = self._info.get("master_repl_offset", "")
        if self._info.get("master_replid") == resume.replid and offset.isdigit() and int(offset) < resume.offset:
            self._attempts.behind += 1
            if self._attempts.behind <= BEHIND_ATTEMPTS:
                raise ServerBusyError(
                    f"the source is at offset {offset}, behind what is already received ({resume.offset})",
                    kind="behind",
                )
        self._attempts.behind = 0

    async def read(self) -> None:
        """Read snapshot and stream into the window, no faster than the target empties it."""
        replication, status, session = self._replication, self._status, self._session
        limit = self._settings.source.timeout_seconds
        while True:
            while replication.window.full:
                await replication.space.wait()
            data = await self._connection.receive(timeout=limit)
            if replication.source_restarts != self.restarts:
                return  # what comes now does not follow what the window holds
            status.received_bytes += len(data)
            for event in session.receive_data(data):
                self._handle(event)
            if session.state is ReplicaState.LOADING:
                status.snapshot.bytes_done = session.snapshot_bytes
            elif (received := session.received_offset) is not None:
                status.stream.received_offset = received
                if received > status.stream.source_offset:
                    status.observe_source_offset(received)
            if replication.resume is not None and self._settings.mode == "snapshot" and self._snapshot:
                return
            out = session.data_to_send()
            if out:
                await self._connection.send(out)

    def _handle(self, event: Event) -> None:
        if isinstance(event, Batch):
            rejections = tuple(
                Rejection(name.decode("ascii", "replace"), "", "it would write to records of shaker itself")
                for name in event.rejected
            )
            self._status.reserved_keys_skipped += event.skipped
            self._replication.put_batch(event, StreamItem(event, time.monotonic(), rejections))
        elif isinstance(event, SnapshotEntries):
            self._put_keys(event)
        elif isinstance(event, LargeEntry):
            self._large = event
            head, self._tail = large_restore(event)
            self._put_piece(head, last=False)
        elif isinstance(event, LargePiece):
            self._put_piece(event.data, last=event.last)
        elif isinstance(event, AckRequested):
            self._replication.ack_wanted = event.offset
            self._replication.ack.set()
        elif isinstance(event, SnapshotSize):
            self._status.snapshot.bytes_total = event.size
        elif isinstance(event, KeyCount):
            self._status.snapshot.keys_total += event.keys
        elif isinstance(event, SnapshotLibrary):
            self._libraries.append(event.code)
        elif isinstance(event, SnapshotLoss):
            self._losses.append(Rejection(event.kind, event.name, "no command carries data of modules beside keys"))
        elif isinstance(event, FullSync):
            self._begin_snapshot(event)
        elif isinstance(event, SnapshotEnd):
            self._end_snapshot(event)
        elif isinstance(event, Continued):
            self._continue(event)

    def _begin_snapshot(self, event: FullSync) -> None:
        replication, status = self._replication, self._status
        self._connected()
        status.full_syncs += 1
        status.snapshot = type(status.snapshot)(started=status.clock())
        status.lag.reset()
        status.stream.replid = event.replid
        status.stream.applied_offset = 0
        status.stream.received_offset = event.offset
        status.observe_source_offset(event.offset)
        replication.loading = True
        replication.caught_up_at = 0
        self._snapshot = secrets.token_hex(8)
        replication.window.discard_waiting()
        replication.resume = None
        target = self._settings.target
        flush = target.stale_keys == "flush"
        if replication.checkpoint is None:
            flush = target.on_existing == "flush"
        log.warning("full sync", replid=event.replid, offset=event.offset, flush=flush)
        replication.put(SnapshotStart(self._snapshot, event.replid, event.offset, flush=flush))

    def _put_keys(self, event: SnapshotEntries) -> None:
        data, requests, skipped = restore_requests(event.entries)
        self._status.reserved_keys_skipped += len(skipped)
        if requests:
            self._batches += 1
            self._replication.put(
                SnapshotKeys(self._snapshot, self._batches, event.database, data, requests, len(data))
            )

    def _put_piece(self, data: bytes, *, last: bool) -> None:
        """Append a piece of a value too large to hold: together they are one RESTORE."""
        entry = self._large
        assert entry is not None  # pieces follow their entry
        if entry.key.startswith(RESERVED):
            self._status.reserved_keys_skipped += last
            return
        self._batches += last
        if last:
            data += self._tail
        self._replication.put(
            SnapshotKeys(
                self._snapshot,
                self._batches,
                entry.database,
                data,
                int(last),
                len(data),
                label=entry.key,
                more=not last,
            )
        )

    def _end_snapshot(self, event: SnapshotEnd) -> None:
        replication = self._replication
        replication.resume = Resume(event.replid, event.offset, event.database)
        replication.put(
            SnapshotFinish(
                event.replid,
                event.offset,
                event.database,
                functions_payload(self._libraries),
                keep_libraries=self._keep_libraries,
                rejections=tuple(self._losses),
            )
        )
        self._libraries = []
        self._eager_acks = EAGER_ACKS
        replication.ack.set()
        self._status.snapshot.bytes_done = self._session.snapshot_bytes
        log.info("snapshot received", offset=event.offset, bytes=self._session.snapshot_bytes)

    def _continue(self, event: Continued) -> None:
        replication = self._replication
        self._connected()
        self._status.partial_syncs += 1
        resume = replication.resume
        assert resume is not None  # only a request with an offset is continued
        log.info("partial sync", replid=event.replid, offset=resume.offset)
        offset = self._info.get("master_repl_offset", "")
        replication.caught_up_at = 0
        if self._info.get("master_replid") == event.replid and offset.isdigit():
            # How old what is behind us is, nobody knows: no sample of the lag is older than this worker.
            replication.caught_up_at = int(offset)
            self._status.observe_source_offset(max(int(offset), resume.offset))
        replication.refresh_state()
        if event.replid != resume.replid:
            # The new id must reach the target at once: a second failover would make the old one unknown.
            batch = Batch((), 0, 0, event.replid, resume.offset, resume.database, persist=True)
            replication.put_batch(batch, StreamItem(batch, time.monotonic()))

    def _connected(self) -> None:
        self._status.source.connected = True
        self._status.source.last_error = ""
        self._attempts.succeeded()

    async def acknowledge_forever(self) -> None:
        """Acknowledge every second, and at once when asked and when what was asked for is applied."""
        while True:
            eager = self._eager_acks > 0 and self._session.state is ReplicaState.STREAMING
            self._eager_acks -= eager
            with anyio.move_on_after(EAGER_ACK_SECONDS if eager else ACK_SECONDS):
                await self._replication.ack.wait()
            self._status.beat("source")
            await self.acknowledge()

    async def acknowledge(self) -> None:
        """Tell the source what is applied on the target; while a snapshot is loaded, that the worker is alive."""
        state = self._session.state
        if state in (ReplicaState.PREPARING, ReplicaState.LOADING, ReplicaState.MARK):
            await self._connection.send(b"\n")
        elif state is ReplicaState.STREAMING:
            await self._connection.send(ack(self._replication.acknowledged_offset))


def ack(offset: int) -> bytes:
    """Return the request by which a replica acknowledges `offset`."""
    number = b"%d" % offset
    return b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$%d\r\n%b\r\n" % (len(number), number)
