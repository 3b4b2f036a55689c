"""The job of cutovers: carries out orders, lifts the fence after each failure, and undoes what a killed worker left.

The phases and what changes them are in `shaker.model.cutover`. The note in the checkpoint is written before the
source's configuration is touched, so that a later worker can undo it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final

import anyio
import structlog

from shaker.errors import LinkError
from shaker.flow.flow import Flow
from shaker.jobs.cutover_attempt import NAME, POLL_SECONDS, Attempt
from shaker.jobs.cutover_order import Order, Outcome
from shaker.jobs.source_fence import SourceFence, refused_fences
from shaker.jobs.user_fence import refused_users
from shaker.jobs.verify import Verify
from shaker.jobs.way_back import WayBack, WriteTurned, refused_way_back
from shaker.model.cutover import FENCES, CutoverEvent, CutoverNote, CutoverPhase, Turn
from shaker.net.client import open_client, open_fence_client
from shaker.net.connection import ReplyError
from shaker.settings.endpoints import Endpoint
from shaker.settings.schema import Settings
from shaker.watch.cutover import CutoverState

log = structlog.get_logger("shaker.cutover")

IDLE_SECONDS: Final = 1.0
LIFT_SECONDS: Final = 5.0
NOTE_SECONDS: Final = 1.0  # a target that is out of reach does not keep the source shut


class Cutover:
    """The job: carries out one order at a time. `completed` is set once the worker may end after a cutover."""

    name = NAME
    quiet = True
    pause_seconds = 1.0

    def __init__(
        self, settings: Settings, flow: Flow, verify: Verify, state: CutoverState, *, write_turned: WriteTurned
    ) -> None:
        self._settings = settings
        self._flow = flow
        self._verify = verify
        self.state = state
        self.completed = anyio.Event()
        self.undone = anyio.Event()  # what an earlier worker left behind is undone
        self.turned = False  # the completed cutover has turned the replication round
        self.attached = AsyncExitStack()  # what keeps the target's stream for the way back
        self.shut: Mapping[
            str, str
        ] = {}  # rules of users to restore on the source: it takes writes of applications
        self._write_turned = write_turned
        self._owed = False  # the fence could not be lifted
        self._order: Order | None = None
        self._ordered = anyio.Event()
        if settings.control.token_file is None:
            state.refused = dict.fromkeys(FENCES, "control.token_file is not set: the worker takes no commands")

    def order(self, order: Order) -> None:
        """Have `order` carried out; the caller has checked that it is possible."""
        self.state.number += 1
        self.state.report = None
        order.attended_at = time.monotonic()  # the checks before it may have taken long
        self._order = order
        self._ordered.set()

    @property
    def busy(self) -> Order | None:
        """The order that is being carried out."""
        return self._order

    async def probe(self) -> None:
        """Find out which fences the source allows; raises LinkError."""
        source = self._settings.source
        async with open_client(source) as client:
            self.state.refused = await refused_fences(client, source.acl_user, await client.info("server"))

    async def refused(self, order: Order) -> list[str]:
        """Return what about an order the source does not allow, one sentence each; raises LinkError."""
        source, refused = self._settings.source, []
        if order.users:
            async with open_client(source) as client:
                refused = await refused_users(client, source.acl_user, order.users)
        if order.reverse:
            refused += await refused_way_back(self._settings, order)
            if order.fence == "none" and (why := self.state.refused.get("pause")):
                refused.append(why)  # its writers are paused for the turn
        return refused

    async def run(self) -> None:
        """Carry out orders until cancelled; first undo what a worker left behind that was killed meanwhile."""
        await self._flow.source.identified.wait()
        await self._flow.target.ready.wait()
        await self._undo_reported()
        self.undone.set()
        if self._flow.target.reopening:
            self.completed.set()
        if self._settings.control.token_file is not None:
            await self.probe()
        while True:
            self._flow.status.heartbeat(self.name, within=60.0)
            if self._owed:
                await self._undo_reported()
            with anyio.move_on_after(IDLE_SECONDS):
                await self._ordered.wait()
            if self._order is not None:
                await self._carry_out(self._order)
                self._order, self._ordered = None, anyio.Event()

    async def _carry_out(self, order: Order) -> None:
        began = time.time()
        self._verify.held = True
        self._happen(CutoverEvent.STARTED)
        way_back = WayBack(self._settings, self._flow, self._write_turned, self.attached)
        attempt = Attempt(
            self._settings, self._flow, self._verify, self.state, order, self._note, self._happen, way_back
        )
        outcome, reason = Outcome.INTERRUPTED, "the worker was stopped"
        try:
            outcome, reason = await attempt.make()
        finally:
            with anyio.CancelScope(shield=True):
                lifted = self.state.phase is CutoverPhase.DONE or await self._lift()
                if self.state.phase is CutoverPhase.DONE:
                    await self._open_target()
                else:
                    self._flow.intake.release()
                    await self.attached.aclose()
            self._verify.held = False
            self.state.report = {
                "kind": "cutover",
                "outcome": str(outcome),
                "reason": reason,
                "source_open": outcome is not Outcome.DONE and lifted,
                "fence": order.fence,
                "fence_acl": dict(order.users) or None,
                "reverse": order.reverse,
                "began": round(began, 3),
                "seconds": round(time.time() - began, 3),
                **attempt.report(),
                "timeline": [{"phase": phase, "at": round(at, 3)} for phase, at in self.state.timeline],
                "source": self._flow.status.source.address,
                "target": self._flow.status.target.address,
            }
            log.info("cutover ended", outcome=str(outcome), reason=reason or None, **attempt.report())
        if outcome is Outcome.DONE:
            self.turned = order.reverse
            if order.attended:
                with anyio.move_on_after(order.fence_seconds):
                    await order.fetched.wait()
            self.completed.set()

    async def _open_target(self) -> None:
        """Give the users of the target back the rules that the fence of an earlier cutover has replaced there."""
        notes = self._flow.target.notes
        turn = Turn.parse(notes.turned or "")
        if not turn.shut:
            return
        try:
            with anyio.fail_after(LIFT_SECONDS):
                await self._give_back(self._settings.target, turn.shut)
        except (LinkError, ReplyError, TimeoutError) as error:
            log.warning("users of the target have no rights yet", rules=dict(turn.shut), error=str(error))
        else:
            notes.turned = str(turn._replace(shut={}))
            self._flow.wakeups.note.set()

    async def _give_back(self, endpoint: Endpoint, shut: Mapping[str, str]) -> None:
        async with open_fence_client(endpoint) as client:
            await SourceFence(client, "", seconds=0).open(shut)
        log.info("users may write again", side=endpoint.side, rules=dict(shut))

    def _happen(self, event: CutoverEvent) -> None:
        self.state.happen(event)
        log.info("cutover", phase=str(self.state.phase))

    async def _note(self, note: CutoverNote | None) -> None:
        """Return once the checkpoint has the note, None for none."""
        flow = self._flow
        text = "" if note is None else str(note)
        flow.target.notes.cutover = text
        while flow.target.checkpoint is None or flow.target.checkpoint.cutover != text:
            flow.wakeups.note.set()
            await anyio.sleep(POLL_SECONDS)

    async def _lift(self) -> bool:
        """Let the source take writes again; False where that did not succeed in time, and is tried again later."""
        if self.state.phase is not CutoverPhase.LIFTING:
            self._happen(CutoverEvent.GIVEN_UP)
        self._owed = True
        try:
            with anyio.move_on_after(LIFT_SECONDS):
                await self._undo()
        except (LinkError, ReplyError) as error:
            log.warning("the fence is not lifted yet", error=str(error))
        self._happen(CutoverEvent.LIFTED)
        return not self._owed

    async def _undo_reported(self) -> None:
        """Undo, and have `/readyz` name what keeps the source shut; raises as `_undo`."""
        reasons = self._flow.status.reasons
        try:
            await self._undo()
        except (LinkError, ReplyError) as error:
            reasons["fence"] = f"the fence of an unfinished cutover is not lifted yet: {error}"
            raise
        reasons.pop("fence", None)

    async def _undo(self) -> None:
        """Undo what the note says that an interrupted cutover did to the source; raises LinkError."""
        if self.shut:
            await self._give_back(self._settings.source, self.shut)
            self.shut = {}
        target = self._flow.target
        text = target.notes.cutover
        if text is None:
            text = target.checkpoint.cutover if target.checkpoint is not None else ""
        note = CutoverNote.parse(text)
        if note is None:
            self._owed = False
            return
        if note.done:
            # A worker that is killed behind this finds that the cutover was not completed.
            with anyio.move_on_after(NOTE_SECONDS):
                await self._note(note._replace(done=False))
        async with open_fence_client(self._settings.source) as client:
            await SourceFence(client, "", seconds=0).open(note.before)
        log.info("the source takes writes", configuration=dict(note.before) or None)
        self._owed = False
        target.notes.cutover = ""
        self._flow.wakeups.note.set()
