"""`shaker status`: what a running worker says, as a line, as JSON, drawn live."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from shaker.cli import main
from shaker.commands.status import draw, line
from shaker.watch.http.routes import HealthServer
from shaker.watch.status import State, Status
from shaker.watch.status_document import status_document

ROOT = Path(__file__).parents[2]


@pytest.fixture
def status() -> Status:
    status = Status(name="orders", state=State.STREAMING)
    status.source.address, status.target.address = "127.0.0.1:6379", "127.0.0.1:6380"
    status.observe_source_offset(3000)
    status.observe_applied(1000, 10, 0.001)
    return status


def test_one_line_says_it_all(health: HealthServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--health.port", str(health.port)]) == 0

    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    assert out.startswith("orders: streaming, ready; lag 2.0 KiB, ")
    assert "offset 1000 applied of 3000" in out
    assert out.endswith("127.0.0.1:6379 to 127.0.0.1:6380\n")


def test_json_is_the_document_of_the_server(
    health: HealthServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHAKER_HEALTH__PORT", str(health.port))

    assert main(["status", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["version"], document["name"], document["stream"]["applied_offset"]) == (1, "orders", 1000)


@pytest.mark.parametrize("path", ["", "/", "/status"])
def test_url_asks_another_worker(health: HealthServer, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--url", f"http://127.0.0.1:{health.port}{path}"]) == 0
    assert capsys.readouterr().out.startswith("orders: ")


def test_why_it_is_not_ready_is_in_the_line(status: Status) -> None:
    status.reasons["rejected"] = "1 command was rejected"

    assert "not ready because 1 command was rejected" in line(status_document(status, max_lag_seconds=30))


def test_a_snapshot_shows_how_far_it_is(status: Status) -> None:
    status.state = State.SNAPSHOT
    status.snapshot.bytes_total, status.snapshot.bytes_done = 4096, 1024
    status.snapshot.keys_total, status.snapshot.keys_done = 4000, 1000
    document = status_document(status, max_lag_seconds=30)

    assert "snapshot 1,000 of 4,000 keys, 1.0 KiB of 4.0 KiB" in line(document)
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115 - the console closes nothing
    with console.file:
        console.print(draw(document))
    assert "━" in console.export_text()


def test_what_a_server_says_cannot_drive_the_terminal(status: Status) -> None:
    status.source.last_error = status.source.address = status.reasons["x"] = "\x1b[2J[red]x\n\u202e"
    document = status_document(status, max_lag_seconds=30)
    with open(os.devnull, "w") as nowhere:
        console = Console(width=200, record=True, file=nowhere)
        console.print(draw(document))

    for text in (line(document), console.export_text()):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "[red]x" in text


def test_no_worker_is_75(health: HealthServer, capsys: pytest.CaptureFixture[str]) -> None:
    health.stop()

    assert main(["status", "--health.port", str(health.port)]) == 75
    assert "no answer from the worker" in capsys.readouterr().err


def test_another_server_at_the_port_is_75(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n[1]")

        thread = threading.Thread(target=answer)
        thread.start()
        code = main(["status", "--url", f"http://127.0.0.1:{listener.getsockname()[1]}"])
        thread.join()

    assert code == 75
    assert "is not a worker" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://h", "http://", "http://h:x"])
def test_a_url_that_cannot_be_asked_is_2(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--url", url]) == 2
    assert "--url: is not an address" in capsys.readouterr().err


def test_watch_draws_until_it_is_interrupted(health: HealthServer, status: Status) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "shaker", "status", "--watch", "--health.port", str(health.port)],
        env={**os.environ, "TERM": "xterm", "FORCE_COLOR": "1"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        with process.stdout as output:
            for text in output:
                if "streaming, ready" in text:
                    break
            status.state = State.PAUSED
            for text in output:
                if "not ready: state is paused" in text:
                    break
            process.send_signal(signal.SIGINT)
            output.read()
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


def test_a_server_that_answers_is_not_called_unreachable(status: Status) -> None:
    """Out of memory is no broken network."""
    status.target.connected = False
    status.count_error("target", "oom", "the target cannot take writes now: OOM")
    console = Console(width=200, record=True, file=io.StringIO())

    console.print(draw(status_document(status, max_lag_seconds=30)))

    assert "reachable, but refuses, last error: the target cannot take writes now: OOM" in console.export_text()
