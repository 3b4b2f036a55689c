"""Planted differences under load: one pass finds each of them, ten passes report nothing that is not there.

`python -m tests.soak.differences --count 1000 --rate 10000 --passes 10`; exit code 1 on any miss or false alarm. With
`--kill`, links are reset in the middle of passes, and the worker is killed in the middle of passes, of the search for
the differences and of their repair. In the end both servers are compared by code that is not the product's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from rich.console import Console

from shaker.commands.sample import seed
from shaker.model.differences import Kind
from tests.support import oracle
from tests.support.load import LoadProcess
from tests.support.proxy import Proxy
from tests.support.servers import DEFAULT, NAMES, Server, wait_until
from tests.support.worker import ROOT, Worker

KINDS = ("missing", "extra", "type", "value", "expiry")
DATABASES = (0, 3)
LATER = 10_000  # milliseconds by which an expiry may lie later on the target of a busy machine
MIDDLE = 0.3  # of a pass: there the worker is killed
# By type: the command that makes a value, and that changes it.
WRITES: dict[str, Callable[[str, int], tuple[str | int, ...]]] = {
    "string": lambda key, number: ("SET", key, f"value {number}"),
    "list": lambda key, number: ("RPUSH", key, f"element {number}"),
    "set": lambda key, number: ("SADD", key, f"member {number}"),
    "zset": lambda key, number: ("ZADD", key, number, "member"),
    "hash": lambda key, number: ("HSET", key, "field", number),
    "stream": lambda key, number: ("XADD", key, f"{number + 1}-1", "field", number),
}
console = Console(highlight=False)


def write(client: redis.Redis, kind: str, key: str, number: int) -> None:
    """Make or change a value of a type."""
    client.execute_command(*WRITES[kind](key, number))


def plant(source: Server, target: Server, count: int) -> dict[tuple[int, str], str]:
    """Make `count` differences, a fifth of each kind, of all types; return their kinds by database and key."""
    ours = {database: source.client(db=database) for database in DATABASES}
    theirs = {database: target.client(db=database) for database in DATABASES}
    types = list(WRITES)
    planted = {}
    for number in range(count):
        kind, database = KINDS[number % len(KINDS)], DATABASES[number % len(DATABASES)]
        key = f"planted:{kind}:{types[number // len(KINDS) % len(types)]}:{number}"
        planted[database, key] = kind
        write(ours[database], key.split(":")[2], key, 1)
        if kind == "extra":
            ours[database].delete(key)
    ours[0].set("planted:last", 1)
    wait_until(lambda: theirs[0].exists("planted:last"), "the planted keys", 120)
    for (database, key), kind in planted.items():
        client, of = theirs[database], key.split(":")[2]
        if kind in ("missing", "type"):
            client.delete(key)
        if kind == "type":
            write(client, "list" if of == "string" else "string", key, 1)
        elif kind in ("extra", "value"):
            write(client, of, key, 2)
        elif kind == "expiry":
            client.pexpire(key, 100_000_000)
    return planted


class Run:
    """The worker between the servers, behind proxies."""

    def __init__(self, near: Proxy, far: Proxy, settings: dict[str, str]) -> None:
        self._links = (near, far)
        self._settings = settings
        self.worker = Worker(near.url, far.url, **settings)

    def start(self) -> None:
        """Start a worker."""
        self.worker.start()
        self.worker.wait_state("streaming", seconds=300)

    def middle(self, *, requested: bool) -> None:
        """Wait until a pass is in its middle."""

        def there(found: dict[str, Any]) -> bool:
            verification = found["verification"]
            asked = bool((verification["requested"] or {}).get("running"))
            return verification["running"] and asked >= requested and (verification["share"] or 0) > MIDDLE

        self.worker.wait_status(there, "the middle of a pass", 600)

    def kill(self) -> None:
        """Kill the worker and start another one."""
        self.worker.kill()
        self.start()

    def reset(self) -> None:
        """Cut both links."""
        for link in self._links:
            link.reset()

    def passed(self) -> dict[str, Any]:
        """Wait for the end of a whole pass; return the state of the verification."""
        before = self.worker.wait_status(lambda found: True, "the status")["verification"]["passes"]
        ended = self.worker.wait_status(lambda found: found["verification"]["passes"] > before, "a pass", 900)
        return dict(ended["verification"])


class Verify:
    """`shaker verify --json` through the running worker."""

    def __init__(self, source: Server, target: Server, token: Path) -> None:
        self._environment = os.environ | {
            "SHAKER_SOURCE__URL": source.url,
            "SHAKER_TARGET__URL": target.url,
            "SHAKER_CONTROL__TOKEN_FILE": str(token),
        }

    def start(self, run: Run, *arguments: str) -> subprocess.Popen[str]:
        """Start the command."""
        command = [
            sys.executable,
            "-m",
            "shaker",
            "verify",
            "--json",
            "--url",
            f"http://127.0.0.1:{run.worker.port}",
        ]
        return subprocess.Popen(
            [*command, *arguments],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self, run: Run, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Run it; return the exit code and the report. Raises AssertionError where there is none."""
        process = self.start(run, *arguments)
        out, error = process.communicate(timeout=900)
        assert out, error
        return process.returncode, json.loads(out)


