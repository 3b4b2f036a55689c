"""There and back under load: cutovers with `--reverse`, one after the other, with the exact history on both servers.

`python -m tests.soak.turns --times 20` prints one line for each turn; exit code 1 unless every number that an
application has counted is there once on both servers, in order, and no server has given a snapshot but the first.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.e2e.test_cutover_fences import with_user
from tests.e2e.test_way_back import REVERSE, Home, cut, equal, full_syncs, streams, with_backlog
from tests.support.control import write_token
from tests.support.servers import DEFAULT, NAMES, Server
from tests.support.worker import Worker

PAUSE = (
    0.002  # seconds between two transactions of an application: beyond its rate the worker would only fall behind
)


def turn(times: int, seconds: float, name: str) -> list[float]:
    """Turn so often, with `seconds` of load on each home; return the seconds of fenced writes.

    Raises AssertionError for a number that is missing, doubled or out of order, and for a further full sync.
    """
    fenced = []
    with ExitStack() as stack:
        enter = stack.enter_context
        old, new = enter(Server(name)), enter(Server(name))
        for each in (old, new):
            with_user(each)
        old.client().mset({f"key:{number}": "x" * 100 for number in range(20_000)})
        before = with_backlog(new, lambda kind: enter(Server(kind)))
        token = write_token(Path(enter(tempfile.TemporaryDirectory())))
        worker = enter(Worker(old, new, SHAKER_CONTROL__TOKEN_FILE=str(token)))
        streams(worker, "forward")
        home = enter(Home(old, pause=PAUSE))
        for number in range(1, times + 1):
            to, other, way = (new, old, "reverse") if number % 2 else (old, new, "forward")
            time.sleep(seconds)
            report = cut(worker, token, home, to, *REVERSE)
            streams(worker, way)
            time.sleep(seconds)
            equal(worker, home, other)
            fenced.append(float(str(report["fenced_seconds"])))
            written = sum(home.acknowledged.values())
            sys.stdout.write(f"{number:3} {way}: fenced {fenced[-1]:.3f} s, {written:,} counted so far, exact\n")
            sys.stdout.flush()
        found = full_syncs(old), full_syncs(new) - before
        assert found == (1, 0), f"full syncs: {found}"
    return fenced


def main() -> int:
    """Turn as often as asked; return 1 if the history is not exact."""
    parser = argparse.ArgumentParser(prog="tests.soak.turns", description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2.0, help="of load before and behind each turn")
    parser.add_argument("--server", choices=NAMES, default=DEFAULT)
    given = parser.parse_args()
    try:
        fenced = turn(given.times, given.seconds, given.server)
    except AssertionError as error:
        sys.stdout.write(f"FAILED: {error}\n")
        return 1
    sys.stdout.write(
        f"fenced, hook included: median {statistics.median(fenced):.3f} s, worst {max(fenced):.3f} s\n"
    )
    sys.stdout.write("one full sync in all\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
