"""The proof of a cutover: every key is compared before the fence, and those that changed since within it."""

from __future__ import annotations

from typing import Any, Final

import anyio

from shaker.flow.flow import Flow
from shaker.flow.watch import ChangedKeys
from shaker.jobs.cutover_order import Failed, Outcome
from shaker.jobs.verify import Verify
from shaker.jobs.verify_page import Sides, fields_expire, sides_of
from shaker.jobs.verify_wanted import Wanted
from shaker.net.client import Client
from shaker.settings.schema import Settings
from shaker.watch.cutover import CutoverState
from shaker.watch.verification import Findings, named

# Rounds end when few keys are left to compare, or a round leaves not fewer than the one before.
FEW_KEYS: Final = 300
SHRINKING: Final = 0.7
LOOK_SECONDS: Final = 0.1


class Proof:
    """Compares for one cutover; raises Failed where a key differs."""

    def __init__(self, settings: Settings, flow: Flow, verify: Verify, state: CutoverState) -> None:
        self._settings = settings
        self._flow = flow
        self._verify = verify
        self._state = state
        self._sides: Sides | None = None
        self._fields = False
        self._busy: dict[int, set[bytes]] = {}  # keys that changed too often to be compared under load
        self._whole: dict[str, Any] | None = None
        self._keys_fenced = self._rounds = 0
        self._examples: list[dict[str, Any]] = []

    async def begin(self, source: Client, target: Client) -> None:
        """Take the clients to read with; raises LinkError where they lead to other servers."""
        identity = self._flow.source.identity
        run_id = "" if identity is None else identity.run_id
        infos = [await source.info_of(run_id), await target.info_of(self._flow.target.run_id)]
        self._sides, self._fields = sides_of(source, target, infos), fields_expire(infos)

    def document(self) -> dict[str, Any]:
        """Return the `verification` part of the report."""
        whole = self._whole or {}
        return {
            "keys_compared": whole.get("keys_compared", 0),
            "bytes_compared": whole.get("bytes_compared", 0),
            "seconds": whole.get("seconds", 0.0),
            "rounds": self._rounds,
            "keys_compared_fenced": self._keys_fenced,
            "examples": self._examples,
        }

    async def every_key(self, changed: ChangedKeys) -> None:
        """Compare every key once, and again those that `changed` meanwhile until few are left."""
        await self._pass()
        before = float("inf")
        while changed.complete and FEW_KEYS < len(changed) < SHRINKING * before:
            before = self._state.keys_left = len(changed)
            self._rounds += 1
            await self._compare(changed.take(), fenced=False)

    async def changed_keys(self, changed: ChangedKeys) -> None:
        """Compare within the fence what `changed` since it was compared last, or every key where that is not known."""
        if not changed.complete:
            await self._pass()
            return
        keys = changed.take()
        for database, busy in self._busy.items():
            keys.setdefault(database, set()).update(busy)
        self._keys_fenced = self._state.keys_left = sum(map(len, keys.values()))
        await self._compare(keys, fenced=True)
        self._state.keys_left = 0

    async def _pass(self) -> None:
        wanted = Wanted()
        ended = self._verify.ask(wanted)
        try:
            await ended.wait()
        finally:
            self._verify.withdraw(wanted)
        if wanted.findings is None:
            raise Failed(Outcome.ABORTED, "the verification was aborted")
        self._whole = wanted.report
        self._judge(wanted.findings)

    async def _compare(self, keys: dict[int, set[bytes]], *, fenced: bool) -> None:
        assert self._sides is not None  # `begin` comes first
        while True:
            findings = await self._verify.compare(
                self._sides, Wanted(only=keys, fenced=fenced), fields=self._fields
            )
            if findings is not None:
                self._judge(findings)
                return
            await anyio.sleep(LOOK_SECONDS)  # the stream is interrupted, which passes or ends the cutover

    def _judge(self, findings: Findings) -> None:
        for database, key in findings.too_busy:
            self._busy.setdefault(database, set()).add(key)
        if findings.differences:
            first = next(iter(findings.differences.values()))
            self._examples = findings.report(0.0)["examples"]
            count = len(findings.differences) + findings.more
            raise Failed(
                Outcome.DIFFERENT,
                f"{count} {'key differs' if count == 1 else 'keys differ'}, the first: {named(first)}",
            )
