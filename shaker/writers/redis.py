"""The target link: registers as the one writer, sends the window, reads the replies, lines up after a loss."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence

import anyio
import structlog

from shaker.apply.fence import Identity
from shaker.apply.records import Checkpoint
from shaker.apply.rejections import is_passing, passing_error
from shaker.apply.session import TargetSession
from shaker.errors import (
    CorruptError,
    LinkError,
    PlannedReconnectError,
    RecordsWipedError,
    UnfaithfulError,
    counted,
)
from shaker.flow.flow import Flow, Wakeup
from shaker.flow.progress import Progress
from shaker.model.items import Item, SnapshotFinish, SnapshotKeys, StreamItem
from shaker.model.rejection import Rejection
from shaker.net.connection import Connection, ReplyError
from shaker.net.first_to_finish import first_to_finish
from shaker.net.reconnect import Reconnect, open_connection
from shaker.net.sentinel import follow
from shaker.settings.schema import Settings
from shaker.writers.register import Registered, register
from shaker.writers.rejection_log import RejectionLog

log = structlog.get_logger("shaker.target")

TICK_SECONDS = 0.5
# How long an applied offset may be ahead of the checkpoint by commands without effect (PING on an idle source).
PERSIST_SECONDS = 60.0
# How long a connection is idle before a PING: servers with a `timeout` and load balancers close what nobody uses.
PING_SECONDS = 10.0
# How long an idle link may leave replies unconfirmed in the checkpoint.
CONFIRM_SECONDS = 1.0
# Nothing waits for the replies to keys of a snapshot but the room that they make: they are read so much apart, many
# at once. The target answers a few keys at a time, and each read costs the worker as much as a hundred.
SNAPSHOT_REPLY_SECONDS = 0.005
SCRIPTS_AT_ONCE = 100


class TargetLink:
    """Keeps the one writing connection to the target."""

    def __init__(self, settings: Settings, flow: Flow, sweep: Callable[[TargetSession], Awaitable[None]]) -> None:
        self._settings = settings
        self._flow = flow
        self._status = flow.status
        self._identity = Identity.new()
        self.reconnect = Reconnect(settings, "target", flow.status, Progress(flow))
        self._first = True
        self._run_id = ""
        self._answered_at = self._sent_at = 0.0
        self._idle = True
        self._sweep = sweep  # removes stale keys by way of the session, until cancelled
        self._stop_error: UnfaithfulError | None = None
        self._told = RejectionLog(flow.status.clock)

    async def run(self) -> None:
        """Write until the drain has ended. Raises ShakerError for what trying again does not help."""
        try:
            await self._run()
        finally:
            self._told.turn(ended=True)

    async def _run(self) -> None:
        await self._flow.source_known.wait()
        while not self._flow.drained.is_set():
            try:
                async with open_connection(self._settings.target, "target", self.reconnect) as connection:
                    with connection.deadline("the registration"):
                        registered = await register(connection, self._settings, self._flow, self._identity)
                    await self._write(connection, registered)
            except LinkError as error:
                self._status.target.connected = False
                if isinstance(error, RecordsWipedError):
                    self._flow.records_wiped = True
                # A connection dropped on purpose is made anew: what it wrote last is not saved yet.
                give_up = bool if isinstance(error, PlannedReconnectError) else self._give_up
                if not await self.reconnect.failed(error, give_up=give_up):
                    self._flow.drained.set()
            finally:
                self._status.target.connected = False
                self._flow.refresh_state()

    def _give_up(self) -> bool:
        """While draining, with nothing left to write, a lost target is no reason to wait for it."""
        return self._flow.draining and not self._flow.unapplied

    async def _write(self, connection: Connection, registered: Registered) -> None:
        flow, status = self._flow, self._status
        checkpoint = registered.checkpoint
        flow.fence, flow.records_gone = registered.fence, Wakeup()
        flow.max_bulk = registered.max_bulk
        if registered.wiped or flow.records_wiped:
            flow.records_wiped = True
            status.reasons["records_wiped"] = (
                "the worker's records on the target are gone: somebody emptied it or replaced its dataset; "
                "a full resync brings the data back"
            )
            log.warning(
                "records wiped",
                checkpoint=checkpoint.phase if checkpoint else "none",
                effect="the target may lack data that the checkpoint covers: a full resync follows",
                hint="who used FLUSHALL, FLUSHDB, SWAPDB or DEL there, or restored another dataset?",
            )
        kept = flow.registered(checkpoint, same_server_run=registered.run_id == self._run_id, first=self._first)
        if registered.run_id != self._run_id:
            await self._load_scripts(connection)
        self._run_id = flow.target_run_id = registered.run_id
        flow.expiries.by_target = registered.import_mode
        log.info(
            "registered",
            epoch=self._identity.epoch,
            phase=checkpoint.phase if checkpoint else "none",
            replid=checkpoint.replid if checkpoint else None,
            offset=checkpoint.offset if checkpoint else None,
            took_over=registered.killed,
            kept=kept,
            import_mode=registered.import_mode,
            expiries_wait=flow.expiries.waiting,
            unconfirmed_bytes=flow.unconfirmed.bytes if flow.unconfirmed.pending else 0,
        )
        if self._first and checkpoint is not None:
            flow.upstream.inherit(checkpoint.origins)
        self._first = False
        self._check_finished()
        source = flow.source
        assert source is not None  # the first registration waits for it
        session = TargetSession(
            name=self._settings.name,
            window=flow.window,
            checkpoint=(checkpoint or Checkpoint())._replace(source=source.address, source_run_id=source.run_id),
            fence=registered.fence,
            table=flow.table,
            expiries=flow.expiries,
            unconfirmed=flow.unconfirmed,
            on_rejected=self._rejected,
            max_transaction=registered.max_transaction,
            max_bulk=registered.max_bulk,
            lacks=registered.lacks,
        )
        self._name_source(session)
        self._recall_rejections(session)
        # What took effect although its answer was lost with the connection counts like everything else.
        self._count(flow.window.recovered, session)
        status.target.connected = True
        flow.refresh_state()
        status.target.last_error = ""
        self._answered_at = status.clock()
        await first_to_finish(
            lambda: self._send(connection, session),
            lambda: self._receive(connection, session),
            connection.watch,
            lambda: self._checkpoint_when_idle(session),
            lambda: self._sweep(session),
            self._restart,
            self._wiped,
            lambda: follow(self._settings.target, connection.address),
        )

    async def _load_scripts(self, connection: Connection) -> None:
        """Give a server that has restarted, or taken over, the scripts that the stream may name."""
        scripts = self._flow.scripts.all()
        for start in range(0, len(scripts), SCRIPTS_AT_ONCE):
            some = scripts[start : start + SCRIPTS_AT_ONCE]
            with connection.deadline("loading the scripts of the source"):
                replies = await connection.pipeline([("SCRIPT", "LOAD", body) for body in some])
            refused = next((str(reply) for reply in replies if isinstance(reply, ReplyError)), "")
            if is_passing(refused):
                raise passing_error(refused)
            if refused:
                log.warning("scripts refused", error=refused.split("'")[0][:120])

    async def _wiped(self) -> None:
        await self._flow.records_gone.wait()
        raise RecordsWipedError("the worker's records on the target were removed or replaced")

    async def _restart(self) -> None:
        await self._flow.target_restart.wait()
        raise PlannedReconnectError("the source did not finish what is under way")

    async def _send(self, connection: Connection, session: TargetSession) -> None:
        while True:
            data = session.data_to_send()
            self._report(session)
            if not data and self._status.clock() - self._sent_at >= PING_SECONDS:
                data = session.ping()
            if data:
                if self._idle:
                    self._answered_at = self._status.clock()
                    self._idle = False
                if not self._flow.window.full:
                    self._flow.space.set()  # what is too large to keep was dropped
                await connection.send(data)
                self._status.sent_bytes += len(data)
                self._sent_at = self._status.clock()
            else:
                await self._flow.work.wait()

    async def _receive(self, connection: Connection, session: TargetSession) -> None:
        while True:
            # An idle target is silent for as long as it likes; `_checkpoint_when_idle` watches one that owes an answer.
            try:
                data = await connection.receive(timeout=math.inf)
            except LinkError as error:
                if error.kind == "lost" and session.idle:
                    raise LinkError(error.what, kind="idle") from error
                raise
            self._answered_at = self._status.clock()
            answered = False
            try:
                answered = session.receive_data(data)
            except CorruptError as error:
                # The data are whole, the connection is not: what it has done the checkpoint tells the next one.
                raise LinkError(error.what, kind="protocol") from error
            finally:
                # An error is about what comes behind: what was answered before it has taken effect.
                self._idle = not session.waiting
                self._report(session)
            if answered:
                self._flow.work.set()
            if session.pipelined:
                await anyio.sleep(SNAPSHOT_REPLY_SECONDS)

    def _report(self, session: TargetSession) -> None:
        """Count what was answered for."""
        for progress in session.progress():
            self.reconnect.succeeded()
            self._count(progress.items, session)
            self._flow.answered(session.checkpoint)
            self._check_finished()
        self._check_drained(session)

    def _check_finished(self) -> None:
        """Tell that the work of `mode=snapshot` is complete: all is applied, and no stale key is left."""
        flow = self._flow
        if self._settings.mode == "snapshot" and not flow.loading and not flow.sweep:
            flow.finished.set()

    def _count(self, items: Sequence[Item], session: TargetSession) -> None:
        """Count items that have taken effect, in order."""
        status = self._status
        for item in items:
            if isinstance(item, StreamItem):
                commands = item.batch.commands - item.left_out
                latency = status.clock() - item.received_at if commands else None
                offset = item.batch.end_offset
                status.observe_applied(offset, commands, latency, exact=self._flow.expiries.exact(offset))
            elif isinstance(item, SnapshotKeys):
                status.snapshot.keys_done += item.keys
            elif isinstance(item, SnapshotFinish):
                self._snapshot_finished(item)
            else:
                self._recall_rejections(session)

    def _snapshot_finished(self, item: SnapshotFinish) -> None:
        status = self._status
        self._flow.loading = False
        status.reasons.pop("records_wiped", None)
        status.snapshot.finished = status.clock()
        status.observe_applied(item.offset, 0, None)
        offset = max(item.offset, status.stream.received_offset, status.stream.source_offset)
        self._flow.caught_up_at = offset
        status.observe_source_offset(offset)
        self._flow.refresh_state()
        log.info("snapshot applied", offset=item.offset, keys=status.snapshot.keys_done)

    async def _checkpoint_when_idle(self, session: TargetSession) -> None:
        """Write what the checkpoint lacks when nothing else does, and notice a target that does not answer."""
        status = self._status
        limit = self._settings.target.timeout_seconds
        idle_since: float | None = None
        while True:
            await anyio.sleep(TICK_SECONDS)
            now = status.clock()
            status.heartbeat("target")
            self._told.turn()
            self._name_source(session)
            self._count_copied()
            if session.idle:
                self.reconnect.succeeded()
            else:
                idle_since = None
                if session.waiting and now - self._answered_at > limit:
                    raise LinkError(f"the target did not answer for {limit:g} s", kind="timeout")
                continue
            if now - self._sent_at >= PING_SECONDS:
                self._flow.work.set()
            idle_since = now if idle_since is None else idle_since
            wait = PERSIST_SECONDS if session.unpersisted else CONFIRM_SECONDS
            if session.behind and (now - idle_since >= wait or self._flow.draining):
                session.persist()
                self._flow.work.set()
                idle_since = None

    def _name_source(self, session: TargetSession) -> None:
        """Have the checkpoint name the source as it is now, and who writes to it."""
        source = self._flow.source
        if source is not None:
            session.source = (source.address, source.run_id, self._flow.upstream.origins)

    def _count_copied(self) -> None:
        """Count as applied what waited for keys to be copied."""
        applied = self._flow.acknowledged_offset
        if 0 < self._status.stream.applied_offset < applied:
            self._status.observe_applied(applied, 0, None)

    def _check_drained(self, session: TargetSession) -> None:
        if self._stop_error is not None:
            session.halt()
            if session.halted:
                raise self._stop_error
        if self._flow.draining and session.idle and not self._flow.unapplied:
            if session.behind:
                session.persist()
                self._flow.work.set()
            else:
                self._flow.drained.set()

    def _rejected(self, rejection: Rejection) -> None:
        status = self._status
        status.count_error("target", "rejected_command")
        self._told.rejected(rejection)
        status.rejected_commands += 1
        self._hold_ready(rejection.summary)
        if self._settings.target.on_error == "stop":
            self._stop_error = UnfaithfulError(
                f"the target rejected a command: {rejection.summary}",
                hint="target.on_error=continue counts such commands and goes on",
                kind="rejected_command",
            )

    def _recall_rejections(self, session: TargetSession) -> None:
        """Take the count from the session's start: the checkpoint's outlives the worker, a full sync clears it."""
        self._status.rejected_commands = session.rejected
        if session.rejected:
            self._hold_ready(session.rejected_last)
        else:
            self._status.reasons.pop("rejected", None)

    def _hold_ready(self, last: str) -> None:
        count = self._status.rejected_commands
        self._status.reasons["rejected"] = f"the target rejected {counted(count, 'command')}, the last one: {last}"
