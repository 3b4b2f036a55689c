"""The source link: keeps one replication connection to the source, and connects again after each loss."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import anyio
import structlog

from shaker.errors import LinkError
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent, RunState
from shaker.flow.progress import FlowProgress
from shaker.net.connection import Connection
from shaker.net.credentials import credentials
from shaker.net.first_to_finish import first_to_finish
from shaker.net.reconnect import Reconnect, open_connection
from shaker.net.sentinel import follow
from shaker.psync.handshake_states import ReplicaState
from shaker.psync.session import ReplicaSession
from shaker.readers.full_syncs import FullSyncs
from shaker.readers.psync_connection import PsyncConnection
from shaker.readers.spool import Spool
from shaker.readers.spool_intake import SpoolIntake
from shaker.settings.schema import Settings

log = structlog.get_logger("shaker.source")

# Strings, commands and transactions above this share of the window pass in chunks instead of whole.
PASS_SHARE = 4


class SourceLink:
    """Keeps a replication connection to the source, from the first attempt to the drain."""

    def __init__(self, settings: Settings, flow: Flow) -> None:
        self._settings = settings
        self._flow = flow
        self.reconnect = Reconnect(settings, "source", flow.status, FlowProgress(flow))
        self._full_syncs = FullSyncs(settings, flow)
        self._reading = anyio.CancelScope()
        self._stopped = False
        self.ended = anyio.Event()  # the last acknowledgement is sent and the connection closed

    def stop(self) -> None:
        """Stop reading; the connection stays until the drain has ended, for the last acknowledgement."""
        self._stopped = True
        self._reading.cancel()

    async def run(self) -> None:
        """Replicate until `stop`. Raises ShakerError where another attempt cannot help."""
        while not self._stopped:
            try:
                async with self._open() as connection:
                    await self._replicate(connection)
            except LinkError as error:
                self._disconnected()
                await self.reconnect.failed(error, give_up=lambda: self._stopped)
            finally:
                self._disconnected()
        self.ended.set()

    def _open(self) -> AbstractAsyncContextManager[Connection]:
        return open_connection(self._settings.source, "source", self.reconnect)

    def _disconnected(self) -> None:
        self._flow.status.source.connected = False
        self._flow.happen(FlowEvent.SOURCE_LOST)

    async def _replicate(self, connection: Connection) -> None:
        flow = self._flow
        session = self._session()
        psync = PsyncConnection(self._settings, flow, connection, session, self.reconnect, self._full_syncs)
        spool = self._spool(psync)
        flow.happen(FlowEvent.SOURCE_CONNECTED)
        self._reading = anyio.CancelScope()
        if self._stopped:
            return

        async def read() -> None:
            with self._reading:
                await psync.introduce()
                await psync.request()
                await psync.read(spool)
            if session.state is ReplicaState.STREAMING:
                await flow.until(lambda lifecycle: lifecycle.run is RunState.DRAINED)
                await psync.acknowledgements.send()

        async def restart() -> None:
            while flow.restarts == psync.restarts:
                await flow.wakeups.restart_source.wait()
            log.warning("source link restarts", reason="the window does not reach where the target is")

        async def moved() -> None:
            await follow(self._settings.source, connection.address)

        tasks = [connection.watch, read, psync.acknowledgements.run, psync.take_barriers, restart, moved]
        if spool is not None:
            tasks.append(spool.feed)
        try:
            await first_to_finish(*tasks)
        finally:
            flow.intake.give_up()
            psync.give_up_barrier()
            if spool is not None:
                spool.close()

    def _session(self) -> ReplicaSession:
        username, password = credentials(self._settings.source)
        return ReplicaSession(
            username=username,
            password=password,
            max_value=self._settings.snapshot.max_value,
            pass_above=self._flow.window.limit // PASS_SHARE,
            build_above=min(self._settings.target.restore_limit, self._settings.snapshot.max_value),
            psync_command=self._settings.source.psync_command,
        )

    def _spool(self, psync: PsyncConnection) -> SpoolIntake | None:
        settings = self._settings.spool
        if settings.dir is None:
            return None
        return SpoolIntake(self._flow, Spool(settings.dir, settings.limit), psync.admission.admit)
