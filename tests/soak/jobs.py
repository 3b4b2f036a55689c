"""A migration as a Job runs it, killed at random again and again: it completes, and both servers are equal.

`python -m tests.soak.jobs --times 10 --kills 10` prints one line for each Job; exit code 1 unless each of them
completes with both servers equal, and every run on the way ends with the exit code of the contract.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from typing import Final, NamedTuple

from shaker.commands.sample import Load, seed
from shaker.errors import EXIT_INCOMPLETE, EXIT_OK
from tests.support import oracle
from tests.support.compare import differences
from tests.support.proxy import Proxy
from tests.support.servers import Server
from tests.support.worker import Worker
from tests.support.writes import syncs

FAR: Final = 600_000  # milliseconds: no key of the load expires meanwhile
MIGRATE: Final = {"SHAKER_MODE": "migrate", "SHAKER_MIGRATE__VERIFY": "true"}
KILLED: Final = -signal.SIGKILL
# A process that is not a worker yet: Python itself is starting.
EARLY: Final = -signal.SIGTERM


class Story(NamedTuple):
    """One Job: each signal with the state that it met and the exit code, the full syncs, and the last exit code."""

    ends: list[tuple[str, str, int]]
    full_syncs: int
    code: int


def migrate(draw: random.Random, *, keys: int, kills: int) -> Story:
    """Run one Job to its end; raises AssertionError for an exit code of no contract, or a difference."""
    ends = []
    with Server() as source, Server() as target, Proxy(target) as proxy:
        seed(source.client(), keys, shortest_expiry=FAR)
        with Load(source.client(), rate=300, shortest_expiry=FAR) as load:
            worker = Worker(source, proxy.url, **MIGRATE)
            for kill in range(kills):
                # The first ones meet a slow snapshot, the others any state up to the end.
                proxy.set("up", bandwidth=3_000_000 if kill < kills // 3 else None)
                worker.start()
                ends.append(_end(worker, draw))
            load.stop()
        proxy.heal()
        worker.start()
        code = worker.wait_ended(300)
        assert code == EXIT_OK, worker.describe()
        assert differences(source, target) == []
        assert oracle.differences(source, target) == []
        worker.start()
        assert worker.wait_ended() == EXIT_OK
        assert len(worker.events("migration already complete")) == 1
        return Story(ends, syncs(source)[0], code)


def _end(worker: Worker, draw: random.Random) -> tuple[str, str, int]:
    """Signal the worker at a moment of the next seconds, unless it ends by itself; return what came of it."""
    by = draw.choice((signal.SIGTERM, signal.SIGKILL))
    deadline = time.monotonic() + draw.uniform(0.2, 5)
    while time.monotonic() < deadline and worker.returncode is None:
        time.sleep(0.02)
    if worker.returncode is not None:
        code = worker.wait_ended()
        assert code == EXIT_OK, worker.describe()
        return "none", "ended", code
    state = _state(worker)
    if by == signal.SIGKILL:
        worker.kill()
        assert worker.returncode in (KILLED, EXIT_OK), worker.describe()
    else:
        worker.terminate()
        code = worker.wait_ended(60)
        allowed = (EARLY,) if state == "beginning" else (EXIT_INCOMPLETE, EXIT_OK)
        assert code in allowed or (state == "beginning" and code == EXIT_INCOMPLETE), worker.describe()
    return by.name, state, worker.returncode


def _state(worker: Worker) -> str:
    if not worker.events("health server started"):
        return "beginning"
    try:
        status = worker.status()
    except OSError:
        return "ending"
    if (status["verification"]["requested"] or {}).get("running"):
        return "verifying"
    return str(status["state"])


def main() -> int:
    """Run as often as asked; return 1 if a Job did not complete as it should."""
    parser = argparse.ArgumentParser(prog="tests.soak.jobs", description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--kills", type=int, default=10, help="signals for each Job")
    parser.add_argument("--keys", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=None, help="draw the same signals again")
    given = parser.parse_args()
    number = given.seed if given.seed is not None else random.randrange(1 << 31)
    sys.stdout.write(f"seed {number}\n")
    draw, failed = random.Random(number), 0
    for time_ in range(1, given.times + 1):
        try:
            story = migrate(draw, keys=given.keys, kills=given.kills)
        except AssertionError as error:
            failed += 1
            sys.stdout.write(f"{time_:3} FAILED: {error}\n")
        else:
            ends = ", ".join(f"{name} {state} {code}" for name, state, code in story.ends)
            sys.stdout.write(f"{time_:3} complete and equal, {story.full_syncs} full syncs; {ends}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{given.times - failed} of {given.times} complete and equal\n")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
