"""The commands of docs/migration.md, run in its order between two real servers, print the output shown there."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from shaker.commands.sample import seed
from tests.support.compare import differences
from tests.support.servers import Server
from tests.support.terminal import ESCAPES, on_a_terminal
from tests.support.worker import ROOT

PAGE = ROOT / "docs" / "migration.md"
URLS = ("redis://127.0.0.1:6379", "redis://127.0.0.1:6380")
BLOCK = re.compile(r"^```(sh)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> tuple[list[str], list[str]]:
    """Return the commands and the outputs of the page."""
    found = BLOCK.findall(PAGE.read_text())
    return [text for kind, text in found if kind], [text for kind, text in found if not kind]


def without_numbers(text: str) -> str:
    """Return text with each number, and each unit of bytes, as N."""
    return re.sub(r"\d[\d.,]*\d|\d", "N", text)


def free_port() -> int:
    """A port that stays free between the runs: below those that the system gives to connections."""
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no free port")


@pytest.mark.timeout(180)
def test_the_runbook_of_a_migration(server: Callable[..., Server], tmp_path: Path) -> None:
    """As a shell runs it that stops at the first failure; each line of the shown outputs is printed."""
    source, target = server(), server()
    seed(source.client(), 500, shortest_expiry=600_000)
    commands, outputs = blocks()
    script = "set -em\n" + "".join(f"{text}echo '# next'\n" for text in commands)
    for url, each in zip(URLS, (source, target), strict=True):
        assert url in script
        script = script.replace(url, each.url)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHAKER_")}
    environment = inherited | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SHAKER_HEALTH__HOST": "127.0.0.1",
        "SHAKER_HEALTH__PORT": str(free_port()),
        "COLUMNS": "200",
        "TERM": "xterm",
    }
    code, output = on_a_terminal(["bash", "-c", script], directory=tmp_path, environment=environment)
    printed = ESCAPES.sub("", output).replace("\r", "")
    assert code == 0, printed
    assert printed.count("# next") == len(commands)
    shown = without_numbers(printed)
    for line in "".join(outputs).splitlines():
        for part in without_numbers(line).strip(".").split("; "):
            assert part in shown, (part, printed)
    assert "migration already complete" in printed
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert differences(source, target) == []
