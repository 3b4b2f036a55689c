"""The pace of events, and values that are made no more often than it allows."""

from __future__ import annotations

import pytest

from shaker.watch.http.rate_limit import Pace, Sparing


class Clock:
    """Time that passes when it is told to, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_pace() -> None:
    """So many at once, then evenly; a while without any makes room for as many at once again, and no more."""
    clock = Clock()
    pace = Pace(per_second=10, at_once=3, clock=clock)
    assert [round(pace.count(), 6) for _ in range(6)] == [0, 0, 0, 0.1, 0.2, 0.3]
    clock.now += 0.25
    assert pace.delay() == pytest.approx(0.15)
    clock.now += 1000
    assert [round(pace.count(), 6) for _ in range(4)] == [0, 0, 0, 0.1]


def test_a_value_is_made_again_only_while_the_pace_allows_it() -> None:
    """Beyond the pace, everybody gets the newest one."""
    made = iter(range(10))
    sparing: Sparing[int] = Sparing(Pace(per_second=0.001, at_once=3))
    assert [sparing.get(lambda: next(made)) for _ in range(6)] == [0, 1, 2, 2, 2, 2]
