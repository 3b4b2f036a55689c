"""Cutovers under a steady load of writes that fail at each step: aborted, by a lost link, or with the worker killed.

`python -m tests.soak.cutovers --rate 20000` prints one line for each; exit code 1 unless each time the source takes
writes again in time, the same or the next worker streams, and no acknowledged write is missing or doubled.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.bench.cutover import KEYS, Writer
from tests.e2e.test_cutover import Command
from tests.faults.stopping import Mark, Moment, StoppingProxy
from tests.support.control import post, write_token
from tests.support.proxy import Proxy
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker

FENCE_SECONDS: Final = 4.0
ENDINGS: Final = ("aborted", "link lost", "killed")
PAUSED: Final = Mark(("CLIENT", "PAUSE"))
COMPARES: Final = Mark(("DUMP",))
HOOK: Final = "hook"


class Step(NamedTuple):
    """Where a cutover is stopped: at a request to the source, or with `target`, in what the target has to apply.

    `behind_fence`: the request is the first such one behind the fence.
    """

    phase: str
    mark: Mark = PAUSED
    moment: Moment = "withheld"
    behind_fence: bool = False
    target: bool = False


STEPS: Final = {
    "before the note": Step("preparing", Mark(("CONFIG", "GET", "min-replicas-to-write"), 3)),
    "at the proof of CONFIG SET": Step("preparing", Mark(("CONFIG", "SET", "min-replicas-max-lag"))),
    "while all keys are compared": Step("verifying", COMPARES),
    "before the fence": Step("fencing"),
    "behind the fence": Step("fencing", PAUSED, "answer withheld"),
    "while the target catches up": Step("catching_up", target=True),
    "while changed keys are compared": Step("comparing", COMPARES, behind_fence=True),
    "in the hook": Step(HOOK),
    "before the lasting fence": Step("closing", Mark(("CONFIG", "SET", "min-replicas-to-write"))),
    "behind the lasting fence": Step(
        "closing", Mark(("CONFIG", "SET", "min-replicas-max-lag"), 3), "answer withheld"
    ),
}


class Failure(NamedTuple):
    """One cutover that was made to fail: how it ended, and how long the source took no writes afterwards."""

    outcome: str
    closed_seconds: float
    writes: int


class Scene:
    """Servers, a worker that could cut over, and writers at `rate` a second. A context manager."""

    def __init__(self, step: Step, *, keys: int, rate: float) -> None:
        self._stack = ExitStack()
        enter = self._stack.enter_context
        self.step = step
        self.source, self.target = enter(Server()), enter(Server())
        self.source.client().mset({f"key:{number}": "x" * 100 for number in range(keys)})
        first = Mark(("NEVER",)) if step.phase == HOOK else PAUSED if step.behind_fence else step.mark
        moment: Moment = "answer withheld" if step.behind_fence else step.moment
        self.near = enter(StoppingProxy(self.source, first, moment))
        self.far = enter(Proxy(self.target))
        self.token = write_token(Path(enter(tempfile.TemporaryDirectory())))
        self.settings = {"SHAKER_CONTROL__TOKEN_FILE": str(self.token), "SHAKER_VERIFY__CONTINUOUS": "false"}
        self.worker = enter(Worker(self.near.url, self.far.url, **self.settings))
        self.writer = enter(Writer(self.source, rate, persistent=True))
        self.worker.wait_status(lambda found: found["cutover"]["possible"], "a possible cutover", 120)

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def cut_over(self) -> Command:
        """Order a cutover, and return once it stands at the step."""
        hook = "sleep 60" if self.step.phase == HOOK else "true"
        fence = f"{FENCE_SECONDS:g}"
        command = Command(self.worker, self.token, "--fence-seconds", fence, "--run-when-fenced", hook)
        if self.step.phase != HOOK:
            self.worker.wait(lambda: self.near.stopped, "the step", 60)
        if self.step.behind_fence:
            self.near.aim(self.step.mark, self.step.moment)
            self.worker.wait(lambda: self.near.stopped, "the step behind the fence", 60)
        if self.step.target:
            self.far.set("up", stalled=True)
            before = self.writer.writes
            wait_until(lambda: self.writer.writes > before + KEYS, "writes that the target lacks")
            self.near.go_on()
        self.worker.wait_status(lambda found: found["cutover"]["phase"] == self.step.phase, self.step.phase, 30)
        return command

    def end(self, ending: str) -> None:
        """Make the cutover fail; with "killed", start the next worker."""
        if ending == "aborted":
            assert post(self.worker, "abort")[1]["ok"]
            self.near.go_on()
        elif ending == "link lost":
            self.near.reset()
            self.near.go_on()
        else:
            self.worker.kill()
            self.near.hang_up()
        self.far.heal()
        if ending == "killed":
            port = {"SHAKER_HEALTH__PORT": str(self.worker.port)}
            self.worker = self._stack.enter_context(Worker(self.near.url, self.far.url, **self.settings, **port))

    def check(self) -> None:
        """Raise AssertionError unless the worker streams, and each counter is the same everywhere."""
        self.worker.wait_state("streaming", seconds=60)
        self.writer.stop()
        self.worker.wait_applied(self.source)
        names = [f"counter:{index}" for index in range(KEYS)]
        for server in (self.source, self.target):
            found = [int(value or 0) for value in server.client().mget(names)]
            assert found == self.writer.acknowledged, "an acknowledged write is missing or doubled"
        assert self.source.info("stats")["sync_full"] == 1
        assert self.source.client().config_get("min-replicas-to-write")["min-replicas-to-write"] == "0"


def fail(step: Step, ending: str, *, keys: int, rate: float) -> Failure:
    """Have one cutover fail; raises AssertionError where that does harm."""
    with Scene(step, keys=keys, rate=rate) as scene:
        command = scene.cut_over()
        began = time.monotonic()
        scene.end(ending)
        wait_until(_written_since(scene.writer, time.monotonic()), "writes again", 30)
        closed = scene.writer.last_write - began
        code, report = command.ended(60)
        assert code == 75, report
        assert report["outcome"] in ("aborted", "failed"), report
        assert report["source_open"] is True, report
        scene.check()
        # Of a worker that is killed, the pause runs out.
        assert closed < FENCE_SECONDS + (1.0 if ending == "killed" else 0.0), f"shut for {closed:.3f} s"
        return Failure(report["outcome"], closed, scene.writer.writes)


def _written_since(writer: Writer, moment: float) -> Callable[[], Any]:
    return lambda: writer.last_write > moment


def main() -> int:
    """Fail at each step in each way; return 1 if one did harm."""
    parser = argparse.ArgumentParser(prog="tests.soak.cutovers", description=__doc__)
    parser.add_argument("--rate", type=float, default=20_000, help="writes per second")
    parser.add_argument("--keys", type=int, default=20_000, help="keys besides the counters")
    parser.add_argument("--step", choices=STEPS, action="append", help="this step alone; may be repeated")
    parser.add_argument("--ending", choices=ENDINGS, action="append", help="this ending alone; may be repeated")
    given = parser.parse_args()
    harmed = 0
    for name in given.step or STEPS:
        for ending in given.ending or ENDINGS:
            line = f"{name}, {ending}: "
            try:
                found = fail(STEPS[name], ending, keys=given.keys, rate=given.rate)
            except AssertionError as error:
                harmed += 1
                line += f"HARM: {error}"
            else:
                line += f"{found.outcome}, open after {found.closed_seconds:.3f} s, {found.writes:,} writes, 0 lost"
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{harmed} did harm\n")
    return int(harmed > 0)


if __name__ == "__main__":
    sys.exit(main())
