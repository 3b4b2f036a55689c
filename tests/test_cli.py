"""The command line as its user meets it: commands, help, faults, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from shaker import __version__
from shaker.cli import COMMANDS, main
from tests.support.command_line import ROOT, URLS, shaker


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


def test_a_reader_that_leaves_is_no_crash() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from shaker.__main__ import main; sys.exit(main(['config']))"],
        env={**os.environ, **URLS},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        complaint = process.stderr.read()

    assert process.wait(timeout=60) in (0, 75)
    assert complaint == b""


def test_status_and_help_import_no_part_of_the_replication() -> None:
    script = (
        "import sys; from shaker.__main__ import main; main(['--help']); main(['status', '--url', 'http://127.0.0.1:1'])"
        "; print([name for name in sys.modules if name.split('.')[0] in ('redis', 'uvloop', 'starlette', 'h11')"
        " or name.startswith(('shaker.link', 'shaker.codec', 'shaker.run.worker'))])"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert result.stdout.splitlines()[-1] == "[]"


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


PRESS = """
import os, signal, sys
class Press:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), getattr(signal, sys.argv[2]))
sys.meta_path.insert(0, Press())
from shaker.__main__ import main
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize(
    ("module", "number", "command"),
    [
        *(
            (module, "SIGINT", "run")
            for module in ("shaker.cli", "structlog", "pydantic", "shaker.run.worker", "uvloop")
        ),
        *(("pydantic", number, "run") for number in ("SIGTERM", "SIGQUIT", "SIGHUP")),
        *((module, "SIGINT", "config") for module in ("shaker.cli", "rich.console")),
    ],
)
def test_a_signal_during_the_imports_leaves_no_traceback(module: str, number: str, command: str) -> None:
    """Ctrl-C in the first moments, at a module that is being imported: 75, and nothing more is said."""
    done = subprocess.run(
        ["env", "--default-signal", sys.executable, "-c", PRESS, module, number, command],
        env={**os.environ, **URLS, "SHAKER_HEALTH__PORT": "0"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (75, "")


def test_nohup_is_obeyed() -> None:
    """SIGHUP that is ignored from the start stays so: the terminal may go, the worker does not."""
    done = subprocess.run(
        ["env", "--ignore-signal=HUP", sys.executable, "-c", PRESS, "pydantic", "SIGHUP", "run", "--help"],
        env={**os.environ, **URLS},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
