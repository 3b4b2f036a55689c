"""The report of a cutover for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shaker.watch.cutover_report import sections, verdict
from shaker.watch.report_file import write_report

REPORT: dict[str, Any] = {
    "kind": "cutover",
    "outcome": "done",
    "reason": "",
    "fence": "replicas",
    "offset": 99,
    "fenced_seconds": 0.25,
    "verification": {
        "keys_compared": 1000,
        "examples": [{"database": 0, "key": "k", "kind": "value", "detail": "differs in length"}],
    },
    "timeline": [{"phase": "catching_up", "at": 1.5}],
}


def test_each_part_has_its_rows() -> None:
    """With the differing keys."""
    found = dict(sections(REPORT))
    assert found["Cutover"] == [("fence", "replicas"), ("end offset", "99"), ("seconds of fenced writes", "0.25")]
    assert found["Verification"] == [("keys compared", "1000"), ("differs: k", "value: differs in length")]
    assert found["Timeline"] == [("1970-01-01 00:00:01.500 UTC", "catching up")]


def test_a_report_without_details_has_a_verdict() -> None:
    """The worker is gone."""
    lost = {"kind": "cutover", "outcome": "failed", "reason": "the worker is gone", "source_open": None}
    assert verdict(lost) == (
        "Not cut over (failed): the worker is gone. The source may still refuse writes: `shaker abort`."
    )
    assert dict(sections(lost)) == {"Cutover": []}


@pytest.mark.parametrize("suffix", [".md", ".html", ".json"])
def test_a_report_is_written_in_each_form(tmp_path: Path, suffix: str) -> None:
    """By the suffix of the file."""
    write_report(tmp_path / f"report{suffix}", REPORT)
    text = (tmp_path / f"report{suffix}").read_text()
    assert "99" in text
    assert suffix == ".json" or "Cut over at offset 99" in text
