"""How expiries are treated at a moment: what is near, until when it is put off, what has come too late."""

from __future__ import annotations

import time
from typing import Any

import pytest

from shaker.config import Settings
from shaker.replica.events import Batch
from shaker.replication import BEHIND_FACTOR, BEHIND_SECONDS, NOTICE_SECONDS, Replication
from shaker.target.items import StreamItem
from shaker.target.records import Checkpoint
from shaker.transform.expiry import NEVER
from shaker.watch.status import Status

SOURCE_NOW = 2_000_000_000.0  # the source's clock when the worker's own stands at 1000
GRACE = 1.0 + NOTICE_SECONDS


class World:
    """A replication in the stream whose clocks the test sets."""

    def __init__(self, skew: float = 0.0, **settings: Any) -> None:
        self.now = 1000.0
        self.status = Status(clock=lambda: self.now)
        self.status.clock_offsets = {"source": SOURCE_NOW - 1000.0, "target": SOURCE_NOW - 1000.0 + skew}
        made = Settings(source={"url": "redis://a"}, target={"url": "redis://b"}, **settings)  # type: ignore[arg-type]
        self.replication = Replication(self.status, made, window_limit=1 << 20)
        self.status.stream.applied_offset = 500
        self.status.lag.applied(500)
        self.status.observe_source_offset(500, self.now)

    def item(self, received_at: float = 1000.0, offset: int = 600) -> StreamItem:
        """A batch of the stream."""
        return StreamItem(Batch((), 0, 0, "a" * 40, offset, 0, None), received_at)


def ms(seconds: float) -> int:
    """Milliseconds of the source's clock, so many seconds from its present."""
    return int((SOURCE_NOW + seconds) * 1000)


def test_close_behind() -> None:
    """What is nearer than the grace gets as much more; nothing is put off, nothing is late."""
    world = World()
    assert not world.replication.behind
    times = world.replication.times(world.item(), 0)
    assert times == (ms(0), ms(GRACE), 0, int(GRACE * 1000), False, True)


@pytest.mark.parametrize("skew", [0.0, 1.3])
@pytest.mark.parametrize("why", ["loading", "not caught up", "lag", "nobody knows"])
def test_behind(why: str, skew: float) -> None:
    """Whatever the reason: what is nearer than it may take to catch up is put off by the hold."""
    world = World(skew=skew)
    replication, status = world.replication, world.status
    if why == "loading":
        replication.loading = True
    elif why == "not caught up":
        replication.caught_up_at = 501
    elif why == "lag":
        world.now += GRACE
    elif why == "nobody knows":
        status.lag.reset()
    elapsed = world.now - 1000.0
    assert replication.behind
    times = replication.times(world.item(world.now), 1 << 62)
    catching_up = BEHIND_FACTOR * GRACE if why == "lag" else BEHIND_SECONDS
    assert times.near == pytest.approx(ms(elapsed + skew + GRACE + catching_up), abs=2)
    assert times.until == pytest.approx(ms(elapsed + skew + GRACE + 86_400), abs=2)
    assert times.late is False


def test_a_little_less_than_the_grace_is_not_behind() -> None:
    """What the target's clock is ahead is added to what is near, and is no lag; one that is behind does no harm."""
    world = World(skew=0.5)
    world.now += GRACE - 0.01
    assert not world.replication.behind
    times = world.replication.times(world.item(), 0)
    assert times.near == pytest.approx(ms(GRACE - 0.01 + 0.5 + GRACE), abs=2)
    assert (times.until, times.grace) == (0, int((0.5 + GRACE) * 1000))
    world.now += 0.02
    assert world.replication.behind
    assert not World(skew=3600.0).replication.behind
    assert World(skew=-3600.0).replication.safe_seconds == GRACE


def test_the_longer_the_lag_the_further_is_near() -> None:
    """Because it will take long to catch up; never beyond what things are put off to."""
    world = World()
    world.status.observe_source_offset(900)
    world.now += 100
    times = world.replication.times(world.item(world.now), 0)
    assert times.near == pytest.approx(ms(100 + GRACE + BEHIND_FACTOR * 100), abs=2)
    world.replication.caught_up_at = 900
    times = world.replication.times(world.item(world.now), 0)
    assert times.near == pytest.approx(ms(100 + GRACE + BEHIND_SECONDS + BEHIND_FACTOR * 100), abs=2)
    short = World(expiry={"hold_seconds": 60})
    short.replication.loading = True
    times = short.replication.times(None, 0)
    assert times.near == times.until == pytest.approx(ms(GRACE + 60), abs=2)


def test_a_snapshot_is_always_behind() -> None:
    """Its keys are as old as it is, however close the stream is; and it renews nothing."""
    times = World().replication.times(None, 0)
    assert times.until > 0
    assert times.near == pytest.approx(ms(GRACE + BEHIND_SECONDS), abs=2)
    assert not times.late


def test_late_is_what_comes_behind_the_soonest_expiry() -> None:
    """By the target's clock, also where that alone makes it late."""
    world = World(skew=2.0)
    assert not world.replication.behind
    assert world.replication.times(world.item(), ms(2.0)).late
    assert world.replication.times(world.item(), ms(-50)).late
    assert not world.replication.times(world.item(), ms(2.1)).late


def test_an_expiry_has_passed_by_the_clock_of_the_target() -> None:
    """Whether behind or not, in a snapshot or not."""
    world = World(skew=0.5)
    for item in (None, world.item()):
        assert world.replication.times(item, ms(0.5)).passed
        assert not world.replication.times(item, ms(0.6)).passed


@pytest.mark.parametrize("final", ["snapshot", "settling"])
def test_a_copy_that_is_left_alone_has_its_true_expiries(final: str) -> None:
    """Even behind."""
    world = World(mode="snapshot") if final == "snapshot" else World()
    world.replication.settling = final == "settling"
    world.status.lag.reset()
    for item in (None, world.item()):
        times = world.replication.times(item, 0)
        assert (times.near, times.late, times.passed) == (NEVER, False, False)


def test_when_it_was_written() -> None:
    """The earlier of when it came and when the source was seen to have it."""
    world = World()
    world.status.observe_source_offset(600)
    world.now += 7
    assert world.replication.times(world.item(received_at=1005.0), 0).written == ms(0)
    assert world.replication.times(world.item(received_at=1005.0, offset=601), 0).written == ms(5)
    assert world.replication.times(world.item(received_at=998.0), 0).written == ms(-2)


def test_a_source_that_does_not_tell_its_time() -> None:
    """The worker's own clock has to do."""
    world = World()
    world.status.clock_offsets = {}
    assert abs(world.replication.source_now - time.time()) < 5
    assert world.replication.safe_seconds == GRACE


def test_a_new_worker_of_an_idle_source_knows_that_it_is_even() -> None:
    """From the checkpoint, without a byte of the stream."""
    world = World()
    fresh = Replication(Status(clock=lambda: 5.0), Settings(source={"url": "redis://a"}, target={"url": "redis://b"}),
                        window_limit=1 << 20)  # type: ignore[arg-type]  # fmt: skip
    checkpoint = Checkpoint(phase="stream", replid="a" * 40, offset=700, expiring=1)
    assert fresh.registered(checkpoint, same_server_run=False, first=True)
    assert fresh.expiries.waiting
    assert fresh.behind
    fresh.status.observe_source_offset(700, 5.0)
    assert not fresh.behind
    assert not world.replication.expiries.waiting
