"""Lag, clocks, the target's expired keys and the mode decide how a flow treats expiries."""

from __future__ import annotations

import time
from typing import Any

import pytest

from shaker.apply.expired import ExpiredKeys
from shaker.apply.records import Checkpoint
from shaker.flow.expiry_policy import BEHIND_FACTOR, BEHIND_SECONDS, NOTICE_SECONDS
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent
from shaker.model.batch import Batch
from shaker.model.items import StreamItem
from shaker.model.position import Phase
from shaker.rules.expiry import NEVER, Times
from shaker.settings.schema import Settings
from shaker.watch.status import State, Status

SOURCE_NOW = 2_000_000_000.0  # the source's clock when the worker's own is at 1000
GRACE = 1.0 + NOTICE_SECONDS


class World:
    """A replication in the stream whose clocks the test sets."""

    def __init__(self, skew: float = 0.0, **settings: Any) -> None:
        self.now = 1000.0
        self.status = Status(clock=lambda: self.now)
        self.status.clocks.offsets = {"source": SOURCE_NOW - 1000.0, "target": SOURCE_NOW - 1000.0 + skew}
        made = Settings(source={"url": "redis://a"}, target={"url": "redis://b"}, **settings)  # type: ignore[arg-type]
        self.flow = Flow(self.status, made, window_limit=1 << 20)
        checkpoint = Checkpoint(phase=Phase.STREAM, replid="a" * 40, offset=500)
        self.flow.registered(checkpoint, same_server_run=False, first=True)
        self.flow.happen(FlowEvent.SOURCE_CONNECTED)
        self.status.observe_source_offset(500, self.now)

    def agree(self) -> None:
        """Have the target say what it expired, in step with the source."""
        self.flow.expiry.observe_expired(False, BEFORE)

    def item(self, received_at: float = 1000.0, offset: int = 600) -> StreamItem:
        """A batch of the stream."""
        return StreamItem(Batch((), 0, 0, "a" * 40, offset, 0, None), received_at)


def ms(seconds: float) -> int:
    """Milliseconds of the source's clock, so many seconds from its present."""
    return int((SOURCE_NOW + seconds) * 1000)


def times(world: World, item: StreamItem | None) -> Times:
    """The treatment of expiries now."""
    return world.flow.expiry.times(item)


def test_close_behind() -> None:
    """Every expiry gets the margin; none is deferred, no renewal is late."""
    world = World()
    world.agree()
    assert not world.flow.expiry.behind
    assert times(world, world.item()) == (ms(0), NEVER, 0, 2000, False, False)


@pytest.mark.parametrize("skew", [0.0, 1.3])
@pytest.mark.parametrize("why", ["loading", "not caught up", "lag", "nobody knows"])
def test_behind(why: str, skew: float) -> None:
    """For any reason: nearer expiries than the time to catch up are deferred, and renewed keys are doubtful."""
    world = World(skew=skew)
    flow, status = world.flow, world.status
    if why == "loading":
        flow.happen(FlowEvent.POSITION_LOST)
    elif why == "not caught up":
        flow.source.caught_up_at = 501
    elif why == "lag":
        world.now += GRACE
    elif why == "nobody knows":
        status.lag.reset()
    elapsed = world.now - 1000.0
    assert flow.expiry.behind
    found = times(world, world.item(world.now))
    catching_up = BEHIND_FACTOR * GRACE if why == "lag" else BEHIND_SECONDS
    assert found.near == pytest.approx(ms(elapsed + skew + GRACE + catching_up), abs=2)
    assert found.until == pytest.approx(ms(elapsed + skew + GRACE + 86_400), abs=2)
    assert found.late is (why != "lag" or skew > 0.25)


def test_a_little_less_than_the_grace_is_not_behind() -> None:
    """A target whose clock is ahead does not lag for that reason."""
    world = World(skew=0.5)
    world.now += GRACE - 0.01
    assert not world.flow.expiry.behind
    assert times(world, world.item()).near == NEVER
    world.now += 0.02
    assert world.flow.expiry.behind
    assert not World(skew=3600.0).flow.expiry.behind


