"""Verification under load: each seeded difference is found and named, nothing else is, and a repair mends it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shaker.commands.sample import Load, seed
from tests.support.proxy import Proxy
from tests.support.servers import Server, wait_until
from tests.support.worker import ROOT, Worker

Workers = Callable[..., Worker]
FIRST_OF_EACH = ("missing", "extra", "type", "value", "expiry")


def verify(source: Server | str, target: Server | str, *arguments: str, **settings: str) -> tuple[int, Any]:
    """Run `shaker verify --json`; return its exit code and report."""
    urls = [each if isinstance(each, str) else each.url for each in (source, target)]
    environment = os.environ | {"SHAKER_SOURCE__URL": urls[0], "SHAKER_TARGET__URL": urls[1], **settings}
    command = [sys.executable, "-m", "shaker", "verify", "--json", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def plant(source: Server, target: Server, database: int, count: int) -> dict[str, str]:
    """Make `count` differences of each kind among keys that nobody writes to; return kind by key."""
    ours, theirs = source.client(db=database), target.client(db=database)
    for kind in FIRST_OF_EACH:
        for number in range(count):
            ours.set(f"planted:{kind}:{number}", "value")
    ours.delete(*(f"planted:extra:{number}" for number in range(count)))
    last = f"planted:expiry:{count - 1}"
    wait_until(lambda: theirs.exists(last) and not theirs.exists("planted:extra:0"), "the planted keys")
    found = {}
    for number in range(count):
        theirs.delete(f"planted:missing:{number}")
        theirs.set(f"planted:extra:{number}", "value")
        theirs.delete(f"planted:type:{number}")
        theirs.rpush(f"planted:type:{number}", "value")
        theirs.set(f"planted:value:{number}", "other")
        theirs.pexpire(f"planted:expiry:{number}", 10_000_000)
        found |= {f"planted:{kind}:{number}": kind for kind in FIRST_OF_EACH}
    return found


@pytest.mark.parametrize("database", [0, 5])
@pytest.mark.parametrize("mode", ["follow", "migrate"])
def test_expiries_with_the_margin_of_an_earlier_worker_are_equal(
    source: Server, target: Server, worker: Workers, mode: str, database: int
) -> None:
    """A margin that was wider, by its setting, by lag or by a difference of the clocks, is known to the next one."""
    source.client(db=database).set("key", 1, ex=5000)
    running = worker(source, target, SHAKER_EXPIRY__MARGIN_SECONDS="64.002")
    running.wait_state("streaming")
    source.client(db=database).set("streamed", 1, ex=5000)
    running.wait_applied(source)
    ends = [int(each.client(db=database).pexpiretime("streamed")) for each in (source, target)]
    assert ends[1] - ends[0] == 64_002
    running.terminate()
    running.wait_ended()

    running = worker(
        source, target, SHAKER_MODE=mode, SHAKER_VERIFY__CONTINUOUS="true", SHAKER_MIGRATE__HOLD="true"
    )
    document = running.wait_status(lambda found: found["verification"]["passes"] > 0, "a whole pass")

    assert document["verification"]["last_pass_keys"] >= 2
    assert running.events("key differs") == []


@pytest.mark.parametrize("database", [0, 5])
@pytest.mark.timeout(240)
def test_each_planted_difference_is_found_under_load_and_repaired(
    source: Server, target: Server, worker: Workers, token: Path, database: int
) -> None:
    """One pass finds all of them and nothing else; the repair leaves none, and the worker is ready again."""
    seed(source.client(db=database), 2000)
    source.client().function_load("#!lua name=library\nredis.register_function('f', function() return 1 end)")
    source.client(db=database).rpush("large", *[b"x" * 60_000] * 300)  # above what is copied at one barrier
    running = worker(source, target, SHAKER_CONTROL__TOKEN_FILE=str(token))
    running.wait_state("streaming", seconds=60)
    running.wait_applied(source)
    here = ("--url", f"http://127.0.0.1:{running.port}")
    asked = {"SHAKER_CONTROL__TOKEN_FILE": str(token)}
    with Load(source.client(), keys=300, rate=500):
        planted = plant(source, target, database, 10)
        target.client().function_delete("library")
        planted["library"] = "function"
        target.client(db=database).lset("large", 150, "other")
        planted["large"] = "value"
        code, report = verify(source, target, *here, **asked)
        assert {each["key"]: each["kind"] for each in report["examples"]} == planted
        assert {each["database"] for each in report["examples"]} == {database, None}
        assert report["differences"] == dict.fromkeys(FIRST_OF_EACH, 10) | {"value": 11, "function": 1}
        assert 'shaker_verification_differences{kind="function",name="default"} 1.0' in running.get("/metrics")[1]
        assert running.status()["verification"]["differences"]["function"] == 1
        assert (code, report["equal"]) == (5, False)
        assert "verify --repair" in running.get("/readyz")[1]

        code, report = verify(source, target, "--repair", *here, **asked)
        assert (code, report["equal"], report["repaired"]) == (0, True, 52)
        assert report["libraries_compared"] == 1
    running.wait_applied(source)
    assert verify(source, target, *here, **asked)[0] == 0
    wait_until(lambda: running.get("/readyz")[0] == 200, "readiness")


@pytest.mark.timeout(240)
def test_continuous_passes_report_nothing_that_is_not_there(
    source: Server, target: Server, worker: Workers
) -> None:
    """Over several passes under load, with a killed worker and lost links in between."""
    seed(source.client(), 500)
    with Proxy(source) as near, Proxy(target) as far, Load(source.client(), keys=200, rate=500, shortest_expiry=50):
        settings = {"SHAKER_VERIFY__CONTINUOUS": "true", "SHAKER_VERIFY__RATE": "0"}
        running = worker(near.url, far.url, **settings)
        for _ in range(2):
            running.wait_status(lambda found: found["verification"]["passes"] >= 2, "two passes", 100)
            assert sum(running.status()["verification"]["differences"].values()) == 0
            near.reset()
            far.reset()
            running.kill()
            running = worker(near.url, far.url, **settings)
        running.wait_status(lambda found: found["verification"]["passes"] >= 1, "a pass", 100)
        assert sum(running.status()["verification"]["differences"].values()) == 0


def test_a_difference_keeps_the_worker_unready_until_it_is_gone(
    source: Server, target: Server, worker: Workers
) -> None:
    """By name, and red on the page; the next pass finds it equal."""
    source.client().set("k", "v")
    running = worker(source, target, SHAKER_VERIFY__CONTINUOUS="true", SHAKER_VERIFY__RATE="0")
    running.wait_status(lambda found: found["verification"]["passes"] >= 1, "a pass", 60)
    target.client().set("k", "other")
    running.wait_status(lambda found: "verification" in found and found["diverged"], "the difference", 60)
    assert "k in database 0 (value" in running.get("/readyz")[1]
    target.client().set("k", "v")
    running.wait_status(lambda found: not found["diverged"] and found["ready"], "readiness", 60)


def test_verify_repairs_continuously_if_told_to(source: Server, target: Server, worker: Workers) -> None:
    """`verify.repair=true`: what differs is copied without being asked."""
    source.client().set("k", "v")
    settings = {"CONTINUOUS": "true", "RATE": "0", "REPAIR": "true"}
    running = worker(source, target, **{f"SHAKER_VERIFY__{name}": value for name, value in settings.items()})
    running.wait_status(lambda found: found["verification"]["passes"] >= 1, "a pass", 60)
    target.client().set("k", "other")
    target.client(db=3).set("extra", 1)
    wait_until(lambda: target.client().get("k") == b"v" and not target.client(db=3).exists("extra"), "repair", 60)
    running.wait_status(lambda found: found["verification"]["repaired"] == 2 and found["ready"], "readiness", 60)


def test_without_a_worker_verify_takes_the_replication_over_for_as_long(source: Server, target: Server) -> None:
    """It reads from the checkpoint on, compares, and leaves the checkpoint to the next worker."""
    source.client().mset({f"key:{number}": number for number in range(100)})
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = {"SHAKER_HEALTH__PORT": str(free.getsockname()[1])}
    code, report = verify(source, target, **port)
    assert (code, report["equal"], report["keys_compared"]) == (0, True, 100)
    target.client().delete("key:7")
    code, report = verify(source, target, **port)
    assert (code, report["differences"]["missing"], report["examples"][0]["key"]) == (5, 1, "key:7")


def test_static_compares_two_servers_without_a_worker(source: Server, target: Server) -> None:
    """Nothing is written on either side."""
    for server in (source, target):
        server.client(db=2).mset({f"key:{number}": number for number in range(100)})
    assert verify(source, target, "--static")[0] == 0
    target.client(db=2).set("key:1", "other")
    writes = [server.info("persistence")["rdb_changes_since_last_save"] for server in (source, target)]
    code, report = verify(source, target, "--static")
    assert (code, report["differences"]["value"]) == (5, 1)
    assert verify(source, target, "--static", "--keys-only")[0] == 0
    assert verify(source, target, "--static", "--pattern", "key:[2-9]*")[0] == 0
    assert verify(source, target, "--static", "--database", "0")[0] == 0
    assert [server.info("persistence")["rdb_changes_since_last_save"] for server in (source, target)] == writes


def test_a_clean_pass_clears_a_rejected_command(
    source: Server, target: Server, worker: Workers, token: Path
) -> None:
    """The command's key was repaired: nothing differs any longer, and the count does not outlive it."""
    source.client().set("k", "v")
    running = worker(source, target, SHAKER_CONTROL__TOKEN_FILE=str(token))
    running.wait_state("streaming")
    running.wait_applied(source)
    target.client().delete("k")
    target.client().rpush("k", "element")
    source.client().append("k", "more")
    running.wait_status(lambda found: found["rejected_commands"] == 1, "the rejection")
    here = ("--url", f"http://127.0.0.1:{running.port}")
    assert verify(source, target, "--repair", *here, SHAKER_CONTROL__TOKEN_FILE=str(token))[0] == 0
    running.wait_status(lambda found: found["rejected_commands"] == 0 and found["ready"], "readiness")
    running.terminate()
    running.wait_ended()
    assert worker(source, target).wait_state("streaming")["rejected_commands"] == 0


