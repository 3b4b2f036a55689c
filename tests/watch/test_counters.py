"""The groups of counters of a status."""

from __future__ import annotations

import pytest

from shaker.watch.counters import LATENCY_BUCKETS, ROUND_TRIPS, Latency, ServerClocks


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0, 0), (0.0005, 0), (0.0006, 1), (10.0, 12), (11.0, 13)])
def test_a_latency_counts_into_the_first_bucket_that_holds_it(seconds: float, bucket: int) -> None:
    latency = Latency()
    latency.observe(seconds)

    assert latency.counts == [int(number == bucket) for number in range(len(LATENCY_BUCKETS) + 1)]
    assert latency.sum == seconds


def test_the_round_trip_is_the_minimum_of_the_last_response_times() -> None:
    clocks = ServerClocks()
    for seconds in (0.1, 0.2, *[0.3] * (ROUND_TRIPS - 1)):
        clocks.observe_round_trip("source", seconds)

    assert clocks.round_trips == {"source": 0.2}


@pytest.mark.parametrize(
    ("offsets", "skew"),
    [
        ({}, None),
        ({"source": 5.0}, None),
        ({"source": 5.0, "target": None}, None),
        ({"source": 5.0, "target": 3.0}, -2.0),
    ],
)
def test_the_skew_is_known_once_both_clocks_are(offsets: dict[str, float | None], skew: float | None) -> None:
    assert ServerClocks(offsets=offsets).skew_seconds == skew
