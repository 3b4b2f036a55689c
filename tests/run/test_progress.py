"""A one-off run shows a line that fits the terminal, and a summary with the next step."""

from __future__ import annotations

import re
import sys

import pytest

from shaker.commands.sample import seed
from shaker.run.progress import drawn, duration, next_step, snapshot_fields, summary_fields, summary_lines
from shaker.watch.status import State, Status
from shaker.watch.status_document import status_document
from tests.support.servers import Server
from tests.support.terminal import ESCAPES, on_a_terminal
from tests.support.worker import ROOT, Worker


@pytest.fixture
def status() -> Status:
    """Half of a snapshot, ten seconds after its beginning."""
    now = [100.0]
    status = Status(state=State.SNAPSHOT, clock=lambda: now[0])
    status.begin_snapshot(1000)
    now[0] += 10
    snapshot = status.snapshot
    snapshot.keys_total, snapshot.keys_done, snapshot.bytes_done = 2000, 1000, 5_000_000
    return status


def plain(status: Status, width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """The drawn line without its colours."""
    monkeypatch.setenv("COLUMNS", str(width))
    return ESCAPES.sub("", drawn(status))


def test_the_snapshot_is_drawn_with_all_that_is_known(status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    line = plain(status, 120, monkeypatch)

    assert line.split("  ") == [
        "snapshot",
        "━" * 12 + "─" * 12,
        " 50 %",
        "10 s left",
        "1,000 of 2,000 keys",
        "0 keys/s, 0.0 MB/s",
        "lag 0 B",
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_the_line_fits_the_terminal(status: Status, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    line = plain(status, width, monkeypatch)

    assert line.startswith("snapshot")
    assert len(line) < width
    assert "\n" not in line


def test_keys_that_the_source_counts_are_the_whole(status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot announces the keys of a database when it comes to it: the first of two would look like all."""
    status.observe_source_keys(4000)
    status.observe_source_keys(5000)  # written since: not in the snapshot

    assert snapshot_fields(status)["per_cent"] == 25.0
    assert snapshot_fields(status)["eta_seconds"] == 30.0
    assert (
        snapshot_fields(status)["keys_total"]
        == status_document(status, max_lag_seconds=30.0)["snapshot"]["keys_total"]
        == 4000
    )
    assert "1,000 of 4,000 keys" in plain(status, 120, monkeypatch)
    status.snapshot.finished = status.clock()
    assert status.snapshot_keys == 2000


def test_the_stream_is_drawn_with_its_lag(status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    status.state = State.CATCHING_UP
    status.observe_source_offset(3048)

    assert plain(status, 100, monkeypatch).startswith("catching up  lag 2.0 KiB, ")


def ended(status: Status, *, since: int = 0, source: int = 1000, target: int = 1000) -> Status:
    """A run that is complete at offset 2000, with a source that wrote `since` bytes more."""
    status.state = State.STOPPED
    status.observe_applied(2000, 7, None)
    status.observe_source_offset(2000 + since)
    status.keys.present = {"source": source, "target": target}
    return status


def test_a_source_that_stands_still(status: Status) -> None:
    assert summary_lines(ended(status), 0, 3.25) == [
        "Copied 1,000 keys (4.8 MiB) and applied 7 commands in 3.2 s.",
        "The target equals the source up to offset 2000.",
        "The source no longer writes: point its clients to the target.",
    ]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (1001, " and has 1 key more than the target"),
        (990, " and has 10 keys fewer than the target"),
        (1000, ""),
    ],
)
def test_a_source_that_still_writes(status: Status, source: int, text: str) -> None:
    assert summary_lines(ended(status, since=2048, source=source), 0, 60)[1:] == [
        "The target equals the source up to offset 2000.",
        f"Since then the source has written 2.0 KiB{text}.",
        "The source still writes: stop its writers and run again, or cut over.",
    ]


def test_a_ping_is_no_write(status: Status) -> None:
    assert next_step(ended(status, since=14), 0).startswith("the source no longer writes")


def test_runs_that_are_not_complete(status: Status) -> None:
    assert "run it again" in next_step(status, 75)
    status.state = State.FAILED
    assert "see the error" in next_step(status, 4)
    status.state, status.stream.commands_rejected = State.STOPPED, 1
    assert "rejected commands" in next_step(status, 4)
    assert "The target rejected 1 command: it differs from the source there." in summary_lines(status, 4, 1)


def test_the_event_holds_the_same(status: Status) -> None:
    assert summary_fields(ended(status, since=2048, source=1003), 0, 12.34) == {
        "complete": True,
        "seconds": 12.3,
        "keys_copied": 1000,
        "bytes_copied": 5_000_000,
        "commands_applied": 7,
        "commands_rejected": 0,
        "equal_up_to_offset": 2000,
        "source_wrote_bytes_since": 2048,
        "source_keys": 1003,
        "target_keys": 1000,
        "next": "the source still writes: stop its writers and run again, or cut over",
    }


def test_durations() -> None:
    assert [duration(seconds) for seconds in (0.26, 9, 12.6, 125, 3725)] == [
        "0.3 s",
        "9 s",
        "13 s",
        "2 min 5 s",
        "1 h 2 min",
    ]


def test_a_migration_on_a_terminal(source: Server, target: Server) -> None:
    """Progress is drawn in place, log lines stay whole above it, and the summary is the last that is written."""
    seed(source.client(), 20_000, shortest_expiry=600_000)
    source.client().config_set("rdb-key-save-delay", 50)
    worker = Worker(source, target)
    code, text = on_a_terminal(
        [sys.executable, "-m", "shaker", "run", "--mode", "migrate"],
        directory=ROOT,
        environment={
            **worker.environment,
            "SHAKER_LOG__FORMAT": "auto",
            "TERM": "xterm",
            "COLUMNS": "100",
            "LINES": "30",
        },
    )

    assert code == 0
    drawings = [ESCAPES.sub("", each) for each in text.split("\r\x1b[K")[1:]]
    assert any(re.match(r"snapshot  ━+─+ +\d+ %  ", each) for each in drawings)
    full_sync = next(each for each in drawings if "full sync" in each)
    assert full_sync.index("\r\n") > full_sync.index("full sync")
    lines = drawings[-1].splitlines()
    assert re.fullmatch(r"Copied [\d,]+ keys \(.* MiB\) and applied [\d,]+ commands? in .* s\.", lines[0])
    assert lines[1].startswith("The target equals the source up to offset ")
    assert lines[-1] == "The source no longer writes: point its clients to the target."
    assert "psync" not in text
