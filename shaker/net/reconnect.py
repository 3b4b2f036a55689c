"""Reconnecting one side: attempts are logged, counted and spaced out."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import anyio
import structlog

from shaker.errors import (
    AccessError,
    GivenUpError,
    LinkError,
    PlannedReconnectError,
    ServerBusyError,
)
from shaker.net.backoff import Backoff
from shaker.net.connection import Connection, connect
from shaker.net.sentinel import resolve
from shaker.net.tls import tls_context
from shaker.settings.endpoints import Endpoint
from shaker.settings.schema import Settings
from shaker.watch.status import FlowStatus

# A link that lasts this long starts over with a first failure. Links that work and end at once, again and again,
# must not reconnect hundreds of times a second.
STEADY_SECONDS: Final = 1.0
# `/readyz` names a failure from this many in a row without progress.
STUCK_FAILURES: Final = 3


class ProgressCounter(Protocol):
    """Progress of the replication, which distinguishes a passing fault from one that recurs at the same place."""

    @property
    def steps(self) -> int:
        """Number of steps forward so far."""

    @property
    def at_rest(self) -> bool:
        """Whether all received data are applied."""


@dataclass(slots=True)
class Attempt:
    """One connection from its first packet on."""

    began: float = 0.0
    connected: bool = False
    works: bool = False


@dataclass(slots=True)
class FailureRun:
    """Failures in a row without progress; `steps` is the progress when the side last failed."""

    steps: int = 0
    count: int = 0
    since: float = 0.0


class Reconnect:
    """The state that one side keeps from one attempt to the next."""

    def __init__(self, settings: Settings, side: str, status: FlowStatus, progress: ProgressCounter) -> None:
        self._settings = settings
        self.side = side
        self.status = status
        self.log = structlog.get_logger(f"shaker.{side}")
        self.number = 0
        self.behind = 0
        self._progress = progress
        self._attempt = Attempt(works=True)
        self._failures = FailureRun()
        self._connected_before = False
        self._works_since: float | None = None
        self._waited = 0.0
        self._backoff = Backoff(initial=settings.retry.initial_seconds, maximum=settings.retry.max_seconds)

    def begin(self) -> None:
        """Count an attempt, and release the memory of the one before."""
        # Its tasks, errors and tracebacks form cycles that hold up to a window of bytes. They are few objects, so
        # that the collector would run only after many lost connections.
        gc.collect()
        self.number += 1
        self._attempt = Attempt(began=self.status.clock())

    def connected(self) -> None:
        """Record that there is a connection: later failures are about its traffic."""
        self._attempt.connected = True

    def succeeded(self) -> None:
        """Record that the connection works: if it lasts, the next failure counts as a first one."""
        if self._attempt.works:
            return
        self._attempt.works = True
        if self._connected_before:
            self.status.links.reconnects[self.side] += 1
        self._connected_before = True
        self.number = 0
        self._works_since = self.status.clock()

    def refresh(self) -> None:
        """Forget the failures after progress, or when all is applied and the link lasts."""
        if self._failures.count and (self._progress.steps != self._failures.steps or self._rests()):
            self._forget()

    def _rests(self) -> bool:
        since = self._works_since
        return self._progress.at_rest and since is not None and self.status.clock() - since >= STEADY_SECONDS

    def _forget(self) -> None:
        self._failures.count = 0
        self.status.reasons.pop(f"stuck_{self.side}", None)

    async def failed(self, error: LinkError, *, give_up: Callable[[], bool]) -> bool:
        """Count and log a failure and wait before the next attempt; False when there is none.

        Outside of follow mode, raises an error that only an operator can fix, such as wrong credentials, and
        GivenUpError after `give_up_after_seconds` without progress.
        """
        if give_up():
            return False
        idle = error.kind == "idle"  # nothing was in flight, and nothing is lost
        if not idle:
            self.status.count_error(self.side, error.kind, str(error))
        one_off = self._settings.mode != "follow"
        if isinstance(error, AccessError) and one_off:
            raise error
        seconds = self._wait(error)
        self.log.log(
            logging.INFO if idle else logging.WARNING,
            "idle link closed" if idle else "link failed",
            side=self.side,
            kind=error.kind,
            error=error.what,
            hint=error.hint or None,
            seconds=round(self.status.clock() - self._attempt.began, 4),
            failures=self._failures.count,
            next_try_seconds=round(seconds, 3),
        )
        if one_off:
            seconds = min(seconds, self._patience(error))
        self.status.heartbeat(self.side, within=seconds + 60.0)
        await anyio.sleep(seconds)
        return not give_up()

    def _wait(self, error: LinkError) -> float:
        """Return the seconds to wait, which grow while failures follow one another without progress."""
        retry, now = self._settings.retry, self.status.clock()
        steps, rests, since = self._progress.steps, self._rests(), self._works_since
        self._works_since = None
        further = steps != self._failures.steps
        if further or rests:
            self._forget()
            if since is not None and now - since >= max(STEADY_SECONDS, self._waited):
                self._backoff.reset()
        self._failures.steps = steps
        if not self._failures.count:
            self._failures.since = now
        self._failures.count += 1
        if self._failures.count >= STUCK_FAILURES:
            self.status.reasons[f"stuck_{self.side}"] = (
                f"the {self.side} link has failed {self._failures.count} times in a row without progress; "
                f"last error: {error}"
            )
        if isinstance(error, PlannedReconnectError) and further:
            self._waited = 0.0  # the connection was closed to apply a rejection that it has learned
        elif isinstance(error, AccessError):
            self._waited = retry.access_seconds
        else:
            waits = further or isinstance(error, ServerBusyError) or not self._attempt.connected
            self._waited = self._backoff.next(None if waits else max(retry.max_seconds, retry.stuck_seconds))
        return self._waited

    def _patience(self, error: LinkError) -> float:
        """Return for how many more seconds a one-off mode retries; raises GivenUpError after that."""
        limit = self._settings.give_up_after_seconds
        left = self._failures.since + limit - self.status.clock()
        if left <= 0:
            raise GivenUpError(
                f"no progress for {limit:g} s (give_up_after_seconds): {error.what}", hint=error.hint
            ) from error
        return left


@asynccontextmanager
async def open_connection(endpoint: Endpoint, side: str, reconnect: Reconnect) -> AsyncIterator[Connection]:
    """Open a connection to `endpoint`, and log each attempt and its outcome."""
    status = reconnect.status
    reconnect.begin()
    # With any limits: a server that does not answer is no reason to restart the worker.
    status.heartbeat(side, within=endpoint.connect_timeout_seconds + endpoint.timeout_seconds + 60.0)
    started = status.clock()
    reconnect.log.info("connecting", side=side, address=endpoint.address.text, attempt=reconnect.number)
    address = await resolve(endpoint)
    (status.source if side == "source" else status.target).address = address.text
    async with connect(
        address,
        side=side,
        tls=tls_context(endpoint),
        connect_timeout=endpoint.connect_timeout_seconds,
        timeout=endpoint.timeout_seconds,
    ) as connection:
        reconnect.connected()
        reconnect.log.info("connected", side=side, address=address.text, seconds=round(status.clock() - started, 4))
        yield connection
