"""The control verbs of a running worker, one method each. Requests come from the health server's thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
from anyio.from_thread import BlockingPortal

from shaker.flow.flow import Flow
from shaker.jobs.verify import Verify, Wanted
from shaker.jobs.verify_walk import Selection
from shaker.watch.http.control import ControlError

Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
ANSWER_SECONDS: Final = 10.0


class Control:
    """The verbs of one worker. `portal` leads into its event loop."""

    def __init__(self, flow: Flow, verify: Verify, portal: BlockingPortal) -> None:
        self._flow = flow
        self._verify = verify
        self._portal = portal
        self._verbs: dict[str, Verb] = {"verify": self._verify_now, "ack": self._acknowledge}

    async def __call__(self, verb: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Run a verb in the worker's event loop; called from that of the health server. Raises ControlError."""
        handler = self._verbs.get(verb)
        if handler is None:
            raise ControlError(f"there is no control {verb}", status=404)
        return await anyio.to_thread.run_sync(self._portal.call, handler, fields, abandon_on_cancel=True)

    async def _verify_now(self, fields: dict[str, Any]) -> dict[str, Any]:
        wanted = wanted_of(fields)
        self._verify.ask(wanted)
        return {"id": wanted.number}

    async def _acknowledge(self, fields: dict[str, Any]) -> dict[str, Any]:
        _only(fields, ())
        cleared = self._flow.status.stream.commands_rejected
        self._flow.target.rejections_judged = True
        return {"cleared": cleared}


def wanted_of(fields: dict[str, Any]) -> Wanted:
    """Return the pass that a body asks for. Raises ControlError naming the field that is wrong."""
    _only(fields, ("keys_only", "sample", "pattern", "database", "rate", "repair"))
    for name in ("keys_only", "repair"):
        if not isinstance(fields.get(name, False), bool):
            raise ControlError(f"{name} must be true or false", status=400)
    sample, database = fields.get("sample", 100.0), fields.get("database")
    pattern, rate = fields.get("pattern", ""), fields.get("rate") or 0.0
    if isinstance(sample, bool) or not isinstance(sample, int | float) or not 0 < sample <= 100:
        raise ControlError("sample must be a percentage above 0, up to 100", status=400)
    if database is not None and (isinstance(database, bool) or not isinstance(database, int) or database < 0):
        raise ControlError("database must be a number from 0 on", status=400)
    if not isinstance(pattern, str):
        raise ControlError("pattern must be a text", status=400)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or rate < 0:
        raise ControlError("rate must be a number of keys a second", status=400)
    return Wanted(
        Selection(pattern.encode("utf-8", "surrogateescape"), database, float(sample)),
        keys_only=fields.get("keys_only", False),
        repair=fields.get("repair", False),
        keys_per_second=float(rate),
    )


def _only(fields: dict[str, Any], known: tuple[str, ...]) -> None:
    if unknown := sorted(set(fields) - set(known)):
        raise ControlError(f"{unknown[0]} is not a field of this control", status=400)
