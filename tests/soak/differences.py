"""Planted differences under load: one pass finds each of them, ten passes report nothing that is not there.

`python -m tests.soak.differences --count 1000 --rate 10000 --passes 10`; exit code 1 on any miss or false alarm. With
`--kill`, the worker is killed in the middle of the passes, and its links are reset.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from shaker.commands.sample import seed
from shaker.model.differences import Kind
from tests.support.load import LoadProcess
from tests.support.proxy import Proxy
from tests.support.servers import DEFAULT, NAMES, Server, wait_until
from tests.support.worker import ROOT, Worker

KINDS = ("missing", "extra", "type", "value", "expiry")
DATABASES = (0, 3)
console = Console(highlight=False)


def plant(source: Server, target: Server, count: int) -> dict[tuple[int, str], str]:
    """Make `count` differences, a fifth of each kind, spread over DATABASES; return kind by database and key."""
    planted = {}
    for number in range(count):
        kind, database = KINDS[number % len(KINDS)], DATABASES[number % len(DATABASES)]
        key = f"planted:{kind}:{number}"
        planted[database, key] = kind
        source.client(db=database).set(key, f"value {number}")
    source.client().set("planted:last", 1)
    wait_until(lambda: target.client().exists("planted:last"), "the planted keys", 120)
    for (database, key), kind in planted.items():
        ours, theirs = source.client(db=database), target.client(db=database)
        if kind == "missing":
            theirs.delete(key)
        elif kind == "extra":
            ours.delete(key)
            theirs.set(f"{key}", "extra")
        elif kind == "type":
            theirs.delete(key)
            theirs.rpush(key, "element")
        elif kind == "value":
            theirs.set(key, "other")
        else:
            theirs.pexpire(key, 100_000_000)
    # A deletion of the source may have come after the extra key was written.
    time.sleep(2)
    for (database, key), kind in planted.items():
        if kind == "extra":
            target.client(db=database).set(key, "extra")
    return planted


def verify(
    source: Server, target: Server, worker: Worker, token: Path, *arguments: str
) -> tuple[int, dict[str, Any]]:
    """Run `shaker verify --json`."""
    environment = os.environ | {
        "SHAKER_SOURCE__URL": source.url,
        "SHAKER_TARGET__URL": target.url,
        "SHAKER_CONTROL__TOKEN_FILE": str(token),
    }
    command = [sys.executable, "-m", "shaker", "verify", "--json", "--url", f"http://127.0.0.1:{worker.port}"]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {"error": done.stderr}


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
    faults = 0
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
        worker = Worker(near.url, far.url, **settings).start()
        try:
            worker.wait_state("streaming", seconds=300)
            with LoadProcess(source, seed=5, rate=given.rate, keys=2000):
                made = 0
                while made < given.passes:
                    before = worker.status()["verification"]["passes"]
                    if given.kill and made % 3 == 1:
                        worker.kill()
                        near.reset()
                        far.reset()
                        worker = Worker(near.url, far.url, **settings).start()
                        worker.wait_state("streaming", seconds=300)
                        before = worker.status()["verification"]["passes"]
                    worker.wait_status(
                        lambda found, before=before: found["verification"]["passes"] > before, "a pass", 600
                    )
                    made += 1
                    found = worker.status()["verification"]
                    false = sum(found["differences"].values())
                    faults += false
                    console.print(
                        f"pass {made}: {found['last_pass_keys']:,} keys, {false} false alarms {found['examples'][:3]}"
                    )
                planted = plant(source, target, given.count)
                code, report = verify(source, target, worker, token)
                if "error" in report:
                    console.print(report["error"])
                    return 1
                total = sum(report["differences"].values())
                console.print(
                    f"planted {len(planted):,}, found {report['differences']} in {report['seconds']} s, exit {code}"
                )
                expected = {kind: sum(1 for each in planted.values() if each == kind) for kind in Kind}
                faults += report["differences"] != expected
                named = {(each["database"], each["key"]): each["kind"] for each in report["examples"]}
                faults += sum(planted.get(place) != kind for place, kind in named.items())
                code, report = verify(source, target, worker, token, "--repair")
                console.print(f"repaired {report['repaired']:,}, equal {report['equal']}, exit {code}")
                faults += report["repaired"] != total or code != 0
                code, report = verify(source, target, worker, token)
                console.print(f"afterwards: {report['differences']}, exit {code}")
                faults += code != 0
        finally:
            worker.close()
    console.print("no miss, no false alarm" if not faults else f"FAILED: {faults}")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
