"""`mode=migrate` as a Job runs it: verified at the end, killed on the way, complete once, held for a cutover."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from shaker.commands.sample import Load, seed
from tests.support.compare import differences
from tests.support.control import post, shaker, write_token
from tests.support.proxy import Proxy
from tests.support.servers import Server
from tests.support.worker import Worker
from tests.support.writes import checkpoint, syncs

Servers = Callable[..., Server]
Workers = Callable[..., Worker]

FAR = 600_000  # milliseconds: no key of the load expires within a test
MIGRATE = {"SHAKER_MODE": "migrate", "SHAKER_MIGRATE__VERIFY": "true"}


def test_a_migration_verifies_every_key_and_records_that_it_is_complete(
    source: Server, target: Server, worker: Workers, tmp_path: Path
) -> None:
    """0; another run says so and does nothing, not even to the target."""
    seed(source.client(), 3000, shortest_expiry=FAR)
    report = tmp_path / "report.json"
    running = worker(source, target, **MIGRATE, SHAKER_REPORT__FILE=str(report))
    assert running.wait_ended() == 0
    assert differences(source, target) == []
    (ended,) = running.events("verification pass ended")
    assert ended["keys_compared"] >= 3000
    document = json.loads(report.read_text())
    assert document["verification"]["equal"]
    assert document["exit_code"] == 0
    record = checkpoint(target)
    assert record["complete"] == record["offset"]

    epoch = target.client().hget("shaker:fence:default", "epoch")
    target.client().set("new on the target", 1)
    source.client().set("late on the source", 1)
    running.start()
    assert running.wait_ended() == 0
    assert len(running.events("migration already complete")) == 1
    assert not running.events("registered")
    assert target.client().hget("shaker:fence:default", "epoch") == epoch
    assert target.client().exists("new on the target", "late on the source") == 1
    assert json.loads(report.read_text())["ended"] == document["ended"]


def test_a_complete_migration_continues_if_told_to(source: Server, target: Server, worker: Workers) -> None:
    """With migrate.again, and in mode=follow; afterwards it is not complete any longer."""
    running = worker(source, target, **MIGRATE)
    assert running.wait_ended() == 0
    source.client().set("late", 1)
    again = worker(source, target, **MIGRATE, SHAKER_MIGRATE__AGAIN="true")
    assert again.wait_ended() == 0
    assert target.client().exists("late") == 1
    assert syncs(source) == (1, 1)
    follow = worker(source, target)
    source.client().set("later", 1)
    follow.wait_applied(source)
    follow.terminate()
    assert follow.wait_ended() == 0
    source.client().set("latest", 1)
    running.start()
    assert running.wait_ended() == 0
    assert target.client().exists("later", "latest") == 2


def test_a_migration_under_load_is_not_complete(source: Server, target: Server, worker: Workers) -> None:
    """0, but the source still writes: the next run adds the rest, verifies it, and is complete."""
    seed(source.client(), 2000, shortest_expiry=FAR)
    with Load(source.client(), rate=1000, shortest_expiry=FAR):
        running = worker(source, target, **MIGRATE)
        assert running.wait_ended(60) == 0
        (summary,) = running.events("summary")
        assert "still writes" in summary["next"]
        assert int(checkpoint(target)["complete"]) == -1
    running.start()
    assert running.wait_ended() == 0
    assert differences(source, target) == []
    assert syncs(source) == (1, 1)
    assert checkpoint(target)["complete"] == checkpoint(target)["offset"]


def test_a_migration_that_finds_differences(source: Server, target: Server, worker: Workers) -> None:
    """5, with the keys in log and report; not complete. With verify.repair it mends them and ends with 0."""
    source.client().mset({f"key:{number}": number for number in range(100)})
    first = worker(source, target, SHAKER_MODE="snapshot")
    assert first.wait_ended() == 0
    target.client().set("key:7", "other")
    target.client().delete("key:8")
    running = worker(source, target, **MIGRATE)
    assert running.wait_ended() == 5
    (error,) = running.events("verification found differences")
    assert (error["differences"]["value"], error["differences"]["missing"]) == (1, 1)
    assert int(checkpoint(target)["complete"]) == -1
    repairing = worker(source, target, **MIGRATE, SHAKER_VERIFY__REPAIR="true")
    assert repairing.wait_ended() == 0
    assert differences(source, target) == []


def test_a_migration_that_is_stopped_while_it_verifies(source: Server, target: Server, worker: Workers) -> None:
    """75: it is not proven; the next run verifies and ends with 0."""
    source.client().mset({f"key:{number}": number for number in range(20_000)})
    running = worker(source, target, **MIGRATE)
    running.wait(lambda: running.events("verifying"), "the verification")
    running.terminate()
    assert running.wait_ended() == 75
    running.start()
    assert running.wait_ended(60) == 0
    assert syncs(source) == (1, 1)


def test_a_migration_past_its_deadline(source: Server, target: Server, worker: Workers) -> None:
    """75."""
    source.client().set("key", Random(1).randbytes(3_000_000))
    settings = {"SHAKER_MIGRATE__DEADLINE_SECONDS": "2", "SHAKER_RATE__SNAPSHOT_BYTES": "100000"}
    running = worker(source, target, **MIGRATE, **settings)
    began = time.monotonic()
    assert running.wait_ended(20) == 75
    assert time.monotonic() - began > 2
    assert len(running.events("deadline passed")) == 1
    assert worker(source, target, **MIGRATE).wait_ended() == 0


def test_an_aborted_verification_ends_the_migration(
    source: Server, target: Server, worker: Workers, tmp_path: Path
) -> None:
    """75: the copy is there and not proven."""
    source.client().mset({f"key:{number}": number for number in range(20_000)})
    running = worker(source, target, **MIGRATE, SHAKER_CONTROL__TOKEN_FILE=str(write_token(tmp_path)))
    running.wait(lambda: running.events("verifying"), "the verification")
    assert post(running, "abort")[1] == {"ok": True, "aborted": ["verification"]}
    assert running.wait_ended() == 75


def test_a_held_migration_streams_until_it_is_stopped(source: Server, target: Server, worker: Workers) -> None:
    """Ready meanwhile, as in mode=follow; 75, because no cutover has ended it."""
    seed(source.client(), 1000)
    running = worker(source, target, **MIGRATE, SHAKER_MIGRATE__HOLD="true")
    running.wait_status(lambda found: found["ready"], "readiness")
    with Load(source.client(), rate=500, shortest_expiry=FAR):
        time.sleep(3)
    running.wait_applied(source)
    assert not running.events("settling")
    running.terminate()
    assert running.wait_ended() == 75


def test_a_cutover_ends_a_held_migration(source: Server, target: Server, worker: Workers, tmp_path: Path) -> None:
    """0; the migration is complete, its report has the proof, and another run does nothing."""
    seed(source.client(), 1000, shortest_expiry=FAR)
    token, file = write_token(tmp_path), tmp_path / "report.json"
    settings = {"SHAKER_MIGRATE__HOLD": "true", "SHAKER_CONTROL__TOKEN_FILE": str(token)}
    settings["SHAKER_REPORT__FILE"] = str(file)
    running = worker(source, target, **MIGRATE, **settings)
    running.wait_status(lambda found: found["cutover"]["possible"], "a possible cutover", 60)
    code, text = shaker(
        running,
        "cutover",
        f"--source.url={source.url}",
        f"--target.url={target.url}",
        "--fence",
        "pause",
        token=token,
    )
    assert code == 0, text
    assert running.wait_ended() == 0
    report = json.loads(file.read_text())
    assert (report["complete"], report["cutover"]["outcome"], report["cutover"]["fence"]) == (True, "done", "pause")
    assert report["cutover"]["verification"]["keys_compared"] >= 1000
    assert report["stream"]["applied_offset"] >= report["cutover"]["offset"]
    assert differences(source, target) == []
    running.start()
    assert running.wait_ended() == 0
    assert len(running.events("migration already complete")) == 1


def test_a_full_resync_during_the_verification_is_verified_again(
    server: Servers, target: Server, worker: Workers
) -> None:
    """The proof is about the data that are there in the end."""
    source = server(repl_backlog_size="16kb")
    source.client().mset({f"key:{number}": number for number in range(40_000)})
    with Proxy(source) as proxy:
        running = worker(proxy.url, target, **MIGRATE)
        running.wait(lambda: running.events("verifying"), "the verification")
        proxy.refuse()
        proxy.reset()
        source.client().set("large", Random(1).randbytes(100_000))
        proxy.accept()
        assert running.wait_ended(90) == 0
    assert syncs(source)[0] == 2
    assert differences(source, target) == []
    assert running.events("verification pass ended")[-1]["keys_compared"] >= 40_000


@pytest.mark.timeout(300)
def test_a_job_that_is_killed_at_random_completes(source: Server, target: Server, worker: Workers) -> None:
    """SIGTERM ends it with 75, or with 0 when its work was complete; after SIGKILL, too, the next run goes on."""
    random = Random(7)
    seed(source.client(), 20_000, shortest_expiry=FAR)
    codes = []
    with Proxy(target) as proxy, Load(source.client(), rate=300, shortest_expiry=FAR) as load:
        running = worker(source, proxy.url, **MIGRATE)
        for kill in range(10):
            if kill:
                running.start()
            if kill < 3:
                proxy.set("up", bandwidth=3_000_000)
            else:
                proxy.heal()
            deadline = time.monotonic() + random.uniform(0.3, 4)
            while time.monotonic() < deadline and running.returncode is None:
                time.sleep(0.02)
            if kill % 2:
                running.terminate()
                codes.append(running.wait_ended(40))
            else:
                running.kill()
                codes.append(running.returncode)
        load.stop()
        proxy.heal()
        running.start()
        assert running.wait_ended(90) == 0
        assert set(codes) <= {75, 0, -9, -15}
        assert 75 in codes
        assert differences(source, target) == []
        running.start()
        assert running.wait_ended() == 0
        assert len(running.events("migration already complete")) == 1
