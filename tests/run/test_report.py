"""The report of a run as a document: the figures of the status, the settings without secrets, the timeline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shaker.errors import RefusedError
from shaker.flow.flow import Flow
from shaker.run.report import RunReport, timeline
from shaker.watch.status import State, Status
from tests.support.settings import settings


def report(tmp_path: Path, name: str = "report.json") -> tuple[RunReport, Status, Path]:
    """A report, its status and its file."""
    path, status = tmp_path / name, Status(mode="migrate")
    made = settings(report__file=str(path), source__password="secret", mode="migrate")
    return RunReport(made, status, Flow(status, made, window_limit=1 << 20)), status, path


def test_a_report_has_the_figures_of_the_run(tmp_path: Path) -> None:
    made, status, path = report(tmp_path)
    status.begin_snapshot(5)
    status.snapshot.keys_done, status.snapshot.bytes_done = 10, 1000
    status.snapshot.types.update({(0, "hash"): 4, (3, "string"): 6})
    status.count_error("target", "oom", "out of memory")
    made.refresh()
    made.end(75, None, RefusedError("no", hint="try another"))
    document = json.loads(path.read_text())
    assert document["copied"]["databases"] == {"0": {"hash": 4}, "3": {"string": 6}}
    assert (document["copied"]["keys"], document["syncs"]["full"]) == (10, 1)
    assert document["errors"] == {"target:oom": 1}
    assert document["last_errors"] == {"target": "out of memory"}
    assert (document["exit_code"], document["complete"]) == (75, False)
    assert document["error"] == {"kind": "refused", "text": "no; try another"}
    assert document["settings"]["source.password"] == "***"
    assert "secret" not in path.read_text()
    assert len(document["curves"]["at"]) == 1


@pytest.mark.parametrize("name", ["report.json", "report.md", "report.html"])
def test_a_report_has_the_cutover_that_ended_the_run(tmp_path: Path, name: str) -> None:
    """With its proof and its phases, in each form."""
    made, status, path = report(tmp_path, name)
    status.cutover.report = {
        "kind": "cutover",
        "outcome": "done",
        "reason": "",
        "offset": 99,
        "fenced_seconds": 0.25,
        "verification": {"keys_compared": 1234, "examples": []},
        "timeline": [{"phase": "catching_up", "at": 1.5}],
    }
    made.end(0, None)
    text = path.read_text()
    if name.endswith("json"):
        assert json.loads(text)["cutover"] == status.cutover.report
        return
    assert "Cut over at offset 99" in text
    for heading in ("Cutover", "Verification of the cutover", "Timeline of the cutover"):
        assert f"## {heading}\n" in text or f"<h2>{heading}</h2>" in text
    assert "1234" in text


def test_a_report_that_cannot_be_written_is_logged(tmp_path: Path, capsys: object) -> None:
    made, _, _ = report(tmp_path, "missing/report.json")
    made.end(0, None)


def test_each_state_lasts_until_the_next() -> None:
    states = ((10.0, State.STARTING), (12.5, State.SNAPSHOT), (20.0, State.STREAMING))
    assert timeline(states, 21.0) == [
        {"at": 10.0, "state": "starting", "seconds": 2.5},
        {"at": 12.5, "state": "snapshot", "seconds": 7.5},
        {"at": 20.0, "state": "streaming", "seconds": 1.0},
    ]
    assert timeline((), 1.0) == []