def test_the_way_to_the_servers_is_no_lag() -> None:
    """An INFO and a transaction take two round trips to each server anyway."""
    world = World()
    for side in ("source", "target"):
        world.status.clocks.observe_round_trip(side, 9.0)
        world.status.clocks.observe_round_trip(side, 0.5)
    world.now += GRACE + 1.9
    assert not world.flow.expiry.behind
    world.now += 0.2
    assert world.flow.expiry.behind


@pytest.mark.parametrize("margin", [2.0, 10.0, 0.5])
def test_late_is_three_quarters_of_the_margin(margin: float) -> None:
    """Of the lag and of what the target's clock is ahead: an expiry can come before its renewal soon."""
    world = World(expiry={"margin_seconds": margin})
    world.now += 0.75 * margin - 0.01
    assert not times(world, world.item()).late
    world.now += 0.02
    assert times(world, world.item()).late
    assert World(skew=0.75 * margin, expiry={"margin_seconds": margin}).flow.expiry.late
    assert not World(skew=-3600.0, expiry={"margin_seconds": margin}).flow.expiry.late


def test_without_a_margin_late_is_behind() -> None:
    """An operator who turned it off risks only the last moment."""
    world = World(expiry={"margin_seconds": 0})
    assert times(world, world.item())[1:5] == (NEVER, 0, 0, False)
    world.now += GRACE
    found = times(world, world.item())
    assert found.until > 0
    assert (found.margin, found.late) == (0, True)


@pytest.mark.parametrize("skew", [-3.0, 3.0])
def test_the_margin_grows_with_what_makes_the_target_early(skew: float) -> None:
    """Four times the usual lag and the difference of the clocks; never below the setting."""
    world = World(skew=skew)
    world.status.lag.usual_seconds = 0.5
    assert times(world, world.item()).margin == 14_000
    assert world.status.expiries.margin_seconds == 14.0
    world.status.clocks.offsets["target"] = world.status.clocks.offsets["source"]
    assert times(world, world.item()).margin == 2000
    assert world.status.expiries.margin_seconds == 14.0


def test_the_margin_of_an_earlier_worker_is_known_to_the_millisecond() -> None:
    """A margin that grew with the lag is no round number; in seconds, one in a hundred would lose a millisecond."""
    world = World()
    for margin in range(2001, 20_000):
        checkpoint = Checkpoint(phase=Phase.STREAM, replid="a" * 40, offset=700, margin=margin)
        world.flow.registered(checkpoint, same_server_run=False, first=True)
        assert world.flow.expiry.widest_margin == margin


def test_a_lag_that_passes_is_not_usual() -> None:
    """It is smoothed over some ten seconds, and only in the stream."""
    world = World()
    world.status.observe_source_offset(900, world.now)
    world.now += 60
    world.status.sample_rate()
    assert world.status.lag.usual_seconds == 0
    world.status.state = State.STREAMING
    world.status.sample_rate()
    assert world.status.lag.usual_seconds == pytest.approx(0.2)


def test_a_target_that_keeps_what_expires_gets_no_margin() -> None:
    """In import mode only the source's deletions count."""
    world = World()
    world.flow.expiries.by_target = True
    assert world.flow.expiry.margin == 0


def test_the_longer_the_lag_the_further_is_near() -> None:
    """Catching up will take long; near never exceeds the deferral."""
    world = World()
    world.status.observe_source_offset(900)
    world.now += 100
    found = times(world, world.item(world.now))
    assert found.near == pytest.approx(ms(100 + GRACE + BEHIND_FACTOR * 100), abs=2)
    world.flow.source.caught_up_at = 900
    found = times(world, world.item(world.now))
    assert found.near == pytest.approx(ms(100 + GRACE + BEHIND_SECONDS + BEHIND_FACTOR * 100), abs=2)
    short = World(expiry={"hold_seconds": 60})
    short.flow.happen(FlowEvent.POSITION_LOST)
    found = times(short, None)
    assert found.near == found.until == pytest.approx(ms(GRACE + 60), abs=2)


def test_a_snapshot_is_always_behind() -> None:
    """Its keys are as old as it is, however close the stream is; and it renews nothing."""
    found = times(World(), None)
    assert found.until > 0
    assert found.near == pytest.approx(ms(GRACE + BEHIND_SECONDS), abs=2)
    assert (found.margin, found.late) == (2000, False)


