"""The control verbs of a running worker, one method each. Requests come from the health server's thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from anyio.from_thread import BlockingPortal

from shaker.flow.flow import Flow
from shaker.flow.lifecycle import RunState
from shaker.flow.rates import RATES
from shaker.jobs.verify import Verify
from shaker.jobs.verify_walk import Selection
from shaker.jobs.verify_wanted import Wanted
from shaker.watch.http.control import ControlError

Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Control:
    """The verbs of one worker. `portal` leads into its event loop.

    `aborts` end something that an operator began: each returns its name, empty where there is nothing to end.
    """

    def __init__(self, flow: Flow, verify: Verify, portal: BlockingPortal) -> None:
        self._flow = flow
        self._verify = verify
        self._portal = portal
        self.aborts: list[Callable[[], str]] = [lambda: "verification" if verify.abort() else ""]
        self.verbs: dict[str, Verb] = {
            "verify": self._verify_now,
            "ack": self._acknowledge,
            "pause": self._pause,
            "resume": self._resume,
            "abort": self._abort,
            "rate": self._rate,
        }

    async def __call__(self, verb: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Run a verb in the worker's event loop; called from that of the health server. Raises ControlError."""
        handler = self.verbs.get(verb)
        if handler is None:
            raise ControlError(f"there is no control {verb}", status=404)
        return await anyio.to_thread.run_sync(self._portal.call, handler, fields, abandon_on_cancel=True)

    async def _verify_now(self, fields: dict[str, Any]) -> dict[str, Any]:
        wanted = wanted_of(fields)
        self._check_running()
        self._verify.ask(wanted)
        return {"id": wanted.number}

    async def _acknowledge(self, fields: dict[str, Any]) -> dict[str, Any]:
        _only(fields, ())
        self._check_running()
        cleared = self._flow.status.stream.commands_rejected
        self._flow.target.rejections_judged = True
        return {"cleared": cleared}

    async def _pause(self, fields: dict[str, Any]) -> dict[str, Any]:
        _only(fields, ())
        self._check_running()
        self._flow.pause("control")
        pause = self._flow.status.traffic.pause
        left = pause.overflows_in_seconds
        return {
            "overflows_in_seconds": None if left is None else round(left, 1),
            "overflow_reason": pause.overflow_reason if left is not None else None,
        }

    async def _resume(self, fields: dict[str, Any]) -> dict[str, Any]:
        _only(fields, ())
        self._check_running()
        paused = self._flow.intake.held
        if not (self._flow.allow_deletions() or paused):
            raise ControlError("the worker is not paused and holds no deletions")
        allowed = self._flow.target.deletions_allowed
        if paused:
            self._flow.unpause("control")
        return {"resumed": paused, "deletions_allowed": allowed}

    async def _abort(self, fields: dict[str, Any]) -> dict[str, Any]:
        _only(fields, ())
        ended = [name for abort in self.aborts if (name := abort())]
        if not ended:
            raise ControlError("nothing is running that could be aborted")
        return {"aborted": ended}

    async def _rate(self, fields: dict[str, Any]) -> dict[str, Any]:
        _only(fields, RATES)
        for name, limit in fields.items():
            if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
                raise ControlError(f"{name} must be a whole number above 0, or null", status=400)
        self._check_running()
        self._flow.limit(fields)
        return {"rates": self._flow.intake.rates.limits}

    def _check_running(self) -> None:
        if self._flow.lifecycle.run is not RunState.RUNNING:
            raise ControlError(f"the worker is {self._flow.status.state}")


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
