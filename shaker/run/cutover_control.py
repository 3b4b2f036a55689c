"""The control verb `cutover`, which begins a cutover or reports its progress, and its part of `abort`."""

from __future__ import annotations

import time
from typing import Any, Final

from shaker.errors import LinkError
from shaker.jobs.cutover import Cutover
from shaker.jobs.cutover_order import Order
from shaker.model.cutover import FENCES, CutoverPhase, rule_fault
from shaker.run.control import Control
from shaker.watch.cutover_document import MAX_LAG_SECONDS, impossible
from shaker.watch.http.control import ControlError
from shaker.watch.status import Status

FLAGS: Final = ("verify", "hook", "attended", "dry_run", "reverse")
SECONDS: Final = {"timeout": 30.0, "fence_seconds": 10.0, "max_lag": MAX_LAG_SECONDS}
PROGRESS: Final = frozenset(("id", "proceed", "abort"))


class CutoverControl:
    """The verbs of one worker; called in its event loop."""

    def __init__(self, status: Status, cutover: Cutover) -> None:
        self._status = status
        self._cutover = cutover

    def join(self, control: Control) -> Control:
        """Add the verb and what `abort` ends to those of `control`; return it."""
        control.verbs["cutover"] = self.cutover
        control.aborts.insert(0, self.abort)  # before the verification that the cutover waits for
        return control

    async def cutover(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Begin a cutover, or with `id` report the progress of one.

        `proceed` says that the hook has succeeded, `abort` why the cutover has to end.
        Raises ControlError: 400 for a field that is wrong, 409 with every reason where no cutover is possible.
        """
        if "id" in fields:
            return self._progress(fields)
        order, max_lag, dry_run = order_of(fields)
        if self._cutover.state.phase is CutoverPhase.IDLE:
            try:
                await self._cutover.probe()
            except LinkError as error:
                raise ControlError(f"the source does not answer: {error}") from error
        reasons = impossible(self._status, fence=order.fence, max_lag_seconds=max_lag)
        reasons += await self._refused(order)
        if not self._cutover.undone.is_set():
            reasons.append("an earlier cutover is not undone yet")
        if reasons:
            raise ControlError("; ".join(reasons))
        if dry_run:
            return {"possible": True, "verification": self._status.verification.document(time.time())}
        self._cutover.order(order)
        return {"id": self._cutover.state.number, "reversed": self._cutover.state.reversed}

    async def _refused(self, order: Order) -> list[str]:
        try:
            return await self._cutover.refused(order)
        except LinkError as error:
            raise ControlError(f"the source does not answer: {error}") from error

    def _progress(self, fields: dict[str, Any]) -> dict[str, Any]:
        if set(fields) - PROGRESS:
            raise ControlError("only id, proceed and abort belong together", status=400)
        state, order = self._cutover.state, self._cutover.busy
        if fields["id"] != state.number:
            raise ControlError(f"there is no cutover {fields['id']}: the last one is {state.number}")
        if order is not None:
            order.attended_at = time.monotonic()
            if isinstance(reason := fields.get("abort"), str):
                order.aborted = order.aborted or f"aborted: {reason[:200]}"
            if fields.get("proceed") is True and state.phase is CutoverPhase.HOOK:
                order.hook_succeeded.set()
            if state.report is not None:
                order.fetched.set()
        return {"phase": str(state.phase), "keys_left": state.keys_left, "report": state.report}

    def abort(self) -> str:
        """Have the cutover that is under way end and the source take writes again; empty where there is none."""
        order = self._cutover.busy
        if order is None or self._cutover.state.phase is CutoverPhase.DONE:
            return ""
        order.aborted = order.aborted or "aborted"
        return "cutover"


def order_of(fields: dict[str, Any]) -> tuple[Order, float, bool]:
    """Return the order of a body, its maximum lag in seconds, and whether it is only a question."""
    if unknown := sorted(set(fields) - {"fence", "fence_acl", *FLAGS, *SECONDS}):
        raise ControlError(f"{unknown[0]} is not a field of this control", status=400)
    fence = fields.get("fence", FENCES[0])
    if fence not in FENCES:
        raise ControlError(f"fence must be one of {', '.join(FENCES)}", status=400)
    users = fields.get("fence_acl") or {}
    if not isinstance(users, dict) or not all(isinstance(each, str) for pair in users.items() for each in pair):
        raise ControlError("fence_acl must have an ACL rule for each user", status=400)
    for rules in users.values():
        if why := rule_fault(rules):
            raise ControlError(f"fence_acl: {why}", status=400)
    if users and "fence" in fields:
        raise ControlError("fence and fence_acl exclude each other", status=400)
    for name in FLAGS:
        if not isinstance(fields.get(name, False), bool):
            raise ControlError(f"{name} must be true or false", status=400)
    seconds = {}
    for name, default in SECONDS.items():
        value = fields.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 86400:
            raise ControlError(f"{name} must be a number of seconds, up to 86400", status=400)
        seconds[name] = float(value)
    if seconds["fence_seconds"] < 1:
        raise ControlError("fence_seconds must be at least 1", status=400)
    order = Order(
        fence="acl" if users else fence,
        users=users,
        timeout_seconds=seconds["timeout"],
        fence_seconds=seconds["fence_seconds"],
        verify=fields.get("verify", True),
        hook=fields.get("hook", False),
        attended=fields.get("attended", False),
        reverse=fields.get("reverse", False),
    )
    return order, seconds["max_lag"], fields.get("dry_run", False)
