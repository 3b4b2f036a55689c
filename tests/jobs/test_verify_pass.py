"""One pass: suspects are looked at again, a pass that was left misses nothing, and repairs are tried and counted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from shaker.codec.resp.replies import encode
from shaker.compare.copies import Tolerance
from shaker.errors import LinkError
from shaker.jobs.verify_pace import FEWEST_KEYS, VerifyPace
from shaker.jobs.verify_page import PageComparison
from shaker.jobs.verify_pass import REPAIRS, WAITING, VerifyPass
from shaker.jobs.verify_walk import Position, Selection
from shaker.model.batch import CommandRun
from shaker.model.differences import Kind
from shaker.watch.verification import Findings, Pass
from tests.support.proxy import Proxy
from tests.support.servers import Server
from tests.support.verifying import Pair, Points, pair

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
DELAYS = (0.02, 0.04, 0.06)
START = Position()
BIG = b"x" * 6_000_000


@dataclass
class Passes:
    """Makes passes over one pair of servers, each from where the one before was left."""

    made: Pair
    pace: VerifyPace
    repair: bool = False
    keys_only: bool = False
    copies: list[bytes] = field(default_factory=list)
    position: Position = START
    reached: list[Position] = field(default_factory=list)
    findings: Findings = field(default_factory=lambda: Findings(Pass()))
    beats: int = 0
    on_copy: Callable[[list[bytes]], None] = lambda keys: None

    def copy(self, database: int, keys: list[bytes]) -> CommandRun:
        """Hand keys over to be copied."""
        self.copies += keys
        self.on_copy(keys)
        return CommandRun(database, encode("SADD", "copying", *keys), 1)

    def heartbeat(self) -> None:
        """Count signs of life."""
        self.beats += 1

    async def make(self, interrupted: Callable[[], bool] = lambda: False) -> bool:
        """Make a pass, or continue one."""
        one = VerifyPass(
            self.made.sides,
            Selection(),
            PageComparison(
                self.made.points,
                self.made.sides,
                lambda: Tolerance(0),
                keys_only=self.keys_only,
                waiting=("expiring",),
            ),
            self.made.large,
            self.pace,
            extra_too=True,
            copy=self.copy if self.repair else None,
            round_trip=lambda: 0.0,
            interrupted=interrupted,
            heartbeat=self.heartbeat,
            reached=self.reached.append,
            position=self.position,
            findings=self.findings,
            delays=DELAYS,
        )
        try:
            return await one.make()
        finally:
            self.position = one.position


@asynccontextmanager
async def passes(
    source: Server, target: Server | str, points: Points | None = None, max_pause: float = 1.0, **options: Any
) -> AsyncIterator[Passes]:
    """Connect, and make passes."""
    async with pair(source, target, points=points) as made:
        yield Passes(made, VerifyPace(0.0, max_pause), **options)


def found(one: Passes) -> dict[tuple[int, str], Kind]:
    """The proven differences."""
    return {(database, key.decode()): each.kind for (database, key), each in one.findings.differences.items()}


def fill(*servers: Server, count: int = 1000) -> None:
    """Give each server the same keys."""
    for server in servers:
        for database in (0, 6):
            server.client(db=database).mset({f"key:{number}": number for number in range(count)})


async def test_the_time_that_listing_takes_is_rested_for_too(source: Server, target: Server) -> None:
    """A gentle pass takes a share of the servers' time: SCAN and MEMORY USAGE are a part of it."""
    spent: list[float] = []

    class Noted(VerifyPace):
        def pause(self, spent_seconds: float, keys: int, size: int = 0) -> float:
            spent.append(spent_seconds)
            return 0.0

    source.client().set("k", "v")
    with Proxy(source) as proxy:
        async with pair(proxy.url, target) as made:
            proxy.set("down", latency=0.1)
            await Passes(made, Noted(0.0, 1.0)).make()
    assert spent[0] >= 0.3


