"""The target link: registers as the one writer, sends the window, reads the replies, aligns again after a loss."""

from __future__ import annotations

import structlog

from shaker.apply.fence import Identity
from shaker.apply.records import Checkpoint
from shaker.apply.rejections import is_passing, passing_error
from shaker.apply.session import TargetSession
from shaker.checks.cut_over import refuse_after_cutover
from shaker.errors import LinkError, PlannedReconnectError, RecordsWipedError
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent, RecordsState, RunState
from shaker.flow.progress import FlowProgress
from shaker.flow.wakeups import Wakeup
from shaker.net.connection import Connection, ReplyError
from shaker.net.first_to_finish import first_to_finish
from shaker.net.reconnect import Reconnect, open_connection
from shaker.net.sentinel import follow
from shaker.settings.schema import Settings
from shaker.writers.applied import AppliedCounter
from shaker.writers.redis_connection import RedisConnection
from shaker.writers.register import Registered, register

log = structlog.get_logger("shaker.target")

SCRIPTS_AT_ONCE = 100


class TargetLink:
    """Keeps the one writing connection to the target."""

    def __init__(self, settings: Settings, flow: Flow) -> None:
        self._settings = settings
        self._flow = flow
        self._status = flow.status
        self._identity = Identity.new()
        self.reconnect = Reconnect(settings, "target", flow.status, FlowProgress(flow))
        self._first = True  # registration of this process
        self._run_id = ""
        self._applied = AppliedCounter(settings, flow)

    async def run(self) -> None:
        """Write until the drain has ended. Raises ShakerError for what trying again does not help."""
        try:
            await self._run()
        finally:
            self._applied.rejections.report(ended=True)

    async def _run(self) -> None:
        await self._flow.source.identified.wait()
        while not self._flow.drained:
            try:
                async with open_connection(self._settings.target, "target", self.reconnect) as connection:
                    with connection.deadline("the registration"):
                        registered = await register(connection, self._settings, self._flow, self._identity)
                    await self._write(connection, registered)
            except LinkError as error:
                self._disconnected()
                if isinstance(error, RecordsWipedError):
                    self._flow.happen(FlowEvent.RECORDS_WIPED)
                # After a planned reconnect there is more to do: the last writes are not saved yet.
                give_up = bool if isinstance(error, PlannedReconnectError) else self._give_up
                if not await self.reconnect.failed(error, give_up=give_up):
                    self._flow.happen(FlowEvent.DRAINED)
            finally:
                self._disconnected()

    def _disconnected(self) -> None:
        self._status.target.connected = False
        self._flow.happen(FlowEvent.TARGET_LOST)

    def _give_up(self) -> bool:
        """While draining, with nothing left to write, a lost target is no reason to wait for it."""
        return self._flow.lifecycle.run is RunState.DRAINING and not self._flow.unapplied

    async def _write(self, connection: Connection, registered: Registered) -> None:
        flow, status, first = self._flow, self._status, self._first
        await self._align(connection, registered)
        session = self._session(registered)
        if first and registered.checkpoint is not None:
            flow.source.upstream.inherit(registered.checkpoint.origins)
        self._applied.check_complete()
        self._applied.recall_rejections(session)
        # Items in effect count, even if their answer was lost with the connection.
        self._applied.count(flow.window.recovered, session)
        status.target.connected = True
        flow.refresh_state()
        status.target.last_error = ""
        writing = RedisConnection(self._settings, flow, connection, session, self.reconnect, self._applied)
        with flow.registrations.writing(session):
            await first_to_finish(
                writing.send,
                writing.receive,
                connection.watch,
                writing.checkpoint_when_idle,
                self._restart,
                self._wiped,
                lambda: follow(self._settings.target, connection.address),
            )

    async def _align(self, connection: Connection, registered: Registered) -> None:
        """Align the flow with the target as the registration found it."""
        flow, checkpoint = self._flow, registered.checkpoint
        flow.target.fence, flow.target.max_bulk = registered.fence, registered.max_bulk
        flow.wakeups.records_gone = Wakeup()  # the records are there now
        if registered.wiped:
            flow.happen(FlowEvent.RECORDS_WIPED)
        if flow.lifecycle.records is RecordsState.WIPED:
            self._report_wiped(checkpoint)
        if self._first and checkpoint is not None and not flow.target.reopening:
            refuse_after_cutover(checkpoint)
        kept = flow.registered(checkpoint, same_server_run=registered.run_id == self._run_id, first=self._first)
        if self._first:
            flow.target.notes.turned = checkpoint.turned if checkpoint is not None else ""
        self._first = False
        if registered.run_id != self._run_id:
            await self._load_scripts(connection)
        self._run_id = flow.target.run_id = registered.run_id
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

    def _report_wiped(self, checkpoint: Checkpoint | None) -> None:
        self._status.reasons["records_wiped"] = (
            "the worker's records on the target are gone: somebody emptied it or replaced its dataset; "
            "a full resync brings the data back"
        )
        log.warning(
            "records wiped",
            checkpoint=checkpoint.phase if checkpoint else "none",
            effect="the target may lack data that the checkpoint covers: a full resync follows",
            hint="who used FLUSHALL, FLUSHDB, SWAPDB or DEL there, or restored another dataset?",
        )

    def _session(self, registered: Registered) -> TargetSession:
        flow = self._flow
        # Records that somebody has removed do not make the replication one that was never turned round.
        checkpoint = registered.checkpoint or Checkpoint(turned=flow.target.notes.turned or "")
        source = flow.source.identity
        assert source is not None  # the first registration waits for it
        return TargetSession(
            name=self._settings.name,
            window=flow.window,
            checkpoint=checkpoint._replace(source=source.address, source_run_id=source.run_id),
            fence=registered.fence,
            chain=flow.target.chain,
            expiries=flow.expiries,
            unconfirmed=flow.unconfirmed,
            on_rejected=self._applied.rejected,
            max_transaction=registered.max_transaction,
            max_bulk=registered.max_bulk,
            lacks=registered.lacks,
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
        await self._flow.wakeups.records_gone.wait()
        raise RecordsWipedError("the worker's records on the target were removed or replaced")

    async def _restart(self) -> None:
        await self._flow.wakeups.restart_target.wait()
        raise PlannedReconnectError("the source did not finish the batch that is being written")
