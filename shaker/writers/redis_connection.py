"""One registered connection to the target: sends what the session plans, reads the replies, writes checkpoints."""

from __future__ import annotations

import math
from typing import Final

import anyio
import anyio.lowlevel

from shaker.apply.session import TargetSession
from shaker.errors import CorruptError, LinkError
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent, RunState
from shaker.net.connection import Connection
from shaker.net.reconnect import Reconnect
from shaker.settings.schema import Settings
from shaker.writers.applied import AppliedCounter

TICK_SECONDS: Final = 0.5
# Commands without effect (PING on an idle source) may move the applied offset ahead of the checkpoint for this long.
PERSIST_SECONDS: Final = 60.0
# Idle time before a PING: servers with a `timeout` and load balancers close unused connections.
PING_SECONDS: Final = 10.0
# An idle link may leave replies unconfirmed in the checkpoint for this long.
CONFIRM_SECONDS: Final = 1.0
# Only the room in the window depends on the replies to keys of a snapshot, so they are read at this interval, many at
# once: the target answers a few keys at a time, and each read costs the worker as much as a hundred keys.
SNAPSHOT_REPLY_SECONDS: Final = 0.005


class RedisConnection:
    """The tasks of one session on its connection. Each ends by a LinkError, or by cancellation."""

    def __init__(
        self,
        settings: Settings,
        flow: Flow,
        connection: Connection,
        session: TargetSession,
        reconnect: Reconnect,
        applied: AppliedCounter,
    ) -> None:
        self._flow = flow
        self._status = flow.status
        self._connection = connection
        self._session = session
        self._reconnect = reconnect
        self._applied = applied
        self._timeout = settings.target.timeout_seconds
        self._answered_at = flow.status.clock()
        self._sent_at = 0.0
        self._idle = True
        self._name_source()

    async def send(self) -> None:
        """Send what the session plans, and a PING after a long pause."""
        session, status = self._session, self._status
        while True:
            data = session.data_to_send()
            self._report()
            if not data and status.clock() - self._sent_at >= PING_SECONDS:
                data = session.ping()
            if not data and not self._flow.window.full:
                self._flow.wakeups.space.set()  # bytes of a value that makes no command yet were taken over
            if data:
                if self._idle:
                    self._answered_at = status.clock()
                    self._idle = False
                if not self._flow.window.full:
                    self._flow.wakeups.space.set()  # bytes too large to keep were dropped
                await self._connection.send(data)
                status.traffic.sent_bytes += len(data)
                self._sent_at = status.clock()
            elif session.busy:
                await anyio.lowlevel.checkpoint()  # a large value is looked through before its first command
            else:
                await self._flow.next()

    async def receive(self) -> None:
        """Read the replies."""
        session = self._session
        while True:
            # No timeout here: an idle target sends nothing. `checkpoint_when_idle` times out pending replies.
            try:
                data = await self._connection.receive(timeout=math.inf)
            except LinkError as error:
                if error.kind == "lost" and session.idle:
                    raise LinkError(error.what, kind="idle") from error
                raise
            self._answered_at = self._status.clock()
            answered = False
            try:
                answered = session.receive_data(data)
            except CorruptError as error:
                # The connection is damaged, the data are not: the checkpoint says which items are in effect.
                raise LinkError(error.what, kind="protocol") from error
            finally:
                # The error is about the bytes after the last reply: answered items have taken effect.
                self._idle = not session.waiting
                self._report()
            if answered:
                self._flow.wakeups.work.set()
            if session.pipelined:
                await anyio.sleep(SNAPSHOT_REPLY_SECONDS)

    async def checkpoint_when_idle(self) -> None:
        """Write what the checkpoint lacks while nothing else does, and notice a target that does not answer."""
        session, status = self._session, self._status
        idle_since: float | None = None
        while True:
            with anyio.move_on_after(TICK_SECONDS):
                await self._flow.wakeups.note.wait()
            now = status.clock()
            status.heartbeat("target")
            self._applied.rejections.report()
            self._name_source()
            self._applied.count_copied()
            self._take_notes()
            if self._flow.target.rejections_judged:
                self._flow.target.rejections_judged = False
                session.forget_rejections()
                self._applied.recall_rejections(session)
            if session.idle:
                self._reconnect.succeeded()
            else:
                idle_since = None
                if session.waiting and now - self._answered_at > self._timeout:
                    raise LinkError(f"the target did not answer for {self._timeout:g} s", kind="timeout")
                continue
            if now - self._sent_at >= PING_SECONDS:
                self._flow.wakeups.work.set()
            idle_since = now if idle_since is None else idle_since
            wait = PERSIST_SECONDS if session.unpersisted else CONFIRM_SECONDS
            urgent = self._flow.target.notes.lacking(session.checkpoint)
            if session.behind and (now - idle_since >= wait or urgent or self._draining):
                session.persist()
                self._flow.wakeups.work.set()
                idle_since = None

    def _take_notes(self) -> None:
        """Let the next checkpoint keep the progress of verification and cutover, and that a migration is complete."""
        if self._flow.target.verified:
            self._session.note_verified(self._flow.target.verified)
        if self._flow.target.complete:
            self._session.note_complete()
        notes = self._flow.target.notes
        if notes.cutover is not None:
            self._session.note_cutover(notes.cutover)
        if notes.turned is not None:
            self._session.note_turned(notes.turned)

    @property
    def _draining(self) -> bool:
        return self._flow.lifecycle.run in (RunState.DRAINING, RunState.DRAINED)

    def _name_source(self) -> None:
        """Let the checkpoint name the source as it is now, and the workers that write to it."""
        source = self._flow.source.identity
        if source is not None:
            self._session.name_source((source.address, source.run_id, self._flow.source.upstream.origins))

    def _report(self) -> None:
        """Count answered items, and end the drain or the writing where it is time to."""
        for progress in self._session.progress():
            self._reconnect.succeeded()
            self._applied.count(progress.items, self._session)
            self._flow.applied(self._session.checkpoint)
            self._applied.check_complete()
        if self._applied.stop_error is not None:
            self._session.halt()
            if self._session.halted:
                raise self._applied.stop_error
        if self._draining and self._session.idle and not self._flow.unapplied:
            self._end_drain()

    def _end_drain(self) -> None:
        self._take_notes()
        if self._session.behind:
            self._session.persist()
            self._flow.wakeups.work.set()
        elif not self._flow.drained:
            self._flow.happen(FlowEvent.DRAINED)
