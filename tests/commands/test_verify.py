"""`shaker verify`: its options, the report for people and programs, and the exit code."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from shaker.cli import main
from shaker.errors import EXIT_DIFFERENT, EXIT_INCOMPLETE, EXIT_OK
from shaker.model.differences import Difference, Kind
from shaker.watch.http.control import ControlEndpoint
from shaker.watch.http.routes import HealthServer
from shaker.watch.status import State, Status
from shaker.watch.verification import Findings, Pass
from tests.support.servers import Server

Start = Callable[[Findings | None], list[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A worker that answers a verification with findings, or is restarted in the middle (None)."""
    token = tmp_path / "token"
    token.write_text("a long random token")
    with ExitStack() as stack:
        stack.enter_context(capture_logs())  # of the worker, which is in another process but in tests

        def started(findings: Findings | None) -> list[str]:
            status = Status(name="default", state=State.STREAMING)
            asked: list[dict[str, Any]] = []

            async def controls(verb: str, fields: dict[str, Any]) -> dict[str, Any]:
                assert verb == "verify"
                asked.append(fields)
                (tmp_path / "asked.json").write_text(json.dumps(fields))
                status.verification.requested = {"id": 5, "running": True, "report": None}
                threading.Timer(0.2, finish).start()
                return {"id": 5}

            def finish() -> None:
                report = findings.report(110.0) if findings is not None else None
                number = 5 if findings is not None else 1
                status.verification.requested = {"id": number, "running": False, "report": report}

            control = ControlEndpoint(controls, token, allow_plain=False)
            server = HealthServer(status, host="127.0.0.1", port=0, ready_max_lag_seconds=30, control=control)
            server.start()
            stack.callback(server.stop)
            urls = ["--source.url", "redis://127.0.0.1:1", "--target.url", "redis://127.0.0.1:2"]
            return ["verify", *urls, "--health.port", str(server.port), "--control.token_file", str(token)]

        yield started


@pytest.fixture
def equal() -> Findings:
    """Findings of a clean pass."""
    return Findings(Pass(began=100.0, ended=104.0, offset=900, keys=12_345))


@pytest.fixture
def different(equal: Findings) -> Findings:
    """Findings with a difference, and a key that was too busy."""
    equal.differences[3, b"k"] = Difference(3, b"k", Kind.VALUE, "the values differ")
    equal.repaired = 2
    return equal


def test_equal_servers_are_0(start: Start, equal: Findings, capsys: pytest.CaptureFixture[str]) -> None:
    """With one line for people."""
    assert main(start(equal)) == EXIT_OK
    assert capsys.readouterr().out == "EQUAL. 12,345 keys compared in 4.0 s, up to offset 900.\n"


def test_a_difference_is_5(start: Start, different: Findings, capsys: pytest.CaptureFixture[str]) -> None:
    """Named in a table, without its value."""
    assert main(start(different)) == EXIT_DIFFERENT
    out = capsys.readouterr().out
    assert "DIFFERENT: 1 value, 2 repaired." in out
    assert [*out.splitlines()[1].split()] == ["3", "k", "value", "the", "values", "differ"]


def test_a_busy_key_is_no_equality(start: Start, equal: Findings, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is known of it."""
    equal.too_busy[0, b"k"] = "busy"
    assert main(start(equal)) == EXIT_DIFFERENT
    assert "some keys changed too often" in capsys.readouterr().out


def test_json_and_report(
    start: Start, different: Findings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same document on standard output and in the file."""
    path = tmp_path / "report.json"
    assert main([*start(different), "--json", "--report", str(path)]) == EXIT_DIFFERENT
    out = json.loads(capsys.readouterr().out)
    assert out == json.loads(path.read_text())
    assert out["examples"][0]["key"] == "k"


def test_a_report_that_cannot_be_written_is_named(
    start: Start, equal: Findings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the report was printed: a pass of hours is not lost."""
    assert main([*start(equal), "--json", "--report", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["equal"]
    assert "--report" in err


def test_options_reach_the_worker(start: Start, equal: Findings, tmp_path: Path) -> None:
    """As fields of the control endpoint."""
    options = ["--keys-only", "--sample", "5%", "--pattern", "a*", "--database", "3", "--rate", "100", "--repair"]
    assert main([*start(equal), *options]) == EXIT_OK
    assert json.loads((tmp_path / "asked.json").read_text()) == {
        "keys_only": True,
        "repair": True,
        "sample": 5.0,
        "database": 3,
        "rate": 100.0,
        "pattern": "a*",
    }


def test_a_worker_that_was_restarted_has_not_completed_the_pass(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """75: ask again."""
    assert main(start(None)) == EXIT_INCOMPLETE
    assert "not completed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--sample", "half"], "--sample: must be a number"),
        (["--database", "1.5"], "--database: must be a number"),
        (["--rate", "fast"], "--rate: must be a number"),
        (["--static", "--sample", "200"], "sample must be a percentage"),
        (["--static", "--database", "-1"], "database must be a number"),
        (["--static", "--repair"], "--repair: needs a worker"),
        (["--sample", "200"], "sample must be a percentage"),
    ],
    ids=" ".join,
)
def test_an_impossible_option_is_named(options: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As a fault of the settings, before anything is connected to."""
    urls = ["--source.url", "redis://127.0.0.1:1", "--target.url", "redis://127.0.0.1:2", "--health.port", "1"]
    arguments = ["=".join(options[-2:])] if options[-2].startswith("--") and options[-1] == "-1" else options[-2:]
    assert main(["verify", *urls, *options[:-2], *arguments]) == 2
    assert named in capsys.readouterr().err


def test_static_compares_without_a_worker(
    source: Server, target: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """In database 5, too."""
    for server in (source, target):
        server.client(db=5).mset({f"k{number}": number for number in range(50)})
    arguments = ["verify", "--source.url", source.url, "--target.url", target.url, "--static"]
    assert main(arguments) == EXIT_OK
    target.client(db=5).delete("k7")
    assert main([*arguments, "--database", "0"]) == EXIT_OK
    capsys.readouterr()
    assert main([*arguments, "--json"]) == EXIT_DIFFERENT
    report = json.loads(capsys.readouterr().out)
    assert report["examples"] == [{"database": 5, "key": "k7", "kind": "missing", "detail": "not on the target"}]