def test_a_pass_resumes_after_a_kill_of_the_worker(source: Server, target: Server, worker: Workers) -> None:
    """Its position and the last whole pass are in the checkpoint."""
    source.client(db=2).mset({f"key:{number}": number for number in range(3000)})
    settings = {"SHAKER_VERIFY__CONTINUOUS": "true", "SHAKER_VERIFY__RATE": "0"}
    running = worker(source, target, **settings)
    first = running.wait_status(lambda found: found["verification"]["passes"] >= 1, "a pass", 60)["verification"]
    wait_until(
        lambda: b'"source' in (target.client().hget("shaker:checkpoint:default", "verified") or b""), "a save"
    )
    running.kill()
    running = worker(source, target, SHAKER_VERIFY__CONTINUOUS="true", SHAKER_VERIFY__RATE="400")
    found = running.wait_status(lambda found: found["verification"]["passes"] >= 1, "the saved passes", 60)
    assert found["verification"]["last_pass_ended"] >= first["last_pass_ended"] - 1
    running.wait_status(lambda found: found["verification"]["keys_compared"] > 1000, "the pass to be under way", 60)
    wait_until(
        lambda: b"source:2:" in (target.client().hget("shaker:checkpoint:default", "verified") or b""),
        "a position",
        30,
    )
    running.kill()
    running = worker(source, target, SHAKER_VERIFY__CONTINUOUS="true", SHAKER_VERIFY__RATE="400")
    running.wait_state("streaming")
    found = running.wait_status(lambda found: found["verification"]["running"], "the pass", 60)
    assert found["verification"]["keys_compared"] > 500


def test_a_pass_survives_a_restart_of_the_target(source: Server, target: Server, worker: Workers) -> None:
    """It resumes where it was, and counts each key once."""
    source.client().mset({f"key:{number}": number for number in range(2000)})
    running = worker(source, target, SHAKER_VERIFY__CONTINUOUS="true", SHAKER_VERIFY__RATE="500")
    running.wait_status(lambda found: found["verification"]["keys_compared"] > 300, "the pass to be under way", 60)
    assert running.process is not None
    os.kill(running.pid, signal.SIGSTOP)
    target.restart()
    os.kill(running.pid, signal.SIGCONT)
    found = running.wait_status(lambda found: found["verification"]["passes"] == 1, "the pass to end", 60)
    assert sum(found["verification"]["differences"].values()) == 0
