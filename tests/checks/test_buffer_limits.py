"""The source's limits for replicas, as configuration values say them."""

from __future__ import annotations

import pytest

from shaker.checks.buffer_limits import BufferLimits, longest_pause, parse_limits


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", (268435456, 67108864, 60)),
        ("normal 0 0 0 replica 1 2 3", (1, 2, 3)),
        ("normal 0 0 0", None),
        ("replica 1 2", None),
        ("replica 1 2 x", None),
        ("", None),
    ],
)
def test_the_value_of_a_server(text: str, limits: tuple[int, int, int] | None) -> None:
    assert parse_limits(text) == limits


def test_the_soft_limit_counts_behind_its_seconds() -> None:
    """And 0 is no limit."""
    limits = BufferLimits(100, 10, 60)
    assert (limits.within(59), limits.within(60)) == (100, 10)
    assert BufferLimits(0, 10, 60).within(59) is None
    assert BufferLimits(100, 0, 0).within(1) == 100
    assert BufferLimits(0, 0, 0).within(1) is None


def test_a_timeout_covers_three_pings() -> None:
    assert longest_pause(5, 10) == longest_pause(10, 10) == 30
    assert longest_pause(10.5, 10) is None


@pytest.mark.parametrize(
    ("limits", "waiting", "rate", "backlog", "expected"),
    [
        ((100, 0, 0), 20, 10, 0, 8.0),
        ((100, 0, 0), 20, 0, 0, None),
        ((100, 0, 0), 200, 0, 0, 0.0),
        ((100, 50, 60), 20, 10, 0, 8.0),
        ((1000, 50, 60), 20, 10, 0, 63.0),
        ((0, 50, 60), 60, 10, 0, 60.0),
        ((0, 0, 0), 1000, 10, 0, None),
        ((100, 0, 0), 20, 10, 500, 48.0),
        ((0, 0, 0), 1000, 10, 500, None),
    ],
)
def test_a_buffer_overflows_by_the_limit_that_comes_first(
    limits: tuple[int, int, int], waiting: int, rate: float, backlog: int, expected: float | None
) -> None:
    """A limit of 0 is none; one below the backlog counts as its size."""
    assert BufferLimits(*limits).overflows(waiting, rate, backlog) == expected
