"""Thousands of sliding sessions that the source renews until the last moment: the target may lose none.

`python -m tests.soak.sessions --busy` keeps 5,000 sessions alive for a minute; exit code 1 on any difference.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any, Final

import redis

from tests.soak.busy import Busy
from tests.soak.renewing import DATABASES, Sessions
from tests.support.proxy import Proxy
from tests.support.servers import DEFAULT, NAMES, Server, wait_until
from tests.support.worker import Worker

LAST_TTL: Final = 600  # seconds that the living sessions get at the end, so that they can be compared
PAUSES: Final = (0.3, 1.5)  # seconds that the worker is stopped: less than the default of expiry.margin_seconds
BETWEEN_PAUSES: Final = (1.0, 4.0)
GRACE = 30.0  # seconds until a session that has ended is gone on the target
CHUNK: Final = 500
SHOWN: Final = 5
WRONG: Final = ("lost", "rebuilt", "doubled", "left over", "never expire")


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Run once; return the figures in the order in which they are shown."""
    with ExitStack() as stack:
        source = stack.enter_context(Server(given.source))
        target = stack.enter_context(Server(given.target or given.source))
        urls = [source.url, target.url]
        if given.rtt:
            for place, server in enumerate((source, target)):
                proxy = stack.enter_context(Proxy(server))
                proxy.set(latency=given.rtt / 2)
                urls[place] = proxy.url
        stack.enter_context(Busy() if given.busy else nullcontext())
        worker = stack.enter_context(Worker(urls[0], urls[1]))
        worker.wait_state("streaming", seconds=120)
        sessions = Sessions(source, given.sessions, given.seed)
        pauses = _keep_alive(sessions, worker, given)
        sessions.renew_all(LAST_TTL)
        worker.wait_applied(source, 180)
        worker.wait_status(lambda status: not status["expiries"]["pending"], "true expiries", 180)
        worker.wait(lambda: worker.get("/readyz")[0] == 200, "readiness", 60)
        status = worker.status()
        if given.log:
            given.log.write_text("\n".join(worker.output))
        return {
            "sessions": given.sessions,
            "renewals": sessions.renewals,
            "of them by GETEX": sessions.by_getex,
            "in the last second": sessions.late,
            "in the last half of a second": sessions.later,
            "sessions that ended": sessions.ended,
            "too late: expired on the source": sessions.missed,
            "pauses of the worker": pauses,
            "keys that the target expired by itself": _own_expiries(target),
            "keys settled, copied": f"{status['expiries']['keys_settled']}, {status['expiries']['keys_copied']}",
            "rejected": len(worker.events("the target rejected a command")),
            **_compare(source, target),
        }


def _keep_alive(sessions: Sessions, worker: Worker, given: argparse.Namespace) -> int:
    """Renew for as long as asked, and stop the worker now and then; return how often."""
    ended, pauses, draw = threading.Event(), 0, random.Random(given.seed + 1)

    def pause() -> None:
        nonlocal pauses
        while not ended.wait(draw.uniform(*BETWEEN_PAUSES)):
            worker.pause()
            try:
                time.sleep(draw.uniform(*PAUSES))
            finally:
                worker.resume()
            pauses += 1

    thread = threading.Thread(target=pause, name="pauses")
    if given.pauses:
        thread.start()
    try:
        sessions.keep_alive(given.seconds)
    finally:
        ended.set()
        if given.pauses:
            thread.join()
    return pauses


def _own_expiries(target: Server) -> int:
    return int(target.info("stats")["expired_keys"])


def _compare(source: Server, target: Server) -> dict[str, Any]:
    """Count what differs between the servers once the sessions that ended have expired."""
    found: Counter[str] = Counter(dict.fromkeys(WRONG, 0))
    examples: list[str] = []
    for database in DATABASES:
        for kind, example in _differences(source.client(db=database), target.client(db=database)):
            found[kind] += 1
            examples.append(f"database {database}, {example}")
    return {**found, "examples": examples[:SHOWN]}


