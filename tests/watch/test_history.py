"""The history of the page's curves: rates, bound, and counters that start over."""

from __future__ import annotations

from typing import Any

import pytest

from shaker.watch.history import SAMPLES, History, Sample


def add(history: History, now: float, **counts: Any) -> None:
    history.add(now, **{"lag_bytes": 0, "lag_seconds": 0.0, "commands": 0, "keys": 0, "received": 0, **counts})


def test_rates_are_those_since_the_sample_before() -> None:
    history = History()
    add(history, 10.0, commands=100, keys=50, received=1000)
    add(history, 12.0, commands=200, keys=51, received=1000, lag_bytes=7, lag_seconds=0.12345)
    document = history.document()

    assert document["commands_per_second"] == [0, 50]
    assert document["keys_per_second"] == [0, 0.5]
    assert document["received_bytes_per_second"] == [0, 0]
    assert document["lag_bytes"] == [0, 7]
    assert document["lag_seconds"] == [0, 0.123]
    assert document["at"][0] <= document["at"][1] <= document["now"]
    assert set(document) == {"version", "now", *Sample._fields}


def test_a_counter_that_starts_over_counts_from_0() -> None:
    history = History()
    add(history, 1.0, keys=1000)
    add(history, 2.0, keys=30)

    assert history.document()["keys_per_second"] == [0, 30]


@pytest.mark.parametrize("now", [5.0, 4.0])
def test_without_time_between_there_is_no_rate(now: float) -> None:
    history = History()
    add(history, 5.0)
    add(history, now, commands=10)

    assert history.document()["commands_per_second"] == [0, 0]


def test_only_the_newest_are_kept() -> None:
    history = History()
    for second in range(SAMPLES + 10):
        add(history, float(second), lag_bytes=second)

    assert history.document()["lag_bytes"] == list(range(10, SAMPLES + 10))