async def test_differences_count_after_several_looks(source: Server, target: Server) -> None:
    """Also those of the target's keys; equal keys are counted only, each once."""
    fill(source, target)
    target.client(db=6).set("key:7", "other")
    target.client().set("extra", 1)
    async with passes(source, target) as one:
        assert await one.make()
        assert found(one) == {(6, "key:7"): Kind.VALUE, (0, "extra"): Kind.EXTRA}
        assert one.findings.counted.keys == 2 * 1000 + 1
        assert one.findings.counted.passed == 2 * 1000 + 2 * 1000 + 1
        assert one.findings.counted.bytes > 20_000


async def test_a_key_that_is_equal_at_a_later_look_is_no_difference(source: Server, target: Server) -> None:
    """Another job, or the deletion of an expired key, came in between."""
    source.client().set("k", "v")
    target.client().set("k", "other")
    points = Points(lambda number: target.client().set("k", "v") if number == 2 else None)
    async with passes(source, target, points) as one:
        assert await one.make()
        assert one.findings.clean
        assert points.made == 2


async def test_an_interrupted_pass_resumes_at_its_position(source: Server, target: Server) -> None:
    """However often it is left: each key is compared, and few are twice."""
    fill(source, target)
    target.client(db=6).set("key:500", "other")
    async with passes(source, target) as one:
        one.pace.keys = 50
        for _ in range(100):
            looks = iter([False, False, False])
            if await one.make(lambda looks=looks: next(looks, True)):  # type: ignore[misc]
                break
        assert await one.make()
        assert found(one) == {(6, "key:500"): Kind.VALUE}
        assert one.position.side == "target"


async def test_an_interrupted_pass_counts_each_key_once(source: Server, target: Server) -> None:
    """It is left behind keys that wait for another look, and compares those after them again."""
    fill(source, target)
    async with passes(source, target) as one:
        one.pace.keys = 50
        victim = source.client().scan(0, count=10)[1][0]
        target.client().set(victim, "other")
        pages = iter(range(4))
        assert not await one.make(lambda: next(pages, None) is None)
        assert one.position == START
        assert one.findings.counted.keys == 0
        target.client().set(victim, source.client().get(victim))
        assert await one.make()
        assert (one.findings.counted.keys, one.findings.counted.passed) == (2000, 4000)
        assert one.findings.clean


async def test_a_suspect_is_not_lost_by_an_interruption(source: Server, target: Server) -> None:
    """The position stays before the page of the first key that waits for another look."""
    fill(source, target, count=3000)
    victim = source.client().scan(0, count=10)[1][0]
    target.client().set(victim, "other")
    async with passes(source, target) as one:
        pages = iter(range(3))
        assert not await one.make(lambda: next(pages, None) is None)
        assert one.findings.clean
        assert one.position == Position()
        assert await one.make()
        assert found(one) == {(0, victim.decode()): Kind.VALUE}


async def test_a_lost_link_leaves_the_position_and_the_findings(source: Server, target: Server) -> None:
    """The next pass continues, and finds what the first one could not."""
    fill(source, target)
    target.client(db=6).delete("key:3")
    with Proxy(target) as far:
        points = Points(lambda number: far.reset() if number == 6 else None)
        async with passes(source, far.url, points) as one:
            with pytest.raises(LinkError):
                await one.make()
            left = one
    assert left.position != Position()
    async with passes(source, target) as one:
        one.position, one.findings = left.position, left.findings
        assert await one.make()
        assert found(one) == {(6, "key:3"): Kind.MISSING}


async def test_a_repair_is_counted_once_the_key_is_equal(source: Server, target: Server) -> None:
    """It is handed over at a later barrier than the one that proved the difference."""
    source.client(db=6).set("k", "v")
    target.client(db=6).set("k", "other")
    async with passes(source, target, repair=True) as one:
        one.on_copy = lambda keys: target.client(db=6).set("k", "v")
        assert await one.make()
        assert (one.copies, one.findings.repaired, found(one)) == ([b"k"], 1, {})
        assert one.findings.equal_again == {(6, b"k")}