def _differences(mine: redis.Redis, theirs: redis.Redis) -> Iterator[tuple[str, str]]:
    """Yield the kind of each difference in one database and a line about it."""
    wait_until(lambda: _ended(mine), "the ended sessions to expire on the source", 60)
    living = {bytes(key) for key in mine.scan_iter(count=10_000)}
    with suppress(AssertionError):
        # The source's DEL takes a moment to the target.
        wait_until(lambda: not _left_over(theirs, living), "the ended sessions to expire on the target", GRACE)
    for key in sorted(_left_over(theirs, living)):
        yield "left over", f"{key.decode()} is on the target only"
    keys = sorted(living)
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        for key, one, other in zip(chunk, _read(mine, chunk), _read(theirs, chunk), strict=True):
            if kind := _difference(one, other):
                yield kind, f"{key.decode()} {kind}: {one} on the source, {other} on the target"


def _ended(client: redis.Redis) -> bool:
    """Whether all keys that are left have the expiry of the end."""
    keys = list(client.scan_iter(count=10_000))
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.pttl(key)
    return all(left > LAST_TTL * 500 for left in pipeline.execute())


def _left_over(target: redis.Redis, living: set[bytes]) -> set[bytes]:
    return {key for key in target.scan_iter(count=10_000) if not key.startswith(b"shaker:")} - living


def _read(client: redis.Redis, keys: list[bytes]) -> list[tuple[Any, int]]:
    """Return the value, None where there is none, and the milliseconds left of each session."""
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.hgetall(key) if key.startswith(b"hash:") else pipeline.get(key)
        pipeline.pttl(key)
    replies = pipeline.execute()
    return [(value or None, left) for value, left in zip(replies[::2], replies[1::2], strict=True)]


def _difference(one: tuple[Any, int], other: tuple[Any, int]) -> str | None:
    """Name what is wrong with one session on the target, None if nothing is."""
    (value, _), (copy, left) = one, other
    if value == copy:
        return None if left >= 0 else "never expire"
    if copy is None:
        return "lost"
    if isinstance(value, dict) and isinstance(copy, dict) and set(value) == set(copy):
        return "doubled" if int(copy[b"renewals"]) > int(value[b"renewals"]) else "rebuilt"
    return "rebuilt"


def main() -> int:
    """Run as often as asked, print the figures, and return 1 if a session differs."""
    parser = argparse.ArgumentParser(prog="tests.soak.sessions", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--sessions", type=int, default=5000)
    parser.add_argument("--times", type=int, default=1, help="runs one after the other")
    parser.add_argument("--busy", action="store_true", help="keep all processors busy meanwhile")
    parser.add_argument("--pauses", action=argparse.BooleanOptionalAction, default=True, help="of the worker")
    parser.add_argument("--rtt", type=float, default=0.0, help="round trip to each server, in seconds")
    parser.add_argument("--source", choices=NAMES, default=DEFAULT)
    parser.add_argument("--target", choices=NAMES, help="the same as the source by default")
    parser.add_argument("--seed", type=int, default=None, help="draw the same moments again")
    parser.add_argument("--log", type=Path, help="write the worker's log there")
    given = parser.parse_args()
    failed = 0
    given.seed = random.randrange(1 << 31) if given.seed is None else given.seed
    for number in range(given.times):
        seen = run(given)
        sys.stdout.write(f"run {number + 1} of {given.times}, seed {given.seed}\n")
        for example in seen.pop("examples"):
            sys.stdout.write(f"  {example}\n")
        for what, figure in seen.items():
            sys.stdout.write(f"  {what}: {figure}\n")
        sys.stdout.flush()
        failed += any(seen[what] for what in WRONG)
        given.seed += 1
    sys.stdout.write("FAILED\n" if failed else "no session lost, rebuilt or doubled\n")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
