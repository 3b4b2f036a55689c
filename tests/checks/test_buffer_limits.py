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
