"""The bench runs, small, and fills every figure."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.worker import ROOT


def test_a_small_round_measures_all_variants() -> None:
    """Values, not only names: a figure that is 0 was not measured."""
    small = ["--rounds", "2", "--keys", "2000", "--sets", "2000", "--samples", "20", "--json"]

    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *small],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )

    values = json.loads(done.stdout)["values"]
    assert {name: set(found) for name, found in values.items()} == {
        "full sync s": {"native", "redis-cli --pipe", "shaker"},
        "full sync memory MiB": {"shaker"},
        "full sync processor s": {"shaker"},
        "latency median ms": {"native", "shaker"},
        "latency p99 ms": {"native", "shaker"},
        "stream s": {"native", "shaker"},
        "stream memory MiB": {"shaker"},
        "stream processor s": {"shaker"},
    }
    measured = {name: found for name, found in values.items() if name != "stream processor s"}
    assert all(len(each) == 2 and min(each) > 0 for found in measured.values() for each in found.values())
