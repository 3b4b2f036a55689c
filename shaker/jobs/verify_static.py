"""Verification of two servers that nobody writes to: the same pass, without a stream to hold."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from shaker.compare.copies import Tolerance
from shaker.errors import LinkError
from shaker.jobs.verify_large import LargeComparison
from shaker.jobs.verify_libraries import LibraryComparison
from shaker.jobs.verify_pace import VerifyPace
from shaker.jobs.verify_page import DOING, PageComparison, fields_expire, sides_of, tolerance
from shaker.jobs.verify_pass import VerifyPass
from shaker.jobs.verify_suspects import DELAYS
from shaker.jobs.verify_walk import Position, Selection
from shaker.model.batch import CommandRun
from shaker.net.client import Asked, Client, RawReplies, checked, open_client
from shaker.net.first_to_finish import all_of
from shaker.settings.schema import Settings
from shaker.watch.verification import Findings, Pass


@dataclass
class _Still:
    """Two servers without writers are at one point all the time."""

    raw: RawReplies
    source_ms: int
    beside: tuple[RawReplies, int] | None
    since: float

    @property
    def replies(self) -> list[Any]:
        """The values of `raw`."""
        return checked("source", self.raw.values, DOING)

    def apply(self, *parts: CommandRun) -> None:
        """Raise LinkError: without a worker nothing is written."""
        raise LinkError("a comparison without a worker writes nothing")


class _Points:
    @asynccontextmanager
    async def at(
        self, source: Client, requests: Sequence[Asked], *, beside: Client | None = None
    ) -> AsyncIterator[_Still]:
        """Ask both servers at the same time."""
        since = time.perf_counter()
        clients = [source] if beside is None else [source, beside]
        mine, *theirs = await all_of([partial(each.timed, requests, DOING) for each in clients])
        yield _Still(*mine, theirs[0] if theirs else None, since)


@dataclass
class _Untouched:
    touched: bool = False


@contextmanager
def _watch(key: bytes) -> Iterator[_Untouched]:
    yield _Untouched()


async def compare_static(
    settings: Settings,
    selection: Selection,
    *,
    keys_only: bool = False,
    keys_per_second: float = 0.0,
    progress: Callable[[Pass], None] = lambda counted: None,
    delays: Sequence[float] = DELAYS,
) -> Findings:
    """Compare two servers that nobody writes to; raises LinkError. `keys_per_second` 0 is as fast as they answer.

    `progress` receives the counts of the pass after each page. A key that differs is looked at again after each of
    `delays`, in seconds: it may be about to expire.
    """
    async with (
        open_client(settings.source) as source,
        open_client(settings.target) as target,
        open_client(settings.source) as source_ahead,
        open_client(settings.target) as target_ahead,
    ):
        infos = [await source.info(), await target.info()]
        sides = sides_of(source, target, infos)
        counts = [selection.count(info) for info in infos]
        findings = Findings(Pass(began=time.time(), total=counts[0], to_pass=sum(counts)))
        points = _Points()

        def allowed() -> Tolerance:
            return tolerance(sides, later=round(settings.expiry.margin_seconds * 1000))

        one = VerifyPass(
            sides,
            selection,
            PageComparison(
                points, sides, allowed, keys_only=keys_only, expiries=any(info.expiring for info in infos)
            ),
            LargeComparison(points, sides, allowed, _watch, fields_expire=fields_expire(infos)),
            VerifyPace(keys_per_second, 1.0, settings.verify.bytes_per_second),
            extra_too=True,
            copy=None,
            round_trip=lambda: 0.0,
            interrupted=lambda: False,
            heartbeat=lambda: None,
            reached=lambda position: progress(findings.counted),
            position=Position(),
            findings=findings,
            ahead=sides_of(source_ahead, target_ahead, infos),
            delays=delays,
        )
        await one.make()
        if selection == Selection():
            libraries = LibraryComparison(points, sides, extra_too=True, repair=False, delays=delays)
            findings.add_libraries(*await libraries.compare())
        findings.counted.ended = time.time()
        return findings
