"""The source link: connects, asks for what is missing, reads it into the window, acknowledges what is applied."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import anyio
import structlog

from shaker.errors import LinkError
from shaker.flow.flow import Replication
from shaker.flow.progress import Progress
from shaker.net.connection import Connection
from shaker.net.first_to_finish import together
from shaker.net.reconnect import Attempts, credentials, open_connection
from shaker.net.sentinel import follow
from shaker.psync.session import ReplicaSession, ReplicaState
from shaker.readers.full_syncs import FullSyncs
from shaker.readers.psync_connection import Conversation
from shaker.readers.spool import Spool
from shaker.settings.schema import Settings

log = structlog.get_logger("shaker.source")

# Strings, commands and transactions above this share of the window are not held whole but passed on in pieces.
PASS_SHARE = 4


class SourceLink:
    """Keeps a replication connection to the source, from the first attempt to the drain."""

    def __init__(self, settings: Settings, replication: Replication) -> None:
        self._settings = settings
        self._replication = replication
        self._status = replication.status
        self.attempts = Attempts(settings, "source", replication.status, Progress(replication))
        self._full_syncs = FullSyncs(settings, replication)
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
                await self.attempts.failed(error, give_up=lambda: self._stopped)
            finally:
                self._disconnected()
        self.ended.set()

    def _open(self) -> AbstractAsyncContextManager[Connection]:
        return open_connection(self._settings.source, "source", self.attempts)

    def _disconnected(self) -> None:
        self._replication.handshaking = False
        self._replication.snapshot_asked = None
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
        conversation = Conversation(
            self._settings, self._replication, connection, session, self.attempts, self._full_syncs
        )
        settings = self._settings.spool
        spool = None if settings.dir is None else Spool(settings.dir, settings.limit)
        self._replication.handshaking = True
        self._replication.refresh_state()
        self._reading = anyio.CancelScope()
        if self._stopped:
            return

        async def read() -> None:
            with self._reading:
                await conversation.introduce()
                await conversation.request()
                self._replication.cut = conversation.cut
                await (conversation.read() if spool is None else conversation.spool(spool))
            if session.state is ReplicaState.STREAMING:
                await self._replication.drained.wait()
                await conversation.acknowledgements.send()

        async def restart() -> None:
            while self._replication.source_restarts == conversation.restarts:
                await self._replication.restart_source.wait()
            log.warning("source link restarts", reason="the target stands where the window does not reach")

        async def moved() -> None:
            await follow(self._settings.source, connection.address)

        tasks = [connection.watch, read, conversation.acknowledgements.run, restart, moved]
        if spool is not None:
            tasks.append(lambda: conversation.feed(spool))
        try:
            await together(*tasks)
        finally:
            self._replication.cut = None
            conversation.end_hold()
            if spool is not None:
                spool.close()
                self._status.spool_bytes = 0
