"""Verification: passes over all keys of both servers that prove each one equal at one offset, while the stream runs.

A pass walks over the source's keys, then over the target's keys that the source lacks. A key that differs is compared
again at further barriers, and counts as different when none of them finds it equal. Passes follow each other at a
gentle rate. A request (`shaker verify`) gets a pass of its own, at its own rate, in between.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import anyio
import structlog

from shaker.apply.records import copying_key, doubtful_key, expiring_key, unconfirmed_key
from shaker.codec.resp.replies import encode
from shaker.compare.copies import Tolerance
from shaker.errors import LinkError
from shaker.flow.flow import Flow
from shaker.jobs.barrier import BarrierError, Barriers
from shaker.jobs.verify_large import LargeComparison
from shaker.jobs.verify_libraries import LibraryComparison
from shaker.jobs.verify_pace import VerifyPace
from shaker.jobs.verify_page import PageComparison, Sides, fields_expire, sides_of, tolerance
from shaker.jobs.verify_pass import VerifyPass
from shaker.jobs.verify_walk import Position, Selection
from shaker.jobs.verify_wanted import Wanted
from shaker.model.batch import CommandRun
from shaker.model.position import Phase
from shaker.model.server_info import ServerInfo
from shaker.net.client import open_client
from shaker.net.connection import ReplyError
from shaker.settings.schema import Settings
from shaker.watch.status import State
from shaker.watch.verification import Findings, Pass, Verification, named

log = structlog.get_logger("shaker.verify")

POLL_SECONDS: Final = 0.2  # from one check for work to the next
FAILED_SECONDS: Final = 2.0  # after a failure
SAVE_SECONDS: Final = 5.0  # from one saved position to the next
REST_SECONDS: Final = 1.0  # between two passes, at least
# While nobody writes to the source, nothing is lost by long comparisons.
FENCED_SECONDS: Final = 0.5
FENCED_KEYS: Final = 2000


class Verify:
    """The job. `wanted` are passes that were asked for; the first of them is at work."""

    name = "verify"
    pause_seconds = FAILED_SECONDS

    def __init__(self, settings: Settings, flow: Flow, barriers: Barriers, verification: Verification) -> None:
        self._settings = settings
        self._flow = flow
        self._barriers = barriers
        self._verification = verification
        self._wanted: list[Wanted] = []
        self._asked = 0
        self._position, self._findings = Position(), Findings(Pass(began=time.time()))  # of the continuous pass
        self._safe = self._position  # of the continuous pass, before its first difference
        self._restored = False
        self._saved = 0.0
        self.held = False  # only passes that were asked for are made: a cutover is under way
        verification.enabled = settings.verify.continuous
        # It logs its own failures. None of them ends a one-off mode, unless that waits for a pass.
        self.quiet = not (settings.mode == "migrate" and settings.migrate.verify)

    def ask(self, wanted: Wanted) -> anyio.Event:
        """Have a pass made for `wanted`, which gets its number; the event is set at the end of the pass."""
        self._asked += 1
        wanted.number = self._asked
        self._wanted.append(wanted)
        self._verification.requested = {"id": wanted.number, "running": True, "report": None}
        return wanted.ended

    @property
    def progress(self) -> int:
        """A number that changes while a pass gets further."""
        counted = self._verification.current.counted
        return self._verification.keys_compared + counted.keys + counted.passed

    def abort(self) -> bool:
        """End the passes that were asked for, without reports; False where there are none."""
        aborted = bool(self._wanted)
        for wanted in tuple(self._wanted):
            self.withdraw(wanted)
        return aborted

    def withdraw(self, wanted: Wanted) -> None:
        """End a pass that was asked for without a report, if it has not ended."""
        if wanted in self._wanted:
            self._wanted.remove(wanted)
            wanted.aborted = True
            self._verification.requested = {"id": wanted.number, "running": False, "report": None}
            wanted.ended.set()

    async def compare(self, sides: Sides, wanted: Wanted, *, fields: bool) -> Findings | None:
        """Compare the `wanted` keys at once, beside the passes; None where the stream's state does not allow it."""
        one = self._pass_of(sides, wanted, fields=fields)
        if not await one.make():
            return None
        await self._compare_libraries(sides, wanted, one.findings)
        return one.findings

    async def run(self) -> None:
        """Verify until cancelled. After a failure the next run resumes the pass where it was."""
        while True:
            self._heartbeat()
            self._restore()
            if reason := self._why_not():
                self._rest(reason)
            else:
                try:
                    await self._work()
                except (LinkError, ReplyError) as error:
                    self._failed(error)
                    raise
            await anyio.sleep(POLL_SECONDS)

    def _heartbeat(self) -> None:
        self._flow.status.heartbeat("verify", within=120.0)

    def _restore(self) -> None:
        """Resume the pass of the worker before this one, once its checkpoint is known."""
        checkpoint = self._flow.target.checkpoint
        if self._restored or checkpoint is None:
            return
        self._restored = True
        if checkpoint.phase == Phase.STREAM and checkpoint.verified:
            self._position = self._safe = Position.parse(self._verification.restore(checkpoint.verified))
            self._findings = self._verification.current

    def _reached(self, position: Position, findings: Findings, *, continuous: bool) -> None:
        """Publish the differences found so far. Save a position that no difference lies before.

        A checkpoint keeps no differences: the next worker has to find them again.
        """
        if findings.differences or findings.equal_again:
            self._verification.take(findings, whole=False)
            self._name_differences()
        if continuous and findings.clean:
            self._safe = position
            self._save()

    def _save(self) -> None:
        now = time.monotonic()
        if now - self._saved >= SAVE_SECONDS:
            self._saved = now
            self._flow.target.verified = self._verification.saved(str(self._safe))

    def _why_not(self) -> str:
        """Return why no keys can be compared now, empty where they can."""
        if not self._wanted and not self._settings.verify.continuous:
            return "verify.continuous is off"
        return "a cutover is under way" if self.held and not self._wanted else self._unfit()

    def _unfit(self) -> str:
        """Return why the stream's state allows no comparison, empty where it does."""
        flow = self._flow
        if flow.status.state is not State.STREAMING or flow.sweep:
            return f"state is {flow.status.state}"
        return "the target is behind" if flow.expiry.behind else ""

    def _rest(self, reason: str) -> None:
        self._verification.running = False
        self._verification.paused_because = reason

    def _failed(self, error: LinkError | ReplyError) -> None:
        if self._verification.paused_because != str(error):
            level = log.info if isinstance(error, BarrierError) else log.warning
            level("verification interrupted", error=str(error))
        self._rest(str(error))

    async def _work(self) -> None:
        settings = self._settings
        async with open_client(settings.source) as source, open_client(settings.target) as target:
            infos = [await source.info(), await target.info_of(self._flow.target.run_id)]
            sides = sides_of(source, target, infos)
            while not self._why_not():
                wanted = self._wanted[0] if self._wanted else None
                # Each pass has its own: one that ends early leaves requests without an answer there.
                async with (
                    open_client(settings.source) as source_ahead,
                    open_client(settings.target) as target_ahead,
                ):
                    for client, info in zip((source_ahead, target_ahead), infos, strict=True):
                        await client.info_of(info.run_id)
                    await self._make(sides, sides_of(source_ahead, target_ahead, infos), wanted, infos)
                if wanted is None:
                    await anyio.sleep(REST_SECONDS)

    async def _make(self, sides: Sides, ahead: Sides, wanted: Wanted | None, infos: Sequence[ServerInfo]) -> None:
        """Make a pass, or as much of it as can be made now."""
        verification = self._verification
        one = self._pass_of(sides, wanted, fields=fields_expire(infos), ahead=ahead)
        findings = one.findings
        selection = Selection() if wanted is None else wanted.selection
        findings.counted.total = selection.count(infos[0])
        findings.counted.to_pass = sum(map(selection.count, infos if self._extra_too else infos[:1]))
        stream = self._flow.status.stream
        if one.position == Position():
            findings.rejected_before = stream.commands_rejected
        verification.running, verification.paused_because, verification.current = True, "", findings
        repaired, keys, size = findings.repaired, findings.counted.keys, findings.counted.bytes
        try:
            whole = await one.make()
            if whole:
                await self._compare_libraries(sides, wanted, findings)
        finally:
            if wanted is None:
                self._position, self._findings = one.position, findings
            verification.repaired += findings.repaired - repaired
            verification.keys_compared += findings.counted.keys - keys
            verification.bytes_compared += findings.counted.bytes - size
            verification.take(findings, whole=False)
            self._name_differences()
        if not whole or (wanted is not None and wanted.aborted):
            return
        findings.counted.ended = time.time()
        findings.counted.offset = stream.applied_offset
        report = findings.report(time.time())
        if wanted is None:
            self._position, self._findings = Position(), Findings(Pass(began=time.time()))
            self._safe = self._position
        else:
            self._wanted.remove(wanted)
            verification.requested = {"id": wanted.number, "running": False, "report": report}
            wanted.report, wanted.findings = report, findings
            wanted.ended.set()
        if wanted is None or (wanted.selection == Selection() and not wanted.keys_only):
            verification.take(findings, whole=True)
            self._saved = 0.0
            self._save()
            self._name_differences()
            if findings.clean and findings.rejected_before == stream.commands_rejected:
                self._flow.target.rejections_judged = True  # every key was proven equal after the last of them
        log.info(
            "verification pass ended",
            **{name: report[name] for name in ("keys_compared", "bytes_compared", "seconds", "offset", "repaired")},
            differences=len(findings.differences) + findings.more,
        )

    async def _compare_libraries(self, sides: Sides, wanted: Wanted | None, findings: Findings) -> None:
        """Compare the function libraries, unless only a part of the keys was asked for."""
        if wanted is not None and not wanted.libraries:
            return
        libraries = LibraryComparison(
            self._barriers,
            sides,
            extra_too=self._extra_too,
            repair=self._repairs(wanted),
            heartbeat=self._heartbeat,
        )
        findings.add_libraries(*await libraries.compare())

    @property
    def _extra_too(self) -> bool:
        """Whether data that only the target has is a difference."""
        target = self._settings.target
        return target.on_existing != "merge" and target.stale_keys != "keep"

    def _repairs(self, wanted: Wanted | None) -> bool:
        return self._settings.verify.repair if wanted is None else wanted.repair

    def _pass_of(
        self, sides: Sides, wanted: Wanted | None, *, fields: bool, ahead: Sides | None = None
    ) -> VerifyPass:
        settings = self._settings
        keys_per_second = settings.verify.keys_per_second if wanted is None else wanted.keys_per_second
        keys_only = wanted is not None and wanted.keys_only
        findings = self._findings if wanted is None else Findings(Pass(began=time.time()))
        return VerifyPass(
            sides,
            Selection() if wanted is None else wanted.selection,
            PageComparison(
                self._barriers,
                sides,
                lambda: self._tolerance(sides),
                keys_only=keys_only,
                waiting=tuple(
                    key(settings.name) for key in (expiring_key, copying_key, doubtful_key, unconfirmed_key)
                ),
            ),
            LargeComparison(
                self._barriers,
                sides,
                lambda: self._tolerance(sides),
                self._flow.watch,
                fields_expire=fields,
                heartbeat=self._heartbeat,
            ),
            self._pace(keys_per_second, fenced=wanted is not None and wanted.fenced),
            extra_too=self._extra_too,
            copy=self._copy if self._repairs(wanted) else None,
            round_trip=lambda: self._flow.status.clocks.round_trips.get("target", 0.0),
            interrupted=lambda: self._interrupted(wanted),
            heartbeat=self._heartbeat,
            reached=lambda position: self._reached(position, findings, continuous=wanted is None),
            position=self._position if wanted is None else Position(),
            findings=findings,
            only=None if wanted is None else wanted.only,
            ahead=ahead,
        )

    def _pace(self, keys_per_second: float | None, *, fenced: bool) -> VerifyPace:
        if not fenced:
            verify = self._settings.verify
            return VerifyPace(keys_per_second, verify.max_pause_ms / 1000, verify.bytes_per_second)
        pace = VerifyPace(0, FENCED_SECONDS)
        pace.keys = FENCED_KEYS
        return pace

    def _interrupted(self, wanted: Wanted | None) -> bool:
        """Whether a pass has to end early: for want of a stream, for one asked for, or because it was withdrawn."""
        if wanted is None:
            return bool(self._why_not()) or bool(self._wanted)
        return bool(self._unfit()) or wanted.aborted

    def _tolerance(self, sides: Sides) -> Tolerance:
        return tolerance(sides, later=self._flow.expiry.widest_margin)

    def _copy(self, database: int, keys: list[bytes]) -> CommandRun:
        """Hand keys over to the job that copies from the source, which removes those that the source lacks."""
        self._flow.expiries.waiting = True
        self._flow.expiries.remembered += 1
        return CommandRun(database, encode("SADD", copying_key(self._settings.name), *keys), 1)

    def _name_differences(self) -> None:
        """Have `/readyz` name the differences that are known."""
        reasons, known = self._flow.status.reasons, self._verification.known
        if not known:
            reasons.pop("verification", None)
            return
        first = next(iter(known.values()))
        keys = "key differs" if len(known) == 1 else "keys differ"
        reasons["verification"] = (
            f"{len(known)} {keys}, the first: {named(first)}; `shaker verify --repair` copies them from the source"
        )
