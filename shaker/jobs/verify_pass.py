"""One pass of the verification over all selected keys: page by page, suspects again, large values apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

import anyio
import structlog

from shaker.jobs.verify_large import LargeComparison
from shaker.jobs.verify_pace import VerifyPace
from shaker.jobs.verify_page import PageComparison, Settle, Sides
from shaker.jobs.verify_suspects import DELAYS, Suspects
from shaker.jobs.verify_walk import Page, Position, Selection, Walk
from shaker.model.batch import CommandRun
from shaker.model.differences import Difference
from shaker.watch.verification import Findings, shown

log = structlog.get_logger("shaker.verify")

LOGGED: Final = 10  # differences of a pass that are logged one by one
MOST_DIFFERENCES: Final = 100_000  # kept by key; beyond them they are only counted
STEP_SECONDS: Final = 1.0  # a pause is slept in steps so long, to notice what ends the pass
REPAIRS: Final = 3  # attempts for one key
WAITING: Final = "another job is about to correct it"

Place = tuple[int, bytes]


class Reached(NamedTuple):
    """Where a pass is, and what it has counted up to there."""

    position: Position
    keys: int
    bytes: int
    passed: int


Copy = Callable[[int, list[bytes]], CommandRun]


class VerifyPass:
    """A pass that can be left between two pages and resumed from `position`.

    `make` is called once; the pass ends early once `interrupted` is true. `findings` collects what it finds. No key
    before `position` waits for another look: a pass that resumes there misses none. With `only`, the pass compares
    these keys by database and walks over no others. `copy` returns the commands that hand over keys to be copied from
    the source; None leaves differing keys as they are. `ahead` is as in Walk.
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
        copy: Copy | None,
        round_trip: Callable[[], float],
        interrupted: Callable[[], bool],
        heartbeat: Callable[[], None],
        reached: Callable[[Position], None],
        position: Position,
        findings: Findings,
        only: Mapping[int, Iterable[bytes]] | None = None,
        ahead: Sides | None = None,
        delays: Sequence[float] = DELAYS,
    ) -> None:
        self.findings = findings
        self._walk = Walk(sides, selection, position, extra_too=extra_too, only=only, ahead=ahead)
        self._pages = pages
        self._large = large
        self._pace = pace
        self._copy = copy
        self._round_trip = round_trip
        self._interrupted = interrupted
        self._heartbeat = heartbeat
        self._reached = reached
        self._suspects = Suspects(delays=delays)
        self._unsettled: dict[Place, Reached] = {}  # by suspect, in the order of the walk: where its page begins
        self._attempts: dict[Place, int] = {}
        self._page = Reached(position, *self._counts())  # where the next page begins
        self._settled = self._page

    @property
    def position(self) -> Position:
        """The position at which another pass can resume this one."""
        return self._settled.position

    async def make(self) -> bool:
        """Continue to the end; False where it was interrupted. After a LinkError, a pass can resume at `position`.

        Keys behind `position` are not counted then: they are compared again.
        """
        whole = False
        try:
            whole = await self._make()
        finally:
            if not whole:
                counted = self.findings.counted
                _, counted.keys, counted.bytes, counted.passed = self._settled
        return whole

    async def _make(self) -> bool:
        async with self._walk.listed() as pages:
            async for page in pages:
                if self._interrupted():
                    return False
                self._walk.count = self._pace.keys
                await self._take(page)
        while len(self._suspects):
            if self._interrupted():
                return False
            await self._wait_and_look_again()
            self._settle()
        return True

    async def _take(self, page: Page) -> None:
        """Compare the keys of a page, and rest as long as the pace wants."""
        began, size = time.perf_counter(), self.findings.counted.bytes
        if page.side == "target":
            async with aclosing(self._walk.lacking(page, self._page.position)) as parts:
                async for part in parts:
                    await self._reach(part)
        else:
            await self._reach(page)
        size = self.findings.counted.bytes - size
        spent = time.perf_counter() - began + self._walk.listing_seconds
        self._walk.listing_seconds = 0.0
        await self._pause(self._pace.pause(spent, page.seen, size))

    async def _reach(self, page: Page) -> None:
        """Compare the keys of a page, and move the position behind it."""
        await self._compare(page)
        await self._look_again()
        while self._suspects.full and not self._interrupted():
            await self._wait_and_look_again()
        self._page = Reached(page.after, *self._counts())
        self._settle()

    async def _wait_and_look_again(self) -> None:
        self._heartbeat()
        await anyio.sleep(self._suspects.delays[0])
        await self._look_again()

    def _settle(self) -> None:
        """Move the position up to the first key that waits for another look."""
        self._settled = next(iter(self._unsettled.values()), self._page)
        self._reached(self.position)

    def _counts(self) -> tuple[int, int, int]:
        counted = self.findings.counted
        return counted.keys, counted.bytes, counted.passed

    async def _pause(self, seconds: float) -> None:
        steps, rest = divmod(seconds, STEP_SECONDS)
        for step in (*[STEP_SECONDS] * int(steps), rest):
            if self._interrupted():
                return
            self._heartbeat()
            await anyio.sleep(step)

    async def _compare(self, page: Page) -> None:
        keys, large = (page.keys + page.large, []) if self._pages.keys_only else (page.keys, page.large)
        self.findings.counted.keys += len(page.keys) + len(page.large)
        self.findings.counted.passed += page.seen
        while keys:
            count = self._pace.keys  # each barrier adapts it
            await self._barrier(page.database, keys[:count], first=True)
            keys = keys[count:]
        for key in large:
            await self._compare_large(page.database, key)

    async def _look_again(self) -> None:
        """Compare the suspects that are due."""
        for database, keys in self._suspects.due(time.monotonic(), self._pace.keys).items():
            await self._barrier(database, keys, first=False)

    async def _barrier(self, database: int, keys: list[bytes], *, first: bool) -> None:
        known = len(self._suspects) + len(self._unsettled) + len(self._attempts) + len(self.findings.differences)
        repair = frozenset(key for key in keys if self._attempts.get((database, key))) if known else frozenset()
        outcome = await self._pages.compare(database, keys, settle=self._repairing(database, repair))
        self._pace.adapt(outcome.held_seconds, self._round_trip())
        now = time.monotonic()
        if first:
            self.findings.counted.bytes += outcome.bytes
        if not (outcome.pending or outcome.differing or known):
            return  # nearly always
        for key in outcome.pending:
            self._suspects.defer((database, key), now)
            self._unsettled.setdefault((database, key), self._page)
        differing = {each.key: each for each in outcome.differing}
        for key in keys:
            place = (database, key)
            if key in differing:
                self._differs(differing[key], now)
            elif key not in outcome.pending:
                self._equal(place)

    def _repairing(self, database: int, repair: frozenset[bytes]) -> Settle:
        """Return the function that has those keys of `repair` that differ copied."""

        def settle(differing: list[Difference]) -> CommandRun | None:
            keys = [each.key for each in differing if each.key in repair]
            return self._copy(database, keys) if keys and self._copy is not None else None

        return settle

    def _differs(self, difference: Difference, now: float) -> None:
        place = (difference.database, difference.key)
        if not self._suspects.differs(difference, now):
            self._unsettled.setdefault(place, self._page)
            return
        attempts = self._attempts.get(place, 0)
        if self._copy is not None and attempts < REPAIRS:
            if not attempts:
                self._report(difference)
            self._attempts[place] = attempts + 1
            self._suspects.defer(place, now)
            return
        self._unsettled.pop(place, None)
        self._report(difference)

    def _equal(self, place: Place) -> None:
        self._suspects.equal(place)
        self._unsettled.pop(place, None)
        if self.findings.differences.pop(place, None) is not None:
            self.findings.equal_again.add(place)
        if self._attempts.pop(place, None):
            self.findings.repaired += 1

    def _report(self, difference: Difference) -> None:
        place = (difference.database, difference.key)
        if place in self.findings.differences or len(self.findings.differences) >= MOST_DIFFERENCES:
            self.findings.more += place not in self.findings.differences
            return
        self.findings.differences[place] = difference
        self.findings.equal_again.discard(place)
        known = len(self.findings.differences)
        if known <= LOGGED:
            log.warning(
                "key differs",
                database=difference.database,
                key=shown(difference.key[:128]),
                kind=str(difference.kind),
                detail=difference.detail,
                more="further ones are counted" if known == LOGGED else None,
            )

    async def _compare_large(self, database: int, key: bytes) -> None:
        place = (database, key)
        for attempt in range(REPAIRS + 2):
            repair = frozenset((key,) if 0 < attempt <= REPAIRS else ())
            found = await self._large.compare(database, key, settle=self._repairing(database, repair))
            if not attempt:
                self.findings.counted.bytes += found.bytes
            if found.busy:
                self.findings.too_busy[place] = found.busy
                return
            if found.difference is None:
                self._equal(place)
                return
            pending = await self._pages.pending(database, [key])
            if not pending:
                self._report(found.difference)
                if self._copy is None:
                    return
                self._attempts[place] = attempt + 1
            if attempt <= REPAIRS:
                self._heartbeat()
                await anyio.sleep(self._suspects.delays[-1])
        if place not in self.findings.differences:
            self.findings.too_busy[place] = WAITING
        self._attempts.pop(place, None)
