"""The command line as its user meets it: commands, help, faults, exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shaker import __version__
from shaker.cli import COMMANDS, main
from shaker.settings.names import SETTINGS

ROOT = Path(__file__).parent.parent
URLS = {"SHAKER_SOURCE__URL": "redis://127.0.0.1:6379", "SHAKER_TARGET__URL": "redis://127.0.0.1:6380"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine reaches a test; help is as wide as an ordinary terminal."""
    for name in list(os.environ):
        if name.startswith("SHAKER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")


def shaker(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHAKER_")}
    return subprocess.run(
        [sys.executable, "-m", "shaker", *arguments],
        env=kept | variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


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


def test_the_help_of_run_shows_every_setting_once_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0

    text = " ".join(capsys.readouterr().out.split())
    for setting, info in SETTINGS.items():
        assert text.count(f" --{setting.replace('_', '-')} ") == 1, setting
        assert info.description is not None
        assert info.description in text, setting
    assert text.count("(default: ") + text.count("(required)") == len(SETTINGS)
    assert "(default: 64 MiB)" in text
    assert text.count("(required)") == 2


def test_usage_faults_end_with_2_and_show_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (
        (["--source.pasword", "hunter2"], "--source.pasword: is not an argument of `shaker config`; did you mean"),
        (["--source.pasword=hunter2"], "did you mean --source.password?"),
        (["--source.pass", "hunter2"], "--source.pass: is not an argument"),
        (["hunter2"], "takes flags only"),
        (["--json=hunter2"], "argument --json: takes no value"),
        (["--source.url"], "argument --source.url: expected one argument"),
        (["--source.url", "redis://:hunter2@"], "source.url (SHAKER_SOURCE__URL, from command line): must name"),
    ):
        assert main(["config", *arguments]) == 2, arguments
        out, err = capsys.readouterr()
        assert out == ""
        assert expected in err
        assert "hunter2" not in err
        assert all(line.startswith("shaker: ") for line in err.splitlines())


@pytest.mark.parametrize("flag", ["--health.ready-max-lag-seconds", "--health.ready_max_lag_seconds"])
def test_flags_are_taken_in_kebab_and_in_snake_case(
    flag: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in URLS.items():
        monkeypatch.setenv(name, value)

    assert main(["config", "--json", flag, "7"]) == 0
    found = json.loads(capsys.readouterr().out)["health.ready_max_lag_seconds"]
    assert found == {"value": 7.0, "origin": "command line"}


@pytest.mark.parametrize(
    ("arguments", "value"),
    [([], False), (["--target.adopt"], True), (["--target.adopt", "no"], False), (["--target.adopt=true"], True)],
)
def test_switches_need_no_value(
    arguments: list[str], value: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, url in URLS.items():
        monkeypatch.setenv(name, url)

    assert main(["config", "--json", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["target.adopt"]["value"] is value


def test_config_shows_values_and_origins_and_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "shaker.toml"
    path.write_text('name = "from-file"\n')
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "target__password").write_text("hunter3")
    result = shaker(
        "config",
        "--health.port=0",
        SHAKER_CONFIG=str(path),
        SHAKER_SECRETS_DIR=str(secrets),
        SHAKER_SOURCE__URL="redis://u:hunter2@h",
        SHAKER_TARGET__URL="redis://[::1]",
    )

    assert (result.returncode, result.stderr) == (0, "")
    rows = {line.split()[0]: line.split(maxsplit=1)[1].strip() for line in result.stdout.splitlines()}
    assert rows["name"].split() == ["from-file", str(path)]
    assert rows["health.port"].split(maxsplit=1) == ["0", "command line"]
    assert rows["source.url"].split(maxsplit=1)[0] == "redis://u:***@h:6379"
    assert rows["source.url"].endswith("environment SHAKER_SOURCE__URL")
    assert rows["target.url"].startswith("redis://[::1]:6379")
    assert rows["target.password"].split() == ["***", str(secrets / "target__password")]
    assert rows["source.password"] == "default"
    assert "hunter" not in result.stdout
    assert {"setting", *SETTINGS} == set(rows)


def test_config_check_only_validates() -> None:
    good, bad = shaker("config", "--check", **URLS), shaker("config", "--check", SHAKER_NAME="a b")

    assert (good.returncode, good.stdout, good.stderr) == (0, "settings are valid\n", "")
    assert (bad.returncode, bad.stdout, len(bad.stderr.splitlines())) == (2, "", 3)


def test_config_fits_a_narrow_terminal() -> None:
    # A terminal of its own, because the table is drawn otherwise where nobody looks.
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "shaker", "config"],
        env={**os.environ, **URLS, "COLUMNS": "60", "TERM": "xterm"},
        cwd=ROOT,
        stdout=secondary,
        stderr=secondary,
    )
    os.close(secondary)
    output = b""
    try:
        while chunk := os.read(primary, 65536):
            output += chunk
    except OSError:
        pass  # how the end of a pseudo terminal is told
    finally:
        os.close(primary)

    assert process.wait(timeout=60) == 0
    assert b"redis://127.0.0." in output
    assert "…".encode() not in output
    assert max(len(re.sub(rb"\x1b\[[0-9;]*m", b"", line)) for line in output.splitlines()) <= 60


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
