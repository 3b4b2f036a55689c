"""The program in its first moments: signals during the imports, descriptors that are closed, readers that leave."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.command_line import ROOT, URLS


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
    rooms = (
        "apply",
        "checks",
        "codec",
        "flow",
        "jobs",
        "net",
        "psync",
        "readers",
        "rules",
        "run.worker",
        "writers",
    )
    script = (
        "import sys; from shaker.__main__ import main; main(['--help']); main(['status', '--url', 'http://127.0.0.1:1'])"
        "; print([name for name in sys.modules if name.split('.')[0] in ('redis', 'uvloop', 'starlette', 'h11')"
        f" or name.startswith({tuple(f'shaker.{room}' for room in rooms)})])"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert result.stdout.splitlines()[-1] == "[]"


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


def test_closed_standard_descriptors_are_occupied() -> None:
    """Otherwise the first connection of the worker would become its standard output."""
    script = (
        "import os; [os.close(number) for number in range(3)]; "
        "from shaker.__main__ import _occupy_standard_descriptors as occupy; occupy(); "
        "os._exit(sum(os.fstat(number).st_rdev == os.stat(os.devnull).st_rdev for number in range(3)))"
    )

    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60, check=False).returncode == 3
