"""`shaker healthcheck`: the local worker's `/livez` as an exit code, by a process that starts fast."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shaker.commands.healthcheck import main, worker_address
from shaker.errors import SettingsError
from shaker.watch.http.routes import HealthServer
from shaker.watch.status import Status

ROOT = Path(__file__).parents[2]


@pytest.fixture
def status() -> Status:
    return Status()


def test_a_live_worker_is_0(health: HealthServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], {"SHAKER_HEALTH__PORT": str(health.port)}) == 0
    assert capsys.readouterr() == ("", "")


def test_a_stalled_worker_is_75(health: HealthServer, status: Status, capsys: pytest.CaptureFixture[str]) -> None:
    status.heartbeat("target", within=-1)

    assert main(["--health.port", str(health.port)], {}) == 75
    assert capsys.readouterr().err == "the worker answers 503: target is stalled\n"


def test_no_worker_is_75(health: HealthServer, capsys: pytest.CaptureFixture[str]) -> None:
    health.stop()

    assert main([f"--health.port={health.port}"], {}) == 75
    assert "no answer from the worker at 127.0.0.1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["--health.prt", "1"], ["--health.port"], ["--health.port", "x"], ["--health.port", "70000"], ["hunter2"]],
)
def test_bad_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments, {}) == 2
    assert capsys.readouterr().err


def test_a_port_that_only_the_worker_knows_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], {"SHAKER_HEALTH__PORT": "0"}) == 2
    assert "give --health.port" in capsys.readouterr().err


def test_the_help_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"], {}) == 0
    assert "usage: shaker healthcheck" in capsys.readouterr().out


def test_the_address_follows_the_precedence_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "shaker.toml"
    path.write_text('[health]\nhost = "10.0.0.1"\nport = 1\n')
    file = {"SHAKER_CONFIG": str(path)}

    assert worker_address({}, {}) == ("127.0.0.1", 8080)
    assert worker_address({}, file) == ("10.0.0.1", 1)
    assert worker_address({"config": str(path)}, {"SHAKER_CONFIG": "/nowhere"}) == ("10.0.0.1", 1)
    assert worker_address({}, {**file, "SHAKER_HEALTH__PORT": "2"}) == ("10.0.0.1", 2)
    assert worker_address({"health.port": "3"}, {**file, "SHAKER_HEALTH__PORT": "2"}) == ("10.0.0.1", 3)


@pytest.mark.parametrize(("listens", "asked"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.1.2.3", "10.1.2.3")])
def test_a_worker_that_listens_everywhere_is_asked_at_the_loopback_address(listens: str, asked: str) -> None:
    assert worker_address({}, {"SHAKER_HEALTH__HOST": listens})[0] == asked


@pytest.mark.parametrize("content", [None, b"port = hunter2", b"[health]\nport = 'hunter2'"])
def test_a_file_that_cannot_be_used_is_a_fault(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "shaker.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SettingsError) as caught:
        worker_address({}, {"SHAKER_CONFIG": str(path)})
    assert "hunter2" not in str(caught.value)


def test_the_process_imports_next_to_nothing(health: HealthServer) -> None:
    script = (
        "import sys; from shaker.__main__ import main; code = main(['healthcheck', *sys.argv[1:]]); "
        "print(code, *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    result = subprocess.run(
        # -I: what a machine loads into every interpreter is none of ours.
        [sys.executable, "-I", "-c", script, "--health.port", str(health.port)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    code, *modules = result.stdout.split()
    assert code == "0", result.stderr
    heavy = {
        "pydantic",
        "pydantic_settings",
        "redis",
        "anyio",
        "asyncio",
        "rich",
        "structlog",
        "starlette",
        "h11",
    }
    assert not heavy & {*modules}
    assert "argparse" not in modules
