"""`shaker demo`: private servers, live load, a worker killed in the middle, and the proof that nothing was lost."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

import anyio
import redis
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from shaker.commands.demo_processes import POLL, WAIT, DemoServer, DemoWorker, server_program, wait
from shaker.commands.flags import Parser
from shaker.commands.sample import Load, seed
from shaker.errors import EXIT_DIFFERENT, EXIT_OK, LinkError, SettingsError
from shaker.jobs.verify_static import compare_static
from shaker.jobs.verify_walk import Selection
from shaker.settings.schema import Settings
from shaker.watch import log
from shaker.watch.verification import Findings, Pass, by_kind, named

KEYS = 200_000
SECONDS = 3.0  # duration of each part of the live load
RATE = 2000  # operations per second


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


# Maximum by which expiries are later on the target: the margin of a worker on a busy machine.
LATER_SECONDS = 8.0
EXAMPLES = 10  # differing keys that are named


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
        source = DemoServer(self._stack, directory, "source", program)
        target = DemoServer(self._stack, directory, "target", program)
        seed(source.client, self._keys)
        self._say(
            f"The source holds {self._keys:,} keys of every type; {RATE:,} operations a second keep changing it."
        )
        load = Load(source.client, rate=RATE)
        with load:
            worker = DemoWorker(self._stack, directory, source, target)
            wait(lambda: worker.status() is not None, "the worker to start")
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

    def _snapshot(self, worker: DemoWorker) -> None:
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

            wait(streaming, "the snapshot")
        self._say(f"Snapshot and the writes made during it: applied after {time.monotonic() - begun:.1f} s.")

    def _watch(self, worker: DemoWorker, text: str) -> None:
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

    def _kill(self, worker: DemoWorker, source: DemoServer) -> None:
        """Kill the worker by SIGKILL under load and restart it."""
        worker.process.kill()
        worker.process.wait()
        offset = source.info("replication", "master_repl_offset")
        time.sleep(1.0)
        missed = source.info("replication", "master_repl_offset") - offset
        self._say(f"Killed the worker by SIGKILL. The source wrote {missed:,} bytes in the second without it.")
        worker.start()
        wait(lambda: (status := worker.status()) and status["state"] == "streaming", "the worker to resume")

    def _resumed(self, source: DemoServer) -> None:
        """Check by the source's own counters that the restart needed no second snapshot."""
        full, partial = source.info("stats", "sync_full"), source.info("stats", "sync_partial_ok")
        if full != 1 or partial < 1:
            raise LinkError(f"the worker did not resume: the source counts {full} full and {partial} partial syncs")
        self._say(f"It resumed where it was: the source counts {full} full sync and {partial} partial sync.")

    def _settle(self, worker: DemoWorker, source: DemoServer) -> None:
        offset = source.info("replication", "master_repl_offset")
        wait(
            lambda: (
                (status := worker.status())
                and status["stream"]["applied_offset"] >= offset
                and not status["expiries"]["pending"]
            ),
            "the rest of the stream and the deferred expiries",
        )

    def _compare(self, source: DemoServer, target: DemoServer) -> Findings:
        """Compare every key, as `shaker verify --static` does."""
        settings = Settings(
            source={"url": source.url},  # type: ignore[arg-type]
            target={"url": target.url},  # type: ignore[arg-type]
            expiry={"margin_seconds": LATER_SECONDS},  # type: ignore[arg-type]
        )
        log.configure("console", "error")  # differences are named at the end
        with self._bar("Comparing", 2 * self._keys) as move:

            def show(counted: Pass) -> None:
                move(counted.passed, f"{counted.keys:,} keys")

            return anyio.run(lambda: compare_static(settings, Selection(), progress=show))

    def _drain(self, worker: DemoWorker) -> None:
        worker.process.terminate()
        try:
            code = worker.process.wait(WAIT)
        except subprocess.TimeoutExpired:
            raise LinkError("the worker did not end at SIGTERM") from None
        if code != EXIT_OK:
            raise LinkError(f"the worker did not drain: it exited with {code}")
        self._say("The worker drained at SIGTERM and exited with 0.")


def verdict(findings: Findings, seconds: float, say: Callable[[str], None]) -> int:
    """Print the result of the comparison; return the exit code."""
    keys = findings.counted.keys
    if findings.clean:
        say(f"EQUAL: {keys:,} keys compared on both servers, no difference. {seconds:.0f} s.")
        return EXIT_OK
    counts = [f"{count:,} {kind}" for kind, count in by_kind(findings.differences.values()).items() if count]
    say(f"DIFFERENT: {keys:,} keys compared on both servers: {', '.join(counts)}.")
    for each in list(findings.differences.values())[:EXAMPLES]:
        say(f"  {named(each)}")
    return EXIT_DIFFERENT
