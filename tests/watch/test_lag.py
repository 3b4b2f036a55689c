"""Lag in seconds: the age of the oldest source offset that is not applied."""

import math

import pytest

from shaker.watch.lag import LagClock


def test_nothing_known_is_no_lag() -> None:
    assert LagClock().seconds(100.0, 0) == 0.0


def test_all_applied_is_no_lag() -> None:
    lag = LagClock()
    lag.observe(10.0, 500)

    assert lag.seconds(11.0, 500) == 0.0


def test_the_oldest_offset_beyond_the_applied_one_counts() -> None:
    lag = LagClock()
    for second, offset in ((1, 100), (2, 200), (3, 300)):
        lag.observe(float(second), offset)

    assert lag.seconds(10.0, 50) == 9.0
    assert lag.seconds(10.0, 100) == 8.0
    assert lag.seconds(10.0, 299) == 7.0


def test_a_source_that_stands_still_is_not_behind_its_own_samples() -> None:
    lag = LagClock()
    lag.observe(1.0, 100)
    lag.observe(50.0, 100)

    assert lag.seconds(50.0, 99) == 49.0
    assert lag.seconds(50.0, 100) == 0.0


@pytest.mark.parametrize(("silence", "seconds"), [(3.0, 0.0), (3.5, 3.5), (60.0, 60.0)])
def test_a_source_that_cannot_be_asked_may_have_gone_on(silence: float, seconds: float) -> None:
    lag = LagClock(unreachable_after=3.0)
    lag.observe(100.0, 500)

    assert lag.seconds(100.0 + silence, 500) == seconds


def test_applied_samples_are_dropped_and_the_answer_stays() -> None:
    lag = LagClock()
    for second in range(10):
        lag.observe(float(second), second * 100)
    before = lag.seconds(20.0, 450)

    lag.applied(450)

    assert lag.seconds(20.0, 450) == before == 15.0


def test_the_ring_is_bounded() -> None:
    lag = LagClock(samples=10)
    for second in range(1000):
        lag.observe(float(second), second)

    assert len(lag._samples) <= 10


def test_a_full_ring_forgets_the_order_of_neighbours_and_never_the_oldest_time() -> None:
    lag = LagClock(samples=10)
    for second in range(1, 1001):
        lag.observe(float(second), second)

    assert lag.seconds(1001.0, 0) == 1000.0
    # An offset never looks younger than it is, and all of them applied is no lag.
    assert all(1001.0 - (applied + 1) <= lag.seconds(1001.0, applied) <= 1000.0 for applied in range(1000))
    assert lag.seconds(1001.0, 1000) == 0.0


def test_another_history_forgets_the_offsets_of_the_old_one() -> None:
    lag = LagClock()
    lag.observe(1.0, 1000)
    lag.observe(5.0, 10)

    assert lag.seconds(6.0, 5) == 1.0
    assert lag.seconds(6.0, 10) == 0.0


def test_reset_forgets_all() -> None:
    lag = LagClock()
    lag.observe(1.0, 1000)

    lag.reset()

    assert lag.seconds(100.0, 0) == 0.0


# --- the longest that it can have been ---


def test_nobody_knows_how_long_before_the_source_told_that_it_stood_at_what_is_applied() -> None:
    lag = LagClock()
    assert lag.longest(100.0) == math.inf
    lag.reported(1.0, 500)
    assert lag.longest(100.0) == math.inf
    lag.applied(499)
    assert lag.longest(100.0) == math.inf
    lag.applied(500)
    assert lag.longest(100.0) == 99.0


def test_what_the_stream_brings_can_have_been_on_the_way_for_long() -> None:
    lag = LagClock()
    lag.reported(1.0, 500)
    lag.applied(500)
    lag.observe(9.0, 700)
    lag.applied(700)

    assert lag.seconds(10.0, 700) == 0.0
    assert lag.longest(10.0) == 9.0


def test_the_source_may_have_gone_on_right_behind_the_last_answer() -> None:
    lag = LagClock()
    lag.reported(10.0, 500)
    lag.applied(500)

    assert lag.longest(11.5) == 1.5
    lag.reported(12.0, 500)
    assert lag.longest(12.0) == 0.0
    assert lag.longest(12.7) == pytest.approx(0.7)


def test_what_is_beyond_what_is_applied_does_not_count_as_even() -> None:
    lag = LagClock()
    lag.reported(10.0, 500)
    lag.applied(500)
    lag.reported(11.0, 600)
    lag.reported(12.0, 700)

    assert lag.longest(13.0) == 3.0
    lag.applied(650)
    assert lag.longest(13.0) == 2.0
    lag.applied(700)
    assert lag.longest(13.0) == 1.0


def test_what_is_applied_before_the_source_tells_of_it() -> None:
    lag = LagClock()
    lag.reported(10.0, 500)
    lag.applied(900)
    assert lag.longest(11.0) == 1.0
    lag.reported(11.0, 800)
    assert lag.longest(11.0) == 0.0


def test_a_target_that_has_lost_something_is_not_even() -> None:
    lag = LagClock()
    lag.reported(10.0, 500)
    lag.applied(500)
    lag.applied(400)
    assert lag.longest(11.0) == math.inf
    lag.applied(500)
    assert lag.longest(11.0) == math.inf
    lag.reported(11.0, 500)
    assert lag.longest(11.0) == 0.0


@pytest.mark.parametrize("step", [1, 3])
def test_the_longest_is_never_less_than_the_lag(step: int) -> None:
    """However many answers were forgotten, and however much of them is applied."""
    lag = LagClock(samples=16)
    for second in range(1, 400):
        lag.observe(float(second), second)
        lag.reported(float(second), second)
        if second % step == 0:
            lag.applied(second // 2)
            # The source stood at `second // 2` then, and went on at the next second.
            assert lag.longest(float(second)) >= second - second // 2
            assert lag.longest(float(second)) >= lag.seconds(float(second), second // 2)
    lag.applied(399)
    assert lag.longest(400.0) == 1.0


def test_another_history_is_not_even_with_the_old_one() -> None:
    lag = LagClock()
    lag.reported(1.0, 1000)
    lag.applied(1000)
    lag.reported(1.5, 2000)
    lag.reset()
    assert lag.longest(2.0) == math.inf
    lag.reported(2.0, 10)
    assert lag.longest(3.0) == math.inf
    lag.applied(10)
    assert lag.longest(3.0) == 1.0


def test_answers_of_another_history_replace_the_old_ones() -> None:
    lag = LagClock()
    lag.reported(1.0, 1000)
    lag.reported(2.0, 10)
    lag.applied(10)
    assert lag.longest(3.0) == 1.0


# --- when it was written ---


def test_an_offset_was_written_before_the_source_was_seen_beyond_it() -> None:
    lag = LagClock()
    assert lag.written(1) is None
    for second, offset in ((1, 100), (2, 200), (3, 300)):
        lag.observe(float(second), offset)

    assert [lag.written(offset) for offset in (1, 100, 101, 200, 300)] == [1.0, 1.0, 2.0, 2.0, 3.0]
    assert lag.written(301) is None


def test_when_it_was_written_is_still_known_when_it_is_applied() -> None:
    lag = LagClock()
    for second in range(1, 100):
        lag.observe(float(second), second * 100)
    lag.applied(4000)

    assert lag.written(4050) == 41.0
    assert lag.written(4100) == 41.0
    assert lag.written(9901) is None
