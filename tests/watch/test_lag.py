"""Lag in seconds: the age of the oldest source offset that is not applied."""

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