def search(run: Run, command: Verify, planted: dict[tuple[int, str], str]) -> int:
    """Find the planted differences in one pass; return the number of faults."""
    code, report = command.ended(run)
    console.print(f"planted {len(planted):,}, found {report['differences']} in {report['seconds']} s, exit {code}")
    expected = {kind: sum(1 for each in planted.values() if each == kind) for kind in Kind}
    named = {(each["database"], each["key"]): each["kind"] for each in report["examples"]}
    return (report["differences"] != expected) + sum(planted.get(place) != kind for place, kind in named.items())


def repair(run: Run, command: Verify, target: Server, *, kill: bool) -> int:
    """Repair what differs; with `kill` a worker is killed once it has begun to. Return the number of faults."""
    if kill:
        interrupted = command.start(run, "--repair")
        client = target.client()
        wait_until(lambda: client.exists("planted:missing:string:0"), "the first repair", 600)
        run.kill()
        interrupted.communicate(timeout=900)
    code, report = command.ended(run, "--repair")
    console.print(f"repaired {report['repaired']:,}, equal {report['equal']}, exit {code}")
    faults = int(code != 0)
    code, report = command.ended(run)
    console.print(f"afterwards: {report['differences']}, exit {code}")
    return faults + (code != 0)


def watch(run: Run, passes: int, *, kill: bool) -> int:
    """Count the differences that passes report where there is none."""
    faults = 0
    for made in range(passes):
        if kill and made % 3:
            run.middle(requested=False)
            (run.kill if made % 3 == 1 else run.reset)()
        found = run.passed()
        false = sum(found["differences"].values())
        faults += false
        console.print(
            f"pass {made + 1}: {found['last_pass_keys']:,} keys, {false} false alarms {found['examples'][:3]}"
        )
    return faults


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="tests.soak.differences", description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=10_000)
    parser.add_argument("--passes", type=int, default=10)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--source", choices=NAMES, default=DEFAULT)
    parser.add_argument("--target", choices=NAMES, default=DEFAULT)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        Server(given.source) as source,
        Server(given.target) as target,
        Proxy(source) as near,
        Proxy(target) as far,
    ):
        token = Path(directory) / "token"
        token.write_text("a long random token")
        seed(source.client(), given.keys, shortest_expiry=86_400_000)
        settings = {"SHAKER_CONTROL__TOKEN_FILE": str(token), "SHAKER_VERIFY__CONTINUOUS": "true"}
        settings |= {"SHAKER_VERIFY__RATE": "0"}
        run, command = Run(near, far, settings), Verify(source, target, token)
        try:
            run.start()
            began = time.monotonic()
            with LoadProcess(source, seed=5, rate=given.rate, keys=2000) as load:
                faults = watch(run, given.passes, kill=given.kill)
                planted = plant(source, target, given.count)
                if given.kill:
                    interrupted = command.start(run)
                    run.middle(requested=True)
                    run.kill()
                    interrupted.communicate(timeout=900)
                faults += search(run, command, planted)
                faults += repair(run, command, target, kill=given.kill)
                load.stop()
                console.print(f"{load.operations / (time.monotonic() - began):,.0f} writes/s")
            run.worker.wait_applied(source)
            different = oracle.differences(source, target, later=LATER)
        finally:
            run.worker.close()
    for line in different:
        console.print(line, style="red", markup=False)
    faults += len(different)
    console.print("no miss, no false alarm, equal" if not faults else f"FAILED: {faults}")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
