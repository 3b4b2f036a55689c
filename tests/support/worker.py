"""The worker under test: `python -m shaker run` as a process of its own, watched by its log and `/status`."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.support.servers import Server, wait_until

ROOT = Path(__file__).resolve().parents[2]


def processor_seconds(pid: int) -> float:
    """Return the seconds of processor time, user and system, that a living process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int) -> int:
    """Return the largest resident set, in bytes, that a living process has had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} tells no VmHWM")


class Worker:
    """One worker process between `source` and `target`, given as servers or URLs. A context manager.

    `settings` are environment variables. `log` holds the events of its JSON log in order, `output` each line.
    """

    def __init__(self, source: Server | str, target: Server | str, *arguments: str, **settings: str) -> None:
        # Whatever the shell of the one who tests has set for shaker must not reach the worker under test.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("SHAKER_")}
        self.environment = inherited | {
            "SHAKER_SOURCE__URL": source if isinstance(source, str) else source.url,
            "SHAKER_TARGET__URL": target if isinstance(target, str) else target.url,
            "SHAKER_HEALTH__HOST": "127.0.0.1",
            "SHAKER_HEALTH__PORT": "0",
            "SHAKER_LOG__FORMAT": "json",
            # What holds up a worker for the good of servers in use has tests of its own, which set it.
            "SHAKER_RETRY__FULL_SYNC_SECONDS": "0",
            "SHAKER_TARGET__MAX_DELETIONS": "100%",
            # Tests count commands and keys of both servers: what verification reads would be among them.
            "SHAKER_VERIFY__CONTINUOUS": "false",
            "SHAKER_MIGRATE__VERIFY": "false",
            "SHAKER_PREFLIGHT__MEASURE_SECONDS": "0",
            **settings,
        }
        self.arguments = arguments
        self.log: list[dict[str, Any]] = []
        self.output: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> Self:
        """Start the process; it has not connected yet. A second start is a new process with the same settings."""
        self.log, self.output = [], []
        command = [sys.executable, "-m", "shaker", "run", *self.arguments]
        if threading.current_thread() is threading.main_thread():
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        atexit.register(self.close)
        self._reader = threading.Thread(target=self._read, args=(self.process, self.log, self.output), daemon=True)
        self._reader.start()
        return self

    @staticmethod
    def _read(process: subprocess.Popen[str], log: list[dict[str, Any]], output: list[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                output.append(line.rstrip("\n"))
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if isinstance(event, dict):
                    log.append(event)

    @property
    def pid(self) -> int:
        """The process id."""
        assert self.process is not None, "the worker was not started"
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """What the process ended with, None while it runs; -9 after SIGKILL."""
        assert self.process is not None, "the worker was not started"
        return self.process.poll()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the logged events of this name."""
        return [event for event in self.log if event.get("event") == name]

    def describe(self) -> str:
        """Return what a person needs to see when a wait ended in vain: exit code, status, end of the log."""
        try:
            status = json.dumps(self.status(), indent=1) if self.returncode is None and self._port() else "none"
        except (OSError, ValueError) as error:
            status = f"unreachable: {error!r}"
        last = "\n".join(self.output[-25:])
        return f"exit code {self.returncode}\nstatus {status}\nlog:\n{last}"

    def wait(self, condition: Any, what: str, seconds: float = 30.0) -> Any:
        """Return the first true value of `condition()`; fails at once if the worker ends, else after `seconds`."""

        def alive() -> Any:
            if value := condition():
                return value
            if self.returncode is not None:
                raise AssertionError("the worker ended")
            return None

        try:
            return wait_until(alive, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}, waiting for {what}\n{self.describe()}") from None

    def _port(self) -> int | None:
        return next((int(event["port"]) for event in self.events("health server started")), None)

    @property
    def port(self) -> int:
        """The port of the health server, read from the log."""
        return int(self.wait(self._port, "the health server's port in the log"))

    def get(self, path: str, seconds: float = 5.0) -> tuple[int, str]:
        """Return code and body of a GET on the health server."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=seconds) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def status(self) -> dict[str, Any]:
        """Return the document of `/status`."""
        document: dict[str, Any] = json.loads(self.get("/status")[1])
        return document

    def wait_status(self, condition: Any, what: str, seconds: float = 30.0) -> dict[str, Any]:
        """Return the first status document for which `condition(document)` is true."""

        def matching() -> Any:
            try:
                document = self.status()
            except OSError:
                return None
            return document if condition(document) else None

        found: dict[str, Any] = self.wait(matching, what, seconds)
        return found

    def wait_state(self, *states: str, seconds: float = 30.0) -> dict[str, Any]:
        """Wait until the worker is in one of `states`; return its status."""
        return self.wait_status(
            lambda document: document["state"] in states, f"state {' or '.join(states)}", seconds
        )

    def wait_applied(self, source: Server, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until all that `source` has written up to this call is applied; return the status."""
        offset = source.offset()
        return self.wait_status(
            lambda document: document["stream"]["applied_offset"] >= offset,
            f"offset {offset} to be applied",
            seconds,
        )

    def pause(self) -> None:
        """Stop the process where it stands."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def terminate(self) -> None:
        """Send SIGTERM and return at once."""
        assert self.process is not None
        self.process.terminate()

    def wait_ended(self, seconds: float = 30.0) -> int:
        """Wait until the process has ended; return its exit code."""
        assert self.process is not None
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker did not end within {seconds:g} s\n{self.describe()}") from None
        if self._reader is not None:
            self._reader.join(5)
        return code

    def kill(self) -> None:
        """End the process by SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.wait_ended()

    def close(self) -> None:
        """End the process if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        elif self._reader is not None:
            self._reader.join(5)
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()
