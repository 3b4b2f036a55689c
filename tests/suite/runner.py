"""One unit of the suite as a process, in a copy of the suite that is gone with its run."""

from __future__ import annotations

import os
import re
import selectors
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.suite.expected import LEFT_OUT
from tests.support.servers import Server

HOOK = Path(__file__).with_name("hook.tcl")
TICK = 0.1  # seconds
UNIT_SECONDS = 1200
_LINE = re.compile(r"^\[(ok|err|ignore|skip|exception)\]: (.*)$", re.MULTILINE)


@dataclass
class Unit:
    """The outcome of one unit: its tests by outcome, and the messages of those that failed."""

    passed: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: int = 0
    output: str = ""


class Suite:
    """A copy of the suite below `path`, the root of a source tree of Redis or Valkey. A context manager."""

    def __init__(self, path: Path, program: str) -> None:
        if not (path / "tests" / "test_helper.tcl").exists():
            raise SystemExit(f"{path} holds no tests/test_helper.tcl: name the root of the server's sources")
        self.directory = Path(tempfile.mkdtemp(prefix="shaker-suite-"))
        shutil.copytree(path / "tests", self.directory / "tests", symlinks=True)
        (self.directory / "tests" / "tmp").mkdir(exist_ok=True)
        self._link_programs(program)
        self._listener = socket.create_server(("127.0.0.1", 0))

    def _link_programs(self, program: str) -> None:
        """Give the suite the programs that it calls: the server, and tools of its release where they can be found."""
        (self.directory / "src").mkdir()
        words = shlex.split(Path(program).read_text().splitlines()[-1]) if _is_launcher(program) else []
        for family in ("redis", "valkey"):
            (self.directory / "src" / f"{family}-server").symlink_to(program)
            for tool in ("cli", "benchmark"):
                own = Path(words[-2]).with_name(f"{family}-{tool}") if words else None
                link = self.directory / "src" / f"{family}-{tool}"
                if own is not None and own.exists():
                    link.write_text(f'#!/bin/sh\n{shlex.join([*words[:4], str(own)])} "$@"\n')
                    link.chmod(0o755)
                elif found := shutil.which(f"redis-{tool}"):
                    link.symlink_to(found)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def units(self) -> list[str]:
        """Return all units that the suite lists."""
        return self._tclsh("--list-tests").split()

    def _tclsh(self, *arguments: str) -> str:
        command = ["tclsh", "tests/test_helper.tcl", *arguments]
        return subprocess.run(command, cwd=self.directory, check=True, capture_output=True, text=True).stdout

    def run(
        self,
        unit: str,
        server: Server,
        *,
        tested: Callable[[str], None],
        tick: Callable[[], None],
        even_skipped: bool = False,
    ) -> Unit:
        """Run one unit against `server`; call `tested` after each test, while the suite waits.

        `even_skipped`: also the tests that the suite skips against an external server.
        """
        command = ["setpriv", "--pdeathsig", "KILL", "tclsh", str(HOOK), "--single", unit]
        command += ["--host", "127.0.0.1", "--port", str(server.port)]
        command += [word for test in LEFT_OUT for word in ("--skiptest", test)]
        command += ["--durable", "--baseport", str(20000 + os.getpid() % 10000)]
        reports = str(self._listener.getsockname()[1])
        environment = os.environ | {"SUITE_PORT": reports, "SUITE_PID": str(server.pid), "TERM": "dumb"}
        if even_skipped:
            environment["SUITE_EVEN_SKIPPED"] = "1"
        log = self.directory / "output"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
            try:
                self._serve(process, tested, tick)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, 9)
                process.wait()
        return outcome(log.read_text(errors="replace"))

    def _serve(
        self, process: subprocess.Popen[bytes], tested: Callable[[str], None], tick: Callable[[], None]
    ) -> None:
        """Answer the hook until the process ends."""
        deadline = time.monotonic() + UNIT_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            readers: list[socket.socket] = []
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the unit did not end within {UNIT_SECONDS} s")
                for key, _ in selector.select(TICK):
                    if key.fileobj is self._listener:
                        connection = self._listener.accept()[0]
                        selector.register(connection, selectors.EVENT_READ)
                        readers.append(connection)
                        continue
                    connection = key.fileobj  # type: ignore[assignment]
                    if name := _read_line(connection):
                        tested(name)
                        connection.sendall(b"go on\n")
                    else:
                        selector.unregister(connection)
                tick()
            for connection in readers:
                connection.close()


def _is_launcher(program: str) -> bool:
    """Return whether this is a launcher of .ci/redis-servers: `exec loader --library-path … program "$@"`."""
    with Path(program).open("rb") as file:
        return file.read(2) == b"#!"


def _read_line(connection: socket.socket) -> str:
    """Return the name of a test; the hook sends one at a time. Empty at the end."""
    data = b""
    while not data.endswith(b"\n"):
        try:
            more = connection.recv(65536)
        except ConnectionError:
            return ""
        if not more:
            return ""
        data += more
    return data.decode(errors="replace").strip() or "(without a name)"


def outcome(output: str) -> Unit:
    """Return what the output of the suite tells of its tests."""
    unit = Unit(output=output)
    for kind, text in _LINE.findall(output):
        if kind == "ok":
            unit.passed += 1
        elif kind in ("ignore", "skip"):
            unit.skipped += 1
        else:
            unit.failures.append(text)
    return unit
