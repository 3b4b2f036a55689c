"""The job: passes follow each other while the stream runs, requests come in between, progress is saved."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from shaker.apply.records import copying_key
from shaker.flow.flow import Flow
from shaker.jobs.barrier import Barriers
from shaker.jobs.verify import Verify
from shaker.jobs.verify_walk import Position, Selection
from shaker.jobs.verify_wanted import Wanted
from shaker.model.differences import Difference, Kind
from shaker.run.supervise import supervise
from shaker.settings.schema import Settings
from shaker.watch.status import Status
from shaker.watch.verification import Findings, Pass, Verification
from tests.support.following import Following, following
from tests.support.proxy import Proxy
from tests.support.servers import Server
from tests.support.settings import settings

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]


class Verifying:
    """A worker whose verify job is at work."""

    def __init__(self, worker: Following, source: Server, target: Server, **options: Any) -> None:
        options = {"continuous": True, "rate": 0.0, **options}
        self.settings = Settings(
            source={"url": source.url},  # type: ignore[arg-type]
            target={"url": target.url},  # type: ignore[arg-type]
            verify=options,  # type: ignore[arg-type]
        )
        self.worker = worker
        self.flow = worker.flow
        self.verification = Verification()
        self.job = Verify(self.settings, self.flow, Barriers(self.flow), self.verification)

    async def wait(self, condition: Any, what: str) -> None:
        """Wait until the condition is true."""
        await self.worker.links.wait(condition, what, 40)

    async def passes(self, count: int) -> None:
        """Wait for so many further whole passes."""
        wanted = self.verification.passes + count
        await self.wait(lambda: self.verification.passes >= wanted, f"{count} passes")

    async def asked(self, **fields: Any) -> dict[str, Any]:
        """Ask for a pass, and return its report."""
        wanted = Wanted(**fields)
        ended = self.job.ask(wanted)
        with anyio.fail_after(40):
            await ended.wait()
        assert wanted.report is not None
        assert self.verification.requested == {"id": wanted.number, "running": False, "report": wanted.report}
        return wanted.report


@asynccontextmanager
async def verifying(
    source: Server, target: Server, *, target_url: str | None = None, **options: Any
) -> AsyncIterator[Verifying]:
    """Replicate and verify within the block."""
    async with following(source, target, target_url=target_url) as worker, anyio.create_task_group() as tasks:
        made = Verifying(worker, source, target, **options)
        worker.catch_up()
        tasks.start_soon(supervise, made.job, made.flow.status, made.settings)
        yield made
        tasks.cancel_scope.cancel()


def fill(source: Server, count: int = 300) -> None:
    """Give the source keys in two databases."""
    for database in (0, 5):
        source.client(db=database).mset({f"key:{number}": number for number in range(count)})


async def test_passes_follow_each_other_and_name_differences(source: Server, target: Server) -> None:
    """`/readyz` names the first one until a pass has found it equal."""
    fill(source)
    async with verifying(source, target) as made:
        await made.passes(1)
        assert made.verification.known == {}
        last = made.verification.last
        assert last is not None
        assert (last.counted.keys, last.clean) == (600, True)
        assert last.counted.offset <= made.flow.status.stream.applied_offset
        target.client(db=5).set("key:7", "other")
        await made.wait(lambda: "verification" in made.flow.status.reasons, "the reason")
        assert "key:7 in database 5 (value" in made.flow.status.reasons["verification"]
        target.client(db=5).set("key:7", "7")
        await made.wait(lambda: "verification" not in made.flow.status.reasons, "the reason to go")


async def test_a_request_is_made_in_between_and_reported(source: Server, target: Server) -> None:
    """With its own selection; with verify.continuous off, nothing else is compared."""
    fill(source)
    async with verifying(source, target, continuous=False) as made:
        await made.wait(lambda: made.verification.paused_because == "verify.continuous is off", "the pause")
        assert (await made.asked())["keys_compared"] == 600
        assert made.verification.passes == 1
        report = await made.asked(selection=Selection(database=5, pattern=b"key:1?"))
        assert (report["equal"], report["keys_compared"]) == (True, 10)
        assert made.verification.passes == 1
        target.client(db=5).delete("key:11")
        assert (await made.asked(keys_only=True))["differences"]["missing"] == 1


async def test_a_pass_that_gives_way_leaves_nothing_to_the_next_one(source: Server, target: Server) -> None:
    """Its next page is being read at that moment; the connections of that are not used again."""
    fill(source, 5000)
    with capture_logs() as lines:
        async with verifying(source, target) as made:
            for _ in range(12):
                await made.wait(lambda: 0 < made.verification.current.counted.keys < 9000, "a pass under way")
                assert (await made.asked(selection=Selection(database=5)))["keys_compared"] == 5000
    assert [line for line in lines if line["event"] == "verification interrupted"] == []


async def test_a_selective_repair_makes_the_worker_ready_again(source: Server, target: Server) -> None:
    """The key that it found equal is no longer known as different, without a pass over all keys."""
    fill(source)
    async with verifying(source, target, continuous=False) as made:
        await made.wait(lambda: made.flow.status.state == "streaming", "the stream")
        await made.worker.links.wait_applied(source)
        target.client(db=5).set("key:7", "other")
        assert not (await made.asked())["equal"]
        assert "verification" in made.flow.status.reasons
        report = await made.asked(selection=Selection(pattern=b"key:7"), repair=True)
        assert (report["equal"], report["repaired"]) == (True, 1)
        assert target.client(db=5).get("key:7") == b"7"
        assert "verification" not in made.flow.status.reasons
        assert target.client(db=5).exists(copying_key("default")) == 0


async def test_no_key_is_compared_while_the_target_is_behind(source: Server, target: Server) -> None:
    """The reason is shown, and the pass continues by itself."""
    fill(source)
    async with verifying(source, target) as made:
        made.worker.fall_behind()
        await made.wait(lambda: made.verification.paused_because == "state is catching_up", "the pause")
        assert not made.verification.running
        made.worker.catch_up()
        await made.passes(1)


async def test_the_differences_of_a_pass_under_way_are_known(source: Server, target: Server) -> None:
    """A gentle pass takes hours."""
    fill(source, 2000)
    async with verifying(source, target, continuous=False) as made:
        await made.asked()
        target.client().mset({f"key:{number}": "other" for number in range(2000)})
        made.job.ask(Wanted(keys_per_second=300.0))
        await made.wait(lambda: made.verification.known, "a difference")
        assert made.verification.requested is not None
        assert made.verification.requested["running"]
        assert "verification" in made.flow.status.reasons


async def test_a_clean_pass_clears_only_rejections_from_before_it(source: Server, target: Server) -> None:
    """A command that is rejected while a pass runs may have left a key that was compared before."""
    fill(source, 2000)
    async with verifying(source, target, continuous=False) as made:
        await made.asked()
        await made.wait(lambda: not made.flow.target.rejections_judged, "the writer")
        wanted = Wanted(keys_per_second=2000.0)
        ended = made.job.ask(wanted)
        await made.wait(lambda: made.verification.current.counted.keys > 100, "the pass")
        made.flow.status.stream.commands_rejected += 1
        made.flow.target.rejections_judged = False
        with anyio.fail_after(40):
            await ended.wait()
        assert wanted.report is not None
        assert wanted.report["equal"]
        assert made.flow.status.stream.commands_rejected == 1
        await made.asked()
        await made.wait(lambda: made.flow.status.stream.commands_rejected == 0, "the rejection to be forgotten")


async def test_a_pass_survives_a_lost_target_and_a_long_round_trip(source: Server, target: Server) -> None:
    """50 ms; after a reset it continues where it was."""
    fill(source, 2000)
    with Proxy(target) as far:
        far.set("both", latency=0.025)
        async with verifying(source, target, target_url=far.url) as made:
            await made.wait(lambda: made.verification.current.counted.keys > 500, "the pass")
            far.reset()
            await made.passes(1)
            assert made.verification.known == {}


@pytest.mark.parametrize("clean", [True, False])
def test_progress_is_saved_up_to_the_first_difference(clean: bool) -> None:
    """A checkpoint keeps no differences: the next worker has to find them again."""
    job, saved = _job()
    findings = Findings(Pass(began=1.0))
    job._reached(Position("source", 0, b"5"), findings, continuous=True)
    assert saved()[0] == "source:0:5"
    if not clean:
        findings.differences[0, b"k"] = Difference(0, b"k", Kind.VALUE, "")
    job._saved = float("-inf")
    job._reached(Position("source", 0, b"9"), findings, continuous=True)
    assert saved()[0] == ("source:0:9" if clean else "source:0:5")


def test_a_requested_pass_saves_no_position() -> None:
    """The one that runs all the time has its own."""
    job, _ = _job()
    job._reached(Position("source", 0, b"5"), Findings(Pass(began=1.0)), continuous=False)
    assert job._flow.target.verified == ""


def _job() -> tuple[Verify, Any]:
    made = settings()
    flow = Flow(Status(), made, window_limit=1 << 20)
    job = Verify(made, flow, Barriers(flow), Verification())
    job._saved = float("-inf")
    return job, lambda: json.loads(flow.target.verified)
