"""Attempts to connect, of one side: logged, counted, spaced out."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import structlog

from shaker.config import Endpoint, Settings
from shaker.errors import AccessError, LinkError, SettingsError
from shaker.link.backoff import Backoff
from shaker.link.connection import Connection, connect
from shaker.link.sentinel import resolve
from shaker.link.tls import tls_context
from shaker.watch.status import Status

# How long a link has to last before its loss is a first one again: one that works and ends at once, time after
# time, must not be made anew hundreds of times a second (each full synchronisation forks the source).
STEADY_SECONDS = 1.0


class Attempts:
    """What is remembered from one attempt of a side to the next."""

    def __init__(self, settings: Settings, side: str, status: Status) -> None:
        self._settings = settings
        self.side = side
        self.status = status
        self.log = structlog.get_logger(f"shaker.{side}")
        self.number = 0
        self.behind = 0
        self._connected_before = False
        self._fresh = False
        self._began = 0.0
        self._works_since: float | None = None
        self._waited = 0.0
        self._backoff = Backoff(initial=settings.retry.initial_seconds, maximum=settings.retry.max_seconds)

    def begin(self) -> None:
        """Count an attempt, and let go of what the one before held."""
        # Its tasks, errors and tracebacks hold one another, and with them up to a window of bytes: few objects, so
        # that the collector would come to them only after many lost connections.
        gc.collect()
        self.number += 1
        self._fresh = True
        self._began = self.status.clock()

    def succeeded(self) -> None:
        """Tell that the connection does its work: if it lasts, the next failure is a first one again."""
        if not self._fresh:
            return
        self._fresh = False
        if self._connected_before:
            self.status.reconnects[self.side] += 1
        self._connected_before = True
        self.number = 0
        self._works_since = self.status.clock()

    async def failed(self, error: LinkError, *, give_up: Callable[[], bool]) -> bool:
        """Count and log a failure and wait before the next attempt; False when there is to be none.

        Raises the error where trying again cannot help: wrong credentials outside of follow mode.
        """
        if give_up():
            return False
        self.status.count_error(self.side, error.kind, str(error))
        if isinstance(error, AccessError) and self._settings.mode != "follow":
            raise error
        since, self._works_since = self._works_since, None
        if since is not None and self.status.clock() - since >= max(STEADY_SECONDS, self._waited):
            self._backoff.reset()
        seconds = 0.0 if error.kind == "rejected" else self._backoff.next()
        if isinstance(error, AccessError):
            seconds = self._settings.retry.access_seconds
        self._waited = seconds
        self.log.warning(
            "link failed",
            side=self.side,
            kind=error.kind,
            error=error.what,
            hint=error.hint or None,
            seconds=round(self.status.clock() - self._began, 4),
            next_try_seconds=round(seconds, 3),
        )
        self.status.beat(self.side, within=seconds + 60.0)
        await anyio.sleep(seconds)
        return not give_up()


def credentials(endpoint: Endpoint) -> tuple[str | None, str | None]:
    """Return username and password as they are now; raises AccessError for a password file that cannot be read."""
    try:
        return endpoint.credentials()
    except SettingsError as error:
        raise AccessError(error.what, hint=error.hint) from error


@asynccontextmanager
async def open_connection(endpoint: Endpoint, side: str, attempts: Attempts) -> AsyncIterator[Connection]:
    """Open a connection to `endpoint`, with each attempt and its outcome logged."""
    status = attempts.status
    attempts.begin()
    # Whatever the limits are set to: a server that does not answer is no reason to restart the worker.
    status.beat(side, within=endpoint.connect_timeout_seconds + endpoint.timeout_seconds + 60.0)
    started = status.clock()
    attempts.log.info("connecting", side=side, address=endpoint.address.text, attempt=attempts.number)
    address = await resolve(endpoint)
    (status.source if side == "source" else status.target).address = address.text
    async with connect(
        address,
        side=side,
        tls=tls_context(endpoint),
        connect_timeout=endpoint.connect_timeout_seconds,
        timeout=endpoint.timeout_seconds,
    ) as connection:
        attempts.log.info("connected", side=side, address=address.text, seconds=round(status.clock() - started, 4))
        yield connection
