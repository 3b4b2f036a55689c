"""Pauses and page sizes of the verification."""

from __future__ import annotations

import pytest

from shaker.jobs.verify_pace import FEWEST_KEYS, LONGEST_SLEEP, MOST_KEYS, VerifyPace


def test_gentle_takes_a_twentieth_of_the_time() -> None:
    """After 10 ms of work it rests for 190 ms."""
    assert VerifyPace(None, 0.005).pause(0.01, 100) == pytest.approx(0.19)
    assert VerifyPace(None, 0.005).pause(20.0, 1) == pytest.approx(380)
    assert VerifyPace(None, 0.005).pause(50.0, 1) == LONGEST_SLEEP


def test_a_rate_is_held_and_0_is_none() -> None:
    """Time already spent counts."""
    assert VerifyPace(1000, 0.005).pause(0.02, 100) == pytest.approx(0.08)
    assert VerifyPace(1000, 0.005).pause(0.2, 100) == 0
    assert VerifyPace(0, 0.005).pause(0.2, 100) == 0


@pytest.mark.parametrize("keys_per_second", [None, 0.0, 100.0])
def test_bytes_are_limited_as_well(keys_per_second: float | None) -> None:
    """By themselves, or where they need the longer pause."""
    pace = VerifyPace(keys_per_second, 0.005, 1_000_000)
    assert pace.pause(0.5, 10, 5_000_000) == (9.5 if keys_per_second is None else 4.5)
    if keys_per_second:
        assert pace.pause(0.5, 1000, 5_000_000) == 9.5


@pytest.mark.parametrize("round_trip", [0.0, 0.05])
def test_pages_shrink_with_the_pause_and_grow_without(round_trip: float) -> None:
    """Within bounds; a round trip to the target is part of any pause."""
    pace = VerifyPace(0, 0.005)
    before = pace.keys
    pace.adapt(0.001 + round_trip, round_trip)
    assert pace.keys > before
    for _ in range(50):
        pace.adapt(0.001 + round_trip, round_trip)
    assert pace.keys == MOST_KEYS
    pace.adapt(0.02 + 2 * round_trip, round_trip)
    assert pace.keys < MOST_KEYS
    for _ in range(50):
        pace.adapt(1.0, round_trip)
    assert pace.keys == FEWEST_KEYS
