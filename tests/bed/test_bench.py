"""The bench runs, small, and fills every figure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.bench import report
from tests.bench.loads import LOADS
from tests.support.worker import ROOT

TAKEN = {"memory MiB", "processor s"}


def bench(*arguments: str) -> str:
    """What a run of the bench prints."""
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=110,
        check=True,
    ).stdout


def test_a_small_round_measures_all_variants(tmp_path: Path) -> None:
    """Values, not only names: a figure that is 0 was not measured."""
    small = ["--rounds", "1", "--keys", "2000", "--growth", "500", "--commands", "2000", "--samples", "20"]
    variants = ["native", "redis-cli --pipe", "plain"]  # compiling takes longer than all the rest

    printed = bench(*small, "--variants", *variants, "--json")

    values = json.loads(printed)["values"]
    timed, worker = set(variants), {"plain"}
    expected = {}
    for keys in ("500", "2,000"):
        expected |= {f"full sync of {keys} keys, {figure}": worker for figure in {*TAKEN, "to the first key s"}}
        expected[f"full sync of {keys} keys, s"] = timed
    for kind in LOADS:
        expected |= {f"stream of {kind}, {figure}": worker for figure in TAKEN}
        expected[f"stream of {kind}, s"] = timed
    for load in ("idle", "half load"):
        expected |= {f"latency, {load}, {figure}": worker for figure in TAKEN}
        expected |= {f"latency, {load}, {figure}": {"native", "plain"} for figure in ("median ms", "p99 ms")}
    assert {name: set(found) for name, found in values.items()} == expected
    # The processor's time is counted in hundredths of a second, which 2000 commands may not take.
    measured = {name: found for name, found in values.items() if not name.endswith("processor s")}
    assert all(len(each) == 1 and min(each) > 0 for found in measured.values() for each in found.values())

    results = tmp_path / "results.json"
    results.write_text(printed)
    written = bench("--read", str(results), "--markdown").splitlines()
    assert len(written) == 2 + len(expected)
    assert {line.count("|") for line in written} == {len(report.HEADER) + 1}


def test_medians_and_ratios() -> None:
    values = {
        "full sync of 10,000 keys, s": {"native": [2.0, 9.0, 4.0], "plain": [6.0, 7.0, 5.0], "compiled": [1.0]},
        "full sync of 1,000 keys, s": {"native": [0.5], "compiled": [0.25]},
        "memory MiB": {"plain": [80.0]},
    }

    assert report.rows(values)[0][1:] == ["4.00", "", "6.00", "1.00", "1.50 x", "0.25 x"]
    assert report.rows(values)[2][1:] == ["", "", "80.00", "", "", ""]
    assert report.growth(values) == {
        "native": [(1000, 0.5), (10_000, 4.0)],
        "plain": [(10_000, 6.0)],
        "compiled": [(1000, 0.25), (10_000, 1.0)],
    }
