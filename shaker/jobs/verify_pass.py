"""One pass of the verification over all selected keys: page by page, suspects again, large values apart."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import anyio
import structlog

from shaker.jobs.verify_large import LargeComparison
from shaker.jobs.verify_pace import VerifyPace
from shaker.jobs.verify_page import PageComparison, Sides
from shaker.jobs.verify_suspects import DELAYS, Suspects
from shaker.jobs.verify_walk import Page, Position, Selection, Walk
from shaker.model.differences import Difference
from shaker.watch.verification import Findings, shown

log = structlog.get_logger("shaker.verify")

LOGGED: Final = 10  # differences of a pass that are logged one by one
MOST_DIFFERENCES: Final = 100_000  # kept by key; beyond them they are only counted
STEP_SECONDS: Final = 1.0  # a pause is slept in steps so long, to notice what ends the pass
REPAIRS: Final = 3  # attempts for one key

Place = tuple[int, bytes]


class VerifyPass:
    """A pass that can be left between two pages and resumed from `position`.

    The pass ends early once `interrupted` is true. `findings` collects what it finds.
    """

    def __init__(
        self,
        sides: Sides,
        selection: Selection,
        pages: PageComparison,
        large: LargeComparison,
        pace: VerifyPace,
        *,
        extra_too: bool,
        repair: bool,
        round_trip: Callable[[], float],
        interrupted: Callable[[], bool],
        heartbeat: Callable[[], None],
        reached: Callable[[Position], None],
        position: Position,
        findings: Findings,
    ) -> None:
        self.position = position
        self.findings = findings
        self._sides = sides
        self._selection = selection
        self._pages = pages
        self._large = large
        self._pace = pace
        self._extra_too = extra_too
        self._repair = repair
        self._round_trip = round_trip
        self._interrupted = interrupted
        self._heartbeat = heartbeat
        self._reached = reached
        self._suspects = Suspects()
        self._attempts: dict[Place, int] = {}
        self._logged = 0

    async def make(self) -> bool:
        """Continue to the end; False where it was interrupted. After a LinkError, a pass can resume at `position`."""
        walk = Walk(self._sides, self._selection, self.position, extra_too=self._extra_too)
        async for page in walk.pages():
            if self._interrupted():
                return False
            walk.count = self._pace.keys
            began = time.perf_counter()
            await self._compare(page)
            await self._look_again()
            while self._suspects.full:
                await anyio.sleep(DELAYS[0])
                await self._look_again()
            self.position = page.after
            self._reached(page.after)
            await self._pause(self._pace.pause(time.perf_counter() - began, len(page.keys)))
        while len(self._suspects):
            if self._interrupted():
                return False
            await anyio.sleep(DELAYS[0])
            await self._look_again()
        return True

    async def _pause(self, seconds: float) -> None:
        steps, rest = divmod(seconds, STEP_SECONDS)
        for step in (*[STEP_SECONDS] * int(steps), rest):
            if self._interrupted():
                return
            self._heartbeat()
            await anyio.sleep(step)

    async def _compare(self, page: Page) -> None:
        keys = page.keys
        self.findings.counted.keys += page.seen
        while keys:
            count = self._pace.keys  # each barrier adapts it
            await self._barrier(page.database, keys[:count], first=True)
            keys = keys[count:]
        for key in page.large:
            await self._compare_large(page.database, key)

    async def _look_again(self) -> None:
        """Compare the suspects that are due."""
        for database, keys in self._suspects.due(time.monotonic(), self._pace.keys).items():
            await self._barrier(database, keys, first=False)

    async def _barrier(self, database: int, keys: list[bytes], *, first: bool) -> None:
        repair = frozenset(key for key in keys if self._attempts.get((database, key)))
        outcome = await self._pages.compare(database, keys, repair=repair)
        self._pace.adapt(outcome.held_seconds, self._round_trip())
        now = time.monotonic()
        if first:
            self.findings.counted.bytes += outcome.bytes
        for key in outcome.pending:
            self._suspects.defer((database, key), now)
        differing = {each.key: each for each in outcome.differing}
        for key in keys:
            place = (database, key)
            if key in differing:
                self._differs(differing[key], now)
            elif key not in outcome.pending:
                self._equal(place)

    def _differs(self, difference: Difference, now: float) -> None:
        place = (difference.database, difference.key)
        if not self._suspects.differs(difference, now):
            return
        attempts = self._attempts.get(place, 0)
        if self._repair and attempts < REPAIRS:
            if not attempts:
                self._report(difference)
            self._attempts[place] = attempts + 1
            self._suspects.defer(place, now)
            return
        self._report(difference)

    def _equal(self, place: Place) -> None:
        self._suspects.equal(place)
        self.findings.differences.pop(place, None)
        if self._attempts.pop(place, None):
            self.findings.repaired += 1

    def _report(self, difference: Difference) -> None:
        place = (difference.database, difference.key)
        if place in self.findings.differences or len(self.findings.differences) >= MOST_DIFFERENCES:
            self.findings.more += place not in self.findings.differences
            return
        self.findings.differences[place] = difference
        self._logged += 1
        if self._logged <= LOGGED:
            log.warning(
                "key differs",
                database=difference.database,
                key=shown(difference.key[:128]),
                kind=str(difference.kind),
                detail=difference.detail,
                more="further ones are counted" if self._logged == LOGGED else None,
            )

    async def _compare_large(self, database: int, key: bytes) -> None:
        found = await self._large.compare(database, key)
        self.findings.counted.bytes += found.bytes
        if found.busy:
            self.findings.too_busy[database, key] = found.busy
        elif found.difference is not None:
            self._report(found.difference)
