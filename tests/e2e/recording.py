"""A recording of a migration on a terminal, as a new user makes it: `python -m tests.e2e.recording` (two minutes).

It writes docs/migration.cast, which `asciinema play` shows. A real shell runs on a terminal of its own, and what is
typed there is what a reader would type.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from shaker.commands.sample import seed
from tests.support.load import LoadProcess
from tests.support.servers import Server, free_port, wait_until
from tests.support.worker import ROOT

FILE = ROOT / "docs" / "migration.cast"
WIDTH, HEIGHT = 112, 32
FAR = 600_000  # milliseconds: no key of the load expires meanwhile
PROMPT = "$ "
CTRL_C = "\x03"
KEYSTROKE = 0.04  # seconds


class Terminal:
    """A shell on a terminal; `events` has everything that it wrote, with the time of each. A context manager."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        inputrc = directory / ".inputrc"
        inputrc.write_text("set enable-bracketed-paste off\n")
        self.events: list[tuple[float, str]] = []
        self._began = time.monotonic()
        self._primary, secondary = pty.openpty()
        fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"],
            cwd=directory,
            env=environment | {"PS1": PROMPT, "TERM": "xterm-256color", "INPUTRC": str(inputrc)},
            stdin=secondary,
            stdout=secondary,
            stderr=secondary,
            preexec_fn=_own_terminal,
        )
        os.close(secondary)
        self._reader = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        pending = b""
        while True:
            try:
                data = os.read(self._primary, 65536)
            except OSError:  # Linux reports the end of a pseudo terminal as an error
                return
            if not data:
                return
            pending += data
            try:
                text = pending.decode()
            except UnicodeDecodeError:
                continue  # a character is not whole yet
            pending = b""
            self.events.append((time.monotonic() - self._began, text))

    @property
    def text(self) -> str:
        """Everything that was written."""
        return "".join(text for _, text in self.events)

    def type(self, keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            os.write(self._primary, key.encode())
            time.sleep(KEYSTROKE)

    def run(self, command: str, *, until: str = "", then: str = "", seconds: float = 120.0) -> str:
        """Type a command, and return what it wrote up to the prompt; after text like `until`, press `then`."""
        begun = len(self.text)
        self.type(f"{command}\r")
        if until:
            wait_until(lambda: re.search(until, self.text[begun:]), until, seconds)
            self.type(then)
        wait_until(lambda: self.text[begun:].endswith(f"\n{PROMPT}"), f"the end of {command}", seconds)
        time.sleep(0.5)
        return self.text[begun:]

    def __enter__(self) -> Self:
        self._reader.start()
        wait_until(lambda: self.text.endswith(PROMPT), "the prompt")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._primary)

    def save(self, path: Path) -> None:
        """Write the recording as asciicast, version 2."""
        header = {
            "version": 2,
            "width": WIDTH,
            "height": HEIGHT,
            "idle_time_limit": 2,
            "title": "shaker: a migration",
        }
        lines = [json.dumps(header), *(json.dumps([round(at, 3), "o", text]) for at, text in self.events)]
        path.write_text("\n".join(lines) + "\n")


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def migrate(terminal: Terminal, load: LoadProcess) -> dict[str, str]:
    """Migrate as a new user; return what each command wrote, by its name."""
    found = {}
    found["preflight"] = terminal.run("shaker preflight --measure-seconds 1")
    found["interrupted"] = terminal.run("shaker run --mode migrate", until=r" [45]\d %", then=CTRL_C)
    found["code"] = terminal.run("echo exit code $?")
    found["under load"] = terminal.run("shaker run --mode migrate")
    terminal.run("shaker run --log.format json > worker.log &")
    found["wait"] = terminal.run("until shaker cutover --dry-run 2> reasons; do sleep 1; done")
    found["status"] = terminal.run("shaker status")
    found["cutover"] = terminal.run("shaker cutover --report report.md")
    load.stop()
    found["again"] = terminal.run("shaker run --mode migrate")
    found["code again"] = terminal.run("echo exit code $?")
    return found


def record(directory: Path, *, keys: int, keys_per_second: int, file: Path) -> dict[str, str]:
    """Record a migration of `keys` keys under load; return what each command wrote."""
    with ExitStack() as stack:
        source, target = stack.enter_context(Server()), stack.enter_context(Server())
        seed(source.client(), keys, shortest_expiry=FAR)
        (directory / "token").write_text("a long random token\n")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHAKER_")}
        environment = inherited | {
            "HOME": str(directory),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SHAKER_SOURCE__URL": source.url,
            "SHAKER_TARGET__URL": target.url,
            "SHAKER_CONTROL__TOKEN_FILE": str(directory / "token"),
            "SHAKER_HEALTH__HOST": "127.0.0.1",
            "SHAKER_HEALTH__PORT": str(free_port()),
            "SHAKER_RATE__SNAPSHOT_KEYS": str(keys_per_second),
        }
        load = stack.enter_context(LoadProcess(source, rate=300, shortest_expiry=FAR))
        with Terminal(directory, environment) as terminal:
            found = migrate(terminal, load)
            terminal.save(file)
    return found


def main() -> None:
    """Write docs/migration.cast."""
    with tempfile.TemporaryDirectory() as directory:
        found = record(Path(directory), keys=50_000, keys_per_second=7000, file=FILE)
    sys.stdout.write("".join(f"== {name}\n{text}\n" for name, text in found.items()))
    sys.stdout.write(f"{FILE}: {FILE.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
