"""The process of a worker: health and signals from its beginning to its end, and one direction after the other."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

import anyio
import structlog
from anyio.from_thread import BlockingPortal

from shaker import __version__
from shaker.build import codec_kind
from shaker.checks.fitness import refuse_cluster_url
from shaker.errors import ShakerError
from shaker.jobs.verify_wanted import Wanted
from shaker.run.direction import Direction
from shaker.run.signals import Signals
from shaker.settings.schema import Settings
from shaker.settings.turned import turned_round
from shaker.watch.http.routes import HealthServer
from shaker.watch.status import Status

log = structlog.get_logger("shaker")


async def run(settings: Settings, wanted: Wanted | None = None, *, reopening: bool = False) -> int:
    """Replicate as `settings` say; return the exit code of the process.

    With `wanted`, end after that verification pass; `reopening`, once an earlier cutover is undone. Serves health from
    before the first connection until the end. Never raises ShakerError: it is logged.
    """
    async with BlockingPortal() as portal, anyio.create_task_group() as tasks:
        worker = Worker(settings, portal, reopening=reopening)
        health = worker.health()
        try:
            for endpoint in (settings.source, settings.target):
                refuse_cluster_url(endpoint)
            health.start()
        except ShakerError as error:
            log.error("cannot start", kind=error.kind, error=error.what, hint=error.hint or None)
            return error.exit_code
        log.info("worker started", version=__version__, codec=codec_kind(), name=settings.name, mode=settings.mode)
        try:
            await tasks.start(worker.signals.run)
            code = await worker.run(health, wanted)
        finally:
            health.stop()
        tasks.cancel_scope.cancel()
    log.info("worker stopped", exit_code=code)
    return code


class Worker:
    """The directions that one process takes."""

    def __init__(self, settings: Settings, portal: BlockingPortal, *, reopening: bool) -> None:
        self.signals = Signals()
        self._settings = (settings, turned_round(settings))
        self._reversed = False
        self._portal = portal
        self._reopening = reopening
        self._take({})

    def _take(self, shut: Mapping[str, str]) -> None:
        """Make the tasks of the present direction; `shut` are rules of users to restore on its source."""
        settings = self._settings[self._reversed]
        status = Status(name=settings.name, mode=settings.mode, codec=codec_kind(), version=__version__)
        status.source.address = settings.source.address.text
        status.target.address = settings.target.address.text
        status.cutover.reversed = self._reversed
        self._status = status
        self._direction = Direction(settings, status, reopening=self._reopening, shut=shut)
        self.signals.receiver = self._direction.signalled

    def health(self) -> HealthServer:
        """Return the health server of the process, for the present direction."""
        settings = self._settings[0]
        return HealthServer(
            self._status,
            host=settings.health.host,
            port=settings.health.port,
            ready_max_lag_seconds=settings.health.ready_max_lag_seconds,
            control=self._direction.control_endpoint(self._portal),
        )

    async def run(self, health: HealthServer, wanted: Wanted | None) -> int:
        """Run until a direction ends without another one after it; return the exit code."""
        attached = AsyncExitStack()
        try:
            while True:
                code = await self._direction.run(wanted, attached)
                other = self._direction.other
                if other is None:
                    return code
                await attached.aclose()
                attached = self._direction.attached
                self._reversed = not self._reversed
                self._take(other.shut)
                health.show(self._status, self._direction.control_endpoint(self._portal))
                log.info("turned round", source=self._status.source.address, target=self._status.target.address)
        finally:
            with anyio.CancelScope(shield=True):
                await attached.aclose()
