"""One cutover: fences writes on the source, waits until the target has applied and equals it, makes the fence last.

Before the fence, every key is compared while the source takes writes; within it, only those that changed since.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import structlog
from anyio.abc import TaskGroup

from shaker.errors import LinkError, RefusedError
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import RunState
from shaker.flow.watch import ChangedKeys
from shaker.jobs.cutover_order import Failed, Order, Outcome
from shaker.jobs.cutover_proof import Proof
from shaker.jobs.job import until
from shaker.jobs.source_fence import SourceFence
from shaker.jobs.verify import Verify
from shaker.jobs.way_back import WayBack
from shaker.model.cutover import CutoverEvent, CutoverNote, CutoverPhase
from shaker.model.server_info import ServerInfo
from shaker.net.client import open_client, open_fence_client
from shaker.net.connection import ReplyError
from shaker.settings.schema import Settings
from shaker.watch.cutover import CutoverState
from shaker.watch.status import State

log = structlog.get_logger("shaker.cutover")

NAME: Final = "cutover"  # of the job's heartbeat
POLL_SECONDS: Final = 0.005
LOOK_SECONDS: Final = 0.05
RENEWALS: Final = 4  # of the pause within its seconds
LASTING: Final = ("replicas", "acl")  # fences after which held writers can continue, and fail
WATCHED: Final = (CutoverPhase.FENCING, CutoverPhase.CATCHING_UP, CutoverPhase.COMPARING, CutoverPhase.HOOK)


class Attempt:
    """One cutover, up to the point where it is done or has failed; lifting the fence is the caller's."""

    def __init__(
        self,
        settings: Settings,
        flow: Flow,
        verify: Verify,
        state: CutoverState,
        order: Order,
        note: Callable[[CutoverNote | None], Awaitable[None]],
        happen: Callable[[CutoverEvent], None],
        way_back: WayBack,
    ) -> None:
        self._settings = settings
        self._flow = flow
        self._state = state
        self._order = order
        self._note = note
        self._happen = happen
        self._way_back = way_back
        self._proof = Proof(settings, flow, verify, state)
        self._fenced_at = 0.0
        self._done_at = 0.0
        self._end = 0
        self._given_up: Failed | None = None

    def report(self) -> dict[str, Any]:
        """Return what the attempt found and how long writes were fenced."""
        fenced = (self._done_at or time.monotonic()) - self._fenced_at if self._fenced_at else 0.0
        return {
            "offset": self._end,
            "replid": self._flow.status.stream.replid,
            "fenced_seconds": round(fenced, 4),
            "verification": self._proof.document() if self._order.verify else None,
        }

    async def make(self) -> tuple[Outcome, str]:
        """Carry the order out; return how it ended and why."""
        outcome, reason = Outcome.DONE, ""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._look_after, tasks.cancel_scope)
                outcome, reason = await self._guarded(tasks)
                tasks.cancel_scope.cancel()
        finally:
            if self._state.phase is CutoverPhase.DONE and not self._done_at:
                self._done_at = time.monotonic()
        if self._given_up is not None and self._state.phase is not CutoverPhase.DONE:
            return self._given_up.outcome, str(self._given_up)
        return outcome, reason

    async def _guarded(self, tasks: TaskGroup) -> tuple[Outcome, str]:
        """Take the steps; a failure is an outcome."""
        try:
            await self._steps(tasks)
        except Failed as failed:
            return failed.outcome, str(failed)
        except (LinkError, RefusedError, ReplyError) as error:
            return Outcome.FAILED, str(error)
        return Outcome.DONE, ""

    async def _steps(self, tasks: TaskGroup) -> None:
        settings, flow, order, proof = self._settings, self._flow, self._order, self._proof
        identity = flow.source.identity
        assert identity is not None  # the job has waited for it
        changed = ChangedKeys(flow.target.table)
        async with (
            open_client(settings.source) as source,
            open_client(settings.target) as target,
            open_fence_client(settings.source) as client,
        ):
            fence = SourceFence(client, identity.run_id, seconds=order.fence_seconds)
            await proof.begin(source, target)
            before = await self._prepare(fence)
            self._happen(CutoverEvent.PREPARED)
            with flow.watching(changed):
                if order.verify:
                    await proof.every_key(changed)
                with anyio.move_on_after(order.timeout_seconds) as waiting:
                    await self._settled()
                if waiting.cancelled_caught:
                    raise Failed(Outcome.TIMED_OUT, "keys still wait for their true expiry, or to be copied again")
                self._happen(CutoverEvent.VERIFIED)
                self._fenced_at = time.monotonic()
                await self._fence(fence, tasks)
                self._happen(CutoverEvent.FENCED)
                await self._applied()
                if order.reverse:
                    # The note changes, so that the checkpoint is written.
                    await self._way_back.find(lambda: self._note(CutoverNote(False, before, self._end)))
            with flow.watching(ChangedKeys(flow.target.table)) as late:
                self._happen(CutoverEvent.APPLIED)
                if order.verify:
                    await proof.changed_keys(changed)
                self._happen(CutoverEvent.COMPARED)
                if order.hook:
                    await order.hook_succeeded.wait()
                self._happen(CutoverEvent.HOOK_SUCCEEDED)
                await self._close(fence, before, late)

    async def _prepare(self, fence: SourceFence) -> dict[str, str]:
        """Have the checkpoint note what the lasting fence changes on the source; return that."""
        order = self._order
        _check_primary(await fence.info())
        before: dict[str, str] = {}
        if order.fence == "replicas":
            before = await fence.configuration()
        elif order.fence == "acl":
            before = await fence.users.rules(order.users)
        await self._note(CutoverNote(False, before))
        if order.fence == "replicas":
            await fence.prove(before)
        return before

    async def _fence(self, fence: SourceFence, tasks: TaskGroup) -> None:
        order = self._order
        if order.fence == "none" and not order.reverse:
            info = await fence.info()
        else:
            info = await fence.pause()
            tasks.start_soon(self._renew, fence)
        _check_primary(info)
        if info.replication.replid != self._flow.status.stream.replid or info.replication.offset is None:
            raise Failed(Outcome.FAILED, "the source has begun another history")
        self._end = info.replication.offset

    async def _renew(self, fence: SourceFence) -> None:
        """Pause writers again and again, so that the source opens by itself once nobody does."""
        try:
            held = True
            while held:
                await anyio.sleep(self._order.fence_seconds / RENEWALS)
                held = await fence.renew()
        except (LinkError, ReplyError) as error:
            self._given_up = Failed(Outcome.FAILED, f"the fence could not be renewed: {error}")

    async def _applied(self) -> None:
        """Return once the target has applied everything up to the end offset."""
        await until(lambda: self._flow.acknowledged_offset >= self._end, POLL_SECONDS)
        await self._settled()

    async def _settled(self) -> None:
        """Return once no key of the target waits for its true expiry, to be copied, or to be compared."""
        await until(lambda: self._flow.settled, POLL_SECONDS)

    async def _close(self, fence: SourceFence, before: dict[str, str], late: ChangedKeys) -> None:
        """Make the fence last, and have the checkpoint say that the cutover is done."""
        order = self._order
        if order.fence == "none" and not order.reverse:
            # Without a fence keys still expire on the source, and an application that was stopped late still writes.
            self._end = (await fence.info()).replication.offset or self._end
            await self._applied()
            if order.verify:
                await self._proof.changed_keys(late)
        # A key that expires on the source behind the fence may have got a new value on the target.
        self._flow.intake.hold()
        if (order.fence != "none" or order.reverse) and (len(late) or not late.complete):
            raise Failed(Outcome.FAILED, "the source was written to behind the fence: has somebody lifted it?")
        if order.fence == "replicas":
            await fence.shut(before)
        elif order.fence == "acl":
            await fence.users.shut(order.users, before)
        elif order.fence == "pause":
            await fence.pause()
        if order.reverse:
            # A pause would hold the worker's own write. Until the note below, this checkpoint counts for nothing.
            await fence.unpause()
            await self._way_back.record(before)
        self._check_aborted()
        await self._note(CutoverNote(True, before, self._end, time.time(), order.reverse))
        self._check_aborted()
        self._happen(CutoverEvent.CONFIRMED)
        # With the last checkpoint, at the drain. A replication that is turned round is not complete.
        self._flow.target.complete = self._settings.mode == "migrate" and not order.reverse
        if order.fence in LASTING and not order.reverse:
            await self._let_writers_fail(fence)
        self._done_at = time.monotonic()

    def _check_aborted(self) -> None:
        """Raise Failed once an abort was answered: up to the last moment it takes effect."""
        if self._order.aborted:
            raise Failed(Outcome.ABORTED, self._order.aborted)

    async def _let_writers_fail(self, fence: SourceFence) -> None:
        """Let the held writers continue: the source refuses them now. Without this they wait for the pause's end."""
        try:
            try:
                await fence.unpause()
            except LinkError:
                async with open_fence_client(self._settings.source) as client:
                    await SourceFence(client, "", seconds=0).unpause()
        except (LinkError, ReplyError) as error:
            log.warning("the held writers wait for the pause to end", error=str(error))

    async def _look_after(self, scope: anyio.CancelScope) -> None:
        """Give up on an abort, on a timeout, without the command that asked, or when the stream breaks."""
        while self._given_up is None:
            self._flow.status.heartbeat(NAME, within=60.0)
            self._given_up = self._why_give_up()
            await anyio.sleep(0 if self._given_up else LOOK_SECONDS)
        if self._state.phase is not CutoverPhase.DONE:
            scope.cancel()

    def _why_give_up(self) -> Failed | None:
        flow, order = self._flow, self._order
        if order.aborted:
            return Failed(Outcome.ABORTED, order.aborted)
        if flow.lifecycle.run is not RunState.RUNNING:
            return Failed(Outcome.INTERRUPTED, "the worker was stopped")
        if order.attended and time.monotonic() - order.attended_at > order.fence_seconds / 2:
            return Failed(Outcome.ABORTED, "the command that asked for the cutover is gone")
        if self._fenced_at and time.monotonic() - self._fenced_at > order.timeout_seconds:
            return Failed(
                Outcome.TIMED_OUT, f"not done within {order.timeout_seconds:g} s of fenced writes (--timeout)"
            )
        if flow.status.state is not State.STREAMING and self._state.phase in WATCHED:
            return Failed(Outcome.FAILED, f"state is {flow.status.state}")
        return None


def _check_primary(info: ServerInfo) -> None:
    """Raise Failed for a replica: a fence there keeps nobody from writing to its primary."""
    if info.replication.is_replica:
        raise Failed(
            Outcome.REFUSED,
            "the source is a replica, and its primary would still take writes: name the primary in source.url",
        )
