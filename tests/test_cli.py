"""The command line as its user meets it: commands, help, faults, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from shaker import __version__
from shaker.cli import COMMANDS, main
from tests.support.command_line import shaker


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine reaches a test; help is as wide as an ordinary terminal."""
    for name in list(os.environ):
        if name.startswith("SHAKER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")


def test_without_arguments_it_prints_the_help() -> None:
    alone, asked = shaker(), shaker("--help")

    assert (alone.returncode, alone.stderr) == (0, "")
    assert alone.stdout == asked.stdout
    for name in COMMANDS:
        assert f"  {name}" in alone.stdout


def test_the_version_names_the_codec() -> None:
    assert shaker("--version").stdout in [
        f"shaker {__version__} (codec {kind})\n" for kind in ("plain", "compiled")
    ]


def test_an_unknown_command_suggests_the_closest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stauts"]) == 2
    assert capsys.readouterr() == ("", "shaker: stauts: is not a command; did you mean `shaker status`?\n")


def test_run_refuses_settings_before_anything_is_started() -> None:
    result = shaker("run", SHAKER_SOURCE__URL="redis://:hunter2@h/7", SHAKER_MODE="folow")

    assert (result.returncode, result.stdout) == (2, "")
    assert {"source.url", "target.url", "mode"} == {
        line.removeprefix("shaker: ").split()[0] for line in result.stderr.splitlines()
    }
    assert "hunter2" not in result.stderr


def test_the_worker_starts_without_what_it_does_not_use() -> None:
    """And leaves rich to be imported by whoever wants it."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from shaker.cli import _lighten_imports; _lighten_imports(); import structlog; "
            "import shaker.run.worker; print([name for name in sys.modules if name.startswith('rich')]); "
            "import rich.table",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"
