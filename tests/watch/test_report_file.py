"""Reports by the suffix of their file; replaced whole, or left as they were."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from shaker.watch.report_file import curve, write_report

REPORT: dict[str, Any] = {
    "equal": False,
    "keys_compared": 10,
    "bytes_compared": 2048,
    "offset": 77,
    "seconds": 1.5,
    "differences": {"missing": 1, "value": 0},
    "examples": [{"database": 0, "key": "<b>|", "kind": "missing", "detail": "gone"}],
    "repaired": 0,
    "too_busy": [],
}


@pytest.mark.parametrize("name", ["report.json", "report", "report.txt"])
def test_a_report_is_json_unless_its_suffix_says_otherwise(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("before")
    write_report(path, REPORT)
    assert json.loads(path.read_text()) == REPORT
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_a_report_for_people_escapes_names(tmp_path: Path) -> None:
    write_report(tmp_path / "a.md", REPORT)
    assert "differs: <b>\\|" in (tmp_path / "a.md").read_text()
    write_report(tmp_path / "a.HTML", REPORT)
    text = (tmp_path / "a.HTML").read_text()
    assert "differs: &lt;b&gt;|" in text
    assert "The servers differ." in text


def test_a_report_that_cannot_be_written_leaves_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        write_report(tmp_path / "missing" / "a.json", REPORT)


@pytest.mark.parametrize("values", [[0.0], [5.0, 0.0, 2.5], [1e12, 1.0]])
def test_a_curve_is_a_picture_within_its_frame(values: list[float]) -> None:
    picture = ET.fromstring(curve([float(at) for at in range(len(values))], values, size=True))
    line = picture[0].attrib["points"].split()
    assert len(line) == len(values)
    assert all(0 <= float(each.split(",")[1]) <= 120 for each in line)
