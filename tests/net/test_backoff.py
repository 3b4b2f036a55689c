"""Waiting between attempts."""

from __future__ import annotations

from shaker.net.backoff import Backoff


def test_the_first_attempt_waits_not_at_all() -> None:
    """One lost connection costs one round trip, also after a success."""
    backoff = Backoff(initial=1.0, maximum=8.0)
    assert backoff.next() == 0.0
    assert backoff.next() > 0.0
    backoff.reset()
    assert backoff.next() == 0.0


def test_the_wait_grows_to_its_bound_and_varies() -> None:
    """Later waits are never above the bound, reach beyond half of it, and differ between workers."""
    series = [
        [backoff.next() for _ in range(2000)] for backoff in [Backoff(initial=0.1, maximum=5.0) for _ in range(2)]
    ]

    for waits in series:
        assert max(waits) <= 5.0
        assert max(waits[-100:]) > 2.5
        assert max(waits[1:3]) <= 0.8
    assert series[0] != series[1]


def test_a_longer_bound_is_approached_as_slowly() -> None:
    """A server that was down for an hour and then fails once is tried again soon, whatever the bound is now."""
    backoff = Backoff(initial=0.1, maximum=1.0)
    for _ in range(3600):
        backoff.next()
    waits = [backoff.next(30.0) for _ in range(2000)]
    assert waits[0] <= 1.6
    assert waits[1] <= 3.2
    assert max(waits) > 15.0
