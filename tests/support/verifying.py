"""Two servers without a stream between them, compared as the verification does: each moment is one point."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from shaker.compare.copies import Tolerance
from shaker.jobs.verify_large import LargeComparison
from shaker.jobs.verify_page import DOING, Sides, fields_expire, sides_of
from shaker.model.batch import CommandRun
from shaker.net.client import Asked, Client, RawReplies, checked, count, open_client
from shaker.settings.schema import Settings
from tests.support.servers import Server


@dataclass
class Point:
    """Both servers at one moment. `applied` collects the commands that are to be applied there."""

    raw: RawReplies
    source_ms: int
    beside: tuple[RawReplies, int] | None
    since: float
    applied: list[CommandRun]

    @property
    def replies(self) -> list[Any]:
        """The values of `raw`."""
        return checked("source", self.raw.values, DOING)

    def apply(self, *parts: CommandRun) -> None:
        """Collect commands."""
        self.applied.extend(parts)


@dataclass
class Points:
    """Makes points. `before` is called with the number of each one, from 1 on, before its block is entered."""

    before: Callable[[int], object] = lambda number: None
    made: int = 0
    applied: list[CommandRun] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)  # keys of each page that was read: DUMP or TYPE, and an expiry

    @asynccontextmanager
    async def at(
        self, source: Client, requests: Sequence[Asked], *, beside: Client | None = None
    ) -> AsyncIterator[Point]:
        """Read on the source and then on the target, as a barrier does."""
        raw, source_ms = await source.timed(requests, DOING)
        self.made += 1
        self.keys.append(count(requests) // 2)
        self.before(self.made)
        since = time.perf_counter()
        theirs = await beside.timed(requests, DOING) if beside is not None else None
        yield Point(raw, source_ms, theirs, since, self.applied)


@dataclass
class Watch:
    """Whether the key was touched, as the test decides."""

    touched: bool = False


@dataclass
class Watches:
    """The watch at work: `touch` is a command on the key."""

    now: Watch = field(default_factory=Watch)
    begun: int = 0

    @contextmanager
    def watch(self, key: bytes) -> Iterator[Watch]:
        """Watch a key."""
        self.now = Watch()
        self.begun += 1
        yield self.now

    def touch(self) -> None:
        """Have a command of the stream touch the key."""
        self.now.touched = True


@dataclass
class Pair:
    """Clients of both servers, and a comparison of large values between them."""

    sides: Sides
    points: Points
    watches: Watches
    large: LargeComparison


@asynccontextmanager
async def pair(
    source: Server | str,
    target: Server | str,
    *,
    points: Points | None = None,
    later: int = 0,
    piece: Callable[[], None] = lambda: None,
) -> AsyncIterator[Pair]:
    """Connect to both servers, by their addresses where something lies between; `piece` is called for each one."""
    urls = [each if isinstance(each, str) else each.url for each in (source, target)]
    made = Settings(source={"url": urls[0]}, target={"url": urls[1]})  # type: ignore[arg-type]
    async with open_client(made.source) as one, open_client(made.target) as other:
        infos = [await one.info(), await other.info()]
        sides = sides_of(one, other, infos)
        points, watches = points or Points(), Watches()
        tolerance = Tolerance(later, 0 if sides.exact else 100)
        large = LargeComparison(
            points,
            sides,
            lambda: tolerance,
            watches.watch,
            fields_expire=fields_expire(infos),
            heartbeat=piece,
            try_again_seconds=0.01,
        )
        yield Pair(sides, points, watches, large)
