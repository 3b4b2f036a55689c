"""Curves of a whole run: bounded, with rates between the points that are left."""

from __future__ import annotations

import pytest

from shaker.watch.curves import Curves


def run(seconds: int, samples: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """Return the curves of a run that applies 10 commands a second."""
    curves = Curves(samples)
    for second in range(seconds):
        monkeypatch.setattr("time.time", lambda at=second: 1000.0 + at)
        curves.add(
            float(second), lag_bytes=second, lag_seconds=0.0, commands=10 * second, keys=second % 50, received=0
        )
    return curves.document()


def test_a_short_run_has_a_point_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(10, 100, monkeypatch)
    assert found["at"] == [1000.0 + second for second in range(10)]
    assert found["commands_per_second"] == [0.0] + [10.0] * 9


def test_a_long_run_is_thinned_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, and with the same rates."""
    found = run(3600, 100, monkeypatch)
    assert 40 <= len(found["at"]) < 100
    assert found["at"][0] == 1000.0
    assert found["at"][-1] > 1000.0 + 3600 - 70
    assert set(found["commands_per_second"][1:]) == {10.0}


def test_a_total_that_starts_over_counts_from_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    assert min(run(200, 1000, monkeypatch)["keys_per_second"]) >= 0.0
