"""The job of cutovers: carries out orders, lifts the fence after each failure, and undoes what a killed worker left.

The phases and what changes them are in `shaker.model.cutover`. The note in the checkpoint is written before the
source's configuration is touched, so that a later worker can undo it.
"""

from __future__ import annotations

import time
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
from shaker.model.cutover import FENCES, CutoverEvent, CutoverNote, CutoverPhase
from shaker.net.client import open_client, open_fence_client
from shaker.net.connection import ReplyError
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

    def __init__(self, settings: Settings, flow: Flow, verify: Verify, state: CutoverState) -> None:
        self._settings = settings
        self._flow = flow
        self._verify = verify
        self.state = state
        self.completed = anyio.Event()
        self.undone = anyio.Event()  # what an earlier worker left behind is undone
        self._owed = False  # the fence could not be lifted
        self._order: Order | None = None
        self._ordered = anyio.Event()
        if settings.control.token_file is None:
            state.refused = dict.fromkeys(FENCES, "control.token_file is not set: the worker takes no commands")

    def order(self, order: Order) -> None:
        """Have `order` carried out; the caller has checked that it is possible."""
        self.state.number += 1
        self.state.report = None
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
        if not order.users:
            return []
        source = self._settings.source
        async with open_client(source) as client:
            return await refused_users(client, source.acl_user, order.users)

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
        attempt = Attempt(self._settings, self._flow, self._verify, self.state, order, self._note, self._happen)
        outcome, reason = Outcome.INTERRUPTED, "the worker was stopped"
        try:
            outcome, reason = await attempt.make()
        finally:
            with anyio.CancelScope(shield=True):
                lifted = self.state.phase is CutoverPhase.DONE or await self._lift()
                if self.state.phase is not CutoverPhase.DONE:
                    self._flow.intake.release()
            self._verify.held = False
            self.state.report = {
                "kind": "cutover",
                "outcome": str(outcome),
                "reason": reason,
                "source_open": outcome is not Outcome.DONE and lifted,
                "fence": order.fence,
                "fence_acl": dict(order.users) or None,
                "began": round(began, 3),
                "seconds": round(time.time() - began, 3),
                **attempt.report(),
                "timeline": [{"phase": phase, "at": round(at, 3)} for phase, at in self.state.timeline],
                "source": self._flow.status.source.address,
                "target": self._flow.status.target.address,
            }
            log.info("cutover ended", outcome=str(outcome), reason=reason or None, **attempt.report())
        if outcome is Outcome.DONE:
            if order.attended:
                with anyio.move_on_after(order.fence_seconds):
                    await order.fetched.wait()
            self.completed.set()

    def _happen(self, event: CutoverEvent) -> None:
        self.state.happen(event)
        log.info("cutover", phase=str(self.state.phase))

    async def _note(self, note: CutoverNote | None) -> None:
        """Return once the checkpoint has the note, None for none."""
        flow = self._flow
        text = "" if note is None else str(note)
        flow.target.cutover = text
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
        target = self._flow.target
        text = target.cutover
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
        target.cutover = ""
        self._flow.wakeups.note.set()