async def test_a_repair_without_effect_is_tried_a_few_times(source: Server, target: Server) -> None:
    """Then the difference stays reported, and the pass ends."""
    source.client().set("k", "v")
    async with passes(source, target, repair=True) as one:
        assert await one.make()
        assert (set(one.copies), found(one)) == ({b"k"}, {(0, "k"): Kind.MISSING})
        assert REPAIRS <= len(one.copies) <= REPAIRS * (len(DELAYS) + 1)
        assert one.findings.repaired == 0


async def test_without_repair_nothing_is_handed_over(source: Server, target: Server) -> None:
    """Small or large."""
    source.client().mset({"k": "v", "big": BIG})
    async with passes(source, target) as one:
        assert await one.make()
        assert (one.copies, set(found(one))) == ([], {(0, "k"), (0, "big")})


async def test_a_large_value_is_repaired_too(source: Server, target: Server) -> None:
    """At the barrier behind the comparison that found it different again."""
    source.client(db=6).set("big", BIG)
    async with passes(source, target, repair=True) as one:
        one.on_copy = lambda keys: target.client(db=6).set("big", BIG)
        assert await one.make()
        assert (one.copies, one.findings.repaired, found(one)) == ([b"big"], 1, {})


async def test_a_large_value_that_waits_for_another_job_is_no_difference(source: Server, target: Server) -> None:
    """It is compared again until the other job has corrected it; else it could not be compared."""
    for each in (source, target):
        each.client().set("big", BIG)
    target.client().pexpire("big", 100_000)
    target.client().sadd("expiring", "big")
    async with passes(source, target) as one:
        assert await one.make()
        assert (found(one), one.findings.too_busy) == ({(0, "expiring"): Kind.EXTRA}, {(0, b"big"): WAITING})
    points = Points(lambda number: target.client().persist("big") if number == 4 else None)
    async with passes(source, target, points) as one:
        assert await one.make()
        assert one.findings.too_busy == {}


async def test_a_small_key_that_waits_for_another_job_is_looked_at_until_it_is_corrected(
    source: Server, target: Server
) -> None:
    """The pass waits, with signs of life, and can be interrupted."""
    for each in (source, target):
        each.client().set("k", "v")
        each.client().sadd("expiring", "k")
    target.client().pexpire("k", 100_000)
    async with passes(source, target) as one:
        assert not await one.make(lambda: one.beats > 20)
        assert one.findings.clean
        assert one.position == Position()
        target.client().persist("k")
        assert await one.make()
        assert one.findings.clean


async def test_with_keys_only_no_value_is_read(source: Server, target: Server) -> None:
    """A large one is compared by its type like any other."""
    for each in (source, target):
        each.client().mset({"k": "v", "big": BIG})
    target.client().setrange("big", 0, "other")
    async with passes(source, target, keys_only=True) as one:
        assert await one.make()
        assert one.findings.clean
        assert one.made.watches.begun == 0


async def test_pages_shrink_where_the_stream_is_held_too_long(source: Server, target: Server) -> None:
    """A round trip of 50 ms that is not accounted for is a pause above the limit; no key is missed."""
    fill(source, target, count=300)
    with Proxy(target) as far:
        far.set("both", latency=0.025)
        async with passes(source, far.url, max_pause=0.005) as one:
            assert await one.make()
            assert one.made.points.keys[0] >= 200
            assert one.made.points.keys[-1] <= one.made.points.keys[0]
            assert one.pace.keys == FEWEST_KEYS
            assert one.findings.counted.keys == 600
            assert one.findings.clean


async def test_positions_are_reported_as_they_are_reached(source: Server, target: Server) -> None:
    """The last one is behind all keys."""
    fill(source, target)
    async with passes(source, target) as one:
        assert await one.make()
        assert one.reached[-1] == Position("target", 7)
        assert {each.side for each in one.reached} == {"source", "target"}