def test_a_migration_defers_near_expiries_until_its_end() -> None:
    """However close the stream is: without a margin, a key would expire before its renewal."""
    world = World(mode="migrate")
    for item in (None, world.item()):
        found = times(world, item)
        assert found.near > ms(GRACE) - 2
        assert (found.margin, found.late) == (0, False)


@pytest.mark.parametrize("final", ["snapshot", "complete"])
def test_a_copy_that_is_left_alone_has_its_true_expiries(final: str) -> None:
    """Even behind."""
    world = World(mode="snapshot") if final == "snapshot" else World()
    if final == "complete":
        world.flow.happen(FlowEvent.END_REACHED)
    world.status.lag.reset()
    for item in (None, world.item()):
        found = times(world, item)
        assert (found.near, found.margin, found.late) == (NEVER, 0, False)


# --- what the target has expired ---

BEFORE = ExpiredKeys("run", 5, 2, (10, 20, 30))


def test_a_target_that_expired_something_may_have_expired_anything() -> None:
    """It counts, and says so of one run: nothing is inferred."""
    world = World()
    assert times(world, world.item()).passed  # nobody knows yet
    world.agree()
    assert not times(world, world.item()).passed
    world.flow.target.expired = BEFORE._replace(keys=6)
    assert times(world, world.item()).passed


@pytest.mark.parametrize("why", ["late before", "late after", "doubts"])
def test_agreement_is_noted_only_while_nothing_can_be_early(why: str) -> None:
    """Before and after the question; doubtful keys are judged by the earlier answer."""
    world = World()
    world.agree()
    after = BEFORE._replace(keys=6)
    if why == "late after":
        world.now += 2
    world.flow.expiries.doubts = why == "doubts"
    world.flow.expiry.observe_expired(why == "late before", after)
    assert world.flow.expiries.expired == BEFORE
    assert times(world, world.item()).passed


def test_a_snapshot_begins_from_what_was_counted_last() -> None:
    """Before the first of its keys: what expires from then on may be one of them."""
    world = World()
    world.agree()
    world.now += 100
    world.flow.expiry.observe_expired(True, BEFORE._replace(keys=9))
    world.flow.begin_snapshot()
    assert world.flow.expiries.expired == BEFORE
    world.flow.expiries.begin_snapshot()
    assert world.flow.expiries.expired == BEFORE._replace(keys=9)


def test_a_new_worker_goes_by_the_checkpoint() -> None:
    """Keys that expired while no worker ran count; a record of an older version says nothing."""
    for text, expected in ((BEFORE.text, BEFORE), ("", None)):
        world = World()
        checkpoint = Checkpoint(phase=Phase.STREAM, replid="a" * 40, offset=700, expired=text)
        world.flow.registered(checkpoint, same_server_run=False, first=True)
        assert world.flow.expiries.expired == expected


def test_when_it_was_written() -> None:
    """The earlier of when it came and when the source was seen to have it."""
    world = World()
    world.status.observe_source_offset(600)
    world.now += 7
    assert times(world, world.item(received_at=1005.0)).written == ms(0)
    assert times(world, world.item(received_at=1005.0, offset=601)).written == ms(5)
    assert times(world, world.item(received_at=998.0)).written == ms(-2)


def test_a_source_that_does_not_tell_its_time() -> None:
    """The worker's own clock has to do."""
    world = World()
    world.status.clocks.offsets = {}
    assert abs(world.flow.expiry.source_time - time.time()) < 5


def test_a_new_worker_of_an_idle_source_knows_that_it_is_even() -> None:
    """From the checkpoint, without a byte of the stream."""
    world = World()
    fresh = Flow(Status(clock=lambda: 5.0), Settings(source={"url": "redis://a"}, target={"url": "redis://b"}),
                        window_limit=1 << 20)  # type: ignore[arg-type]  # fmt: skip
    checkpoint = Checkpoint(phase=Phase.STREAM, replid="a" * 40, offset=700, expiring=1)
    assert fresh.registered(checkpoint, same_server_run=False, first=True)
    assert fresh.expiries.waiting
    assert fresh.expiry.behind
    fresh.status.observe_source_offset(700, 5.0)
    assert not fresh.expiry.behind
    assert not world.flow.expiries.waiting
