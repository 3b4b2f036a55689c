"""The expiry policy is plain arithmetic: margin, behind, late and the estimate of catching up."""

from __future__ import annotations

import math

import pytest

from shaker.flow.expiry_policy import (
    BEHIND_FACTOR,
    BEHIND_SECONDS,
    MARGIN_FACTOR,
    MARGIN_SHARE,
    MAX_SKEW_SECONDS,
    NOTICE_SECONDS,
    ROUND_TRIPS,
    ExpiryPolicy,
    Reading,
)
from shaker.rules.expiry import NEVER, Times
from shaker.settings.schema import Settings

NOW = 2_000_000_000.0
GRACE = 1.0 + NOTICE_SECONDS
POLICY = ExpiryPolicy(margin_seconds=2.0, tolerated_seconds=1.0, deferred_seconds=86_400.0)


def reading(longest_lag: float = 0.0, *, skew: float | None = 0.0, **more: float) -> Reading:
    """A moment of a flow."""
    return Reading(NOW, longest_lag, skew=skew, **more)


def times(policy: ExpiryPolicy, at: Reading, *, age: float | None = 0.0, final: bool = False) -> Times:
    """The treatment of expiries, with the margin of the policy."""
    return policy.times(at, age=age, final=final, margin=policy.margin(at), expired=False)


@pytest.mark.parametrize(("mode", "follows", "migrates"), [("follow", 1, 0), ("migrate", 0, 1), ("snapshot", 0, 0)])
def test_it_takes_what_the_settings_say(mode: str, follows: int, migrates: int) -> None:
    settings = Settings(
        mode=mode,  # type: ignore[arg-type]
        source={"url": "redis://a"},  # type: ignore[arg-type]
        target={"url": "redis://b"},  # type: ignore[arg-type]
        expiry={"margin_seconds": 3, "hold_below_seconds": 4, "hold_seconds": 60},  # type: ignore[arg-type]
    )

    assert ExpiryPolicy.of(settings) == ExpiryPolicy(3, 4, 60, bool(follows), bool(migrates))


@pytest.mark.parametrize(("lag", "behind"), [(0.0, False), (GRACE - 0.01, False), (GRACE, True), (math.inf, True)])
def test_behind_begins_at_the_grace(lag: float, behind: bool) -> None:
    assert POLICY.behind(reading(lag)) is behind
    assert POLICY.behind(reading(lag + ROUND_TRIPS * 0.5, round_trips=0.5)) is behind


@pytest.mark.parametrize("skew", [None, -5.0, 0.0, 0.5])
def test_late_counts_a_target_whose_clock_is_ahead(skew: float | None) -> None:
    limit = MARGIN_SHARE * 2.0 - max(skew or 0.0, 0.0)

    assert not POLICY.late(reading(limit - 0.01, skew=skew))
    assert POLICY.late(reading(limit, skew=skew))


def test_without_a_margin_late_begins_at_the_grace() -> None:
    policy = ExpiryPolicy(0.0, 1.0, 86_400.0)

    assert not policy.late(reading(GRACE - 0.01))
    assert policy.late(reading(GRACE))
    assert policy.margin(reading(skew=100.0)) == 0


@pytest.mark.parametrize(
    ("usual", "skew", "margin"),
    [(0.1, 0.0, 2000), (1.0, 0.0, 4000), (0.5, -1.5, 8000), (0.0, None, 2000)],
)
def test_the_margin_covers_lag_and_skew(usual: float, skew: float | None, margin: int) -> None:
    assert POLICY.margin(reading(skew=skew, usual_lag=usual)) == margin


def test_a_clock_that_is_wrong_does_not_make_the_margin_endless() -> None:
    assert POLICY.margin(reading(skew=1e9)) == MARGIN_FACTOR * MAX_SKEW_SECONDS * 1000


def test_a_copy_that_ends_has_no_margin() -> None:
    assert ExpiryPolicy(2.0, 1.0, 86_400.0, follows=False).margin(reading()) == 0


def test_a_flow_that_keeps_up_defers_nothing() -> None:
    assert times(POLICY, reading(), age=3.0) == Times(int((NOW - 3) * 1000), NEVER, 0, 2000, False, False)


@pytest.mark.parametrize("age", [0.0, None])
@pytest.mark.parametrize("lag", [math.inf, 100.0])
def test_near_is_what_catching_up_may_take(lag: float, age: float | None) -> None:
    found = times(POLICY, reading(lag, copying=50.0, skew=2.0), age=age)
    measured = age is not None and lag < math.inf
    estimate = BEHIND_FACTOR * lag if measured else BEHIND_SECONDS + BEHIND_FACTOR * 50.0

    assert found.near == int((NOW + 2.0 + GRACE + estimate) * 1000)
    assert found.until == int((NOW + 2.0 + GRACE + 86_400) * 1000)
    assert found.late is (age is not None)


def test_nothing_is_near_beyond_the_deferral() -> None:
    found = times(ExpiryPolicy(2.0, 1.0, 60.0), reading(math.inf))

    assert found.near == found.until


def test_a_migration_defers_even_while_it_keeps_up() -> None:
    assert times(ExpiryPolicy(2.0, 1.0, 60.0, follows=False, migrates=True), reading()).until > 0


@pytest.mark.parametrize("age", [0.0, None])
def test_a_final_copy_has_the_source_expiries(age: float | None) -> None:
    found = times(POLICY, reading(math.inf), age=age, final=True)

    assert (found.near, found.until, found.margin, found.late, found.passed) == (NEVER, 0, 0, False, False)


@pytest.mark.parametrize(
    ("lag", "expired", "passed"), [(0.0, False, False), (0.0, True, True), (100.0, False, True)]
)
def test_an_expired_key_or_a_late_renewal_leaves_doubt(lag: float, expired: bool, passed: bool) -> None:
    assert POLICY.times(reading(lag), age=0.0, final=False, margin=2.0, expired=expired).passed is passed
