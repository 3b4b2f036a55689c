"""Control of a running worker on real servers: pause and resume, rates, abort, acknowledgement."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from shaker.commands.sample import Load, seed
from tests.e2e.test_deletions import GUARDED, KEYS, held, synced
from tests.e2e.test_sweep import lose_backlog
from tests.support.compare import differences
from tests.support.control import post, shaker
from tests.support.servers import Server, wait_until
from tests.support.worker import ROOT, Worker
from tests.support.writes import syncs

Servers = Callable[..., Server]
Workers = Callable[..., Worker]


@pytest.fixture
def running(source: Server, target: Server, worker: Workers, token: Path) -> Worker:
    """A worker that streams and takes controls."""
    started = worker(source, target, SHAKER_CONTROL__TOKEN_FILE=str(token))
    started.wait_state("streaming")
    return started


def test_a_paused_worker_takes_nothing_until_it_is_resumed(
    source: Server, target: Server, running: Worker, token: Path
) -> None:
    """It keeps its connections and its place: the source sees one sync."""
    with Load(source.client(), rate=1000, shortest_expiry=600_000) as load:
        code, text = shaker(running, "pause", token=token)
        assert (code, text.startswith("paused")) == (0, True)
        status = running.wait_state("paused")
        assert status["paused"]["by"] == "control"
        assert not status["ready"]
        assert "paused by an operator" in running.get("/readyz")[1]
        running.wait_status(lambda found: found["stream"]["lag_bytes"] > 10_000, "a lag")
        applied = running.status()["stream"]["applied_offset"]
        time.sleep(1.5)
        after = running.status()
        assert after["stream"]["applied_offset"] == applied
        assert after["source"]["connected"]
        assert after["target"]["connected"]
        assert running.get("/livez")[0] == 200
        assert shaker(running, "pause", token=token)[0] == 0  # once more changes nothing

        code, text = shaker(running, "resume", token=token)
        assert (code, text) == (0, "resumed\n")
        load.stop()
    running.wait_applied(source)
    assert running.wait_state("streaming")["paused"] is None
    assert differences(source, target) == []
    assert syncs(source) == (1, 0)


def test_a_signal_pauses_and_resumes(source: Server, target: Server, running: Worker) -> None:
    """SIGUSR1 each time."""
    os.kill(running.pid, signal.SIGUSR1)
    assert running.wait_state("paused")["paused"]["by"] == "SIGUSR1"
    source.client().set("k", "v")
    time.sleep(0.5)
    assert target.client().get("k") is None
    os.kill(running.pid, signal.SIGUSR1)
    wait_until(lambda: target.client().get("k") == b"v", "the write")


def test_a_pause_says_when_the_source_drops_the_connection(
    server: Servers, target: Server, worker: Workers, token: Path
) -> None:
    """From its output buffer limit and its write rate; and so it comes: the worker resumes by a partial sync."""
    source = server(client_output_buffer_limit="replica 8mb 0 0", repl_backlog_size="64mb")
    running = worker(source, target, SHAKER_CONTROL__TOKEN_FILE=str(token))
    running.wait_state("streaming")
    post(running, "pause")
    client, value = source.client(), Random(1).randbytes(100_000)
    for number in range(20):
        client.set(f"key:{number}", value)
        time.sleep(0.1)
    paused = running.wait_status(
        lambda found: found["paused"]["overflows_in_seconds"] is not None, "the estimate", 10
    )["paused"]
    assert paused["waiting_bytes"] > 0
    assert 1 < paused["overflows_in_seconds"] < 600
    assert paused["overflow_reason"] == "client-output-buffer-limit replica 8388608 0 0"
    assert "the source drops the connection in about" in running.get("/readyz")[1]
    post(running, "resume")
    running.wait_applied(source)
    assert differences(source, target) == []


def test_a_paused_worker_with_a_spool_keeps_the_source_buffer_empty(
    source: Server, target: Server, worker: Workers, token: Path, tmp_path: Path
) -> None:
    """What it does not take goes to disk."""
    settings = {"SHAKER_SPOOL__DIR": str(tmp_path), "SHAKER_CONTROL__TOKEN_FILE": str(token)}
    running = worker(source, target, **settings)
    running.wait_state("streaming")
    post(running, "pause")
    client = source.client()
    for number in range(100):
        client.set(f"key:{number}", Random(number).randbytes(50_000))
    running.wait_status(lambda found: found["spool_bytes"] > 4_000_000, "the spool")
    assert target.client().dbsize() < 30
    post(running, "resume")
    running.wait_applied(source)
    assert differences(source, target) == []


def test_a_worker_that_is_stopped_while_paused_loses_nothing(
    source: Server, target: Server, running: Worker, token: Path
) -> None:
    """0; the next one continues by a partial sync."""
    post(running, "pause")
    source.client().mset({f"key:{number}": number for number in range(1000)})
    running.terminate()
    assert running.wait_ended() == 0
    running.start()
    running.wait_applied(source)
    assert differences(source, target) == []
    assert syncs(source) == (1, 1)


def test_a_pause_in_a_snapshot(source: Server, target: Server, worker: Workers, token: Path) -> None:
    """It stops where it is, says how long the source waits, and goes on from there."""
    seed(source.client(), 20_000, shortest_expiry=600_000)
    settings = {"SHAKER_RATE__SNAPSHOT_KEYS": "4000", "SHAKER_CONTROL__TOKEN_FILE": str(token)}
    running = worker(source, target, **settings)
    running.wait_status(lambda found: found["snapshot"]["keys_done"] > 2000, "some keys")
    post(running, "pause")
    time.sleep(1)
    done = running.wait_state("paused")["snapshot"]["keys_done"]
    time.sleep(1)
    status = running.status()
    assert status["snapshot"]["keys_done"] == done < 20_000
    assert status["paused"]["overflows_in_seconds"] is not None
    assert post(running, "rate", {"snapshot_keys": None})[0] == 200
    post(running, "resume")
    running.wait_state("streaming")
    assert differences(source, target) == []
    assert syncs(source) == (1, 0)


def test_resume_lets_held_deletions_continue(source: Server, target: Server, worker: Workers, token: Path) -> None:
    """An operator has looked at the counts; the next full resync is held again."""
    running = synced(source, target, worker, SHAKER_CONTROL__TOKEN_FILE=str(token))
    running.kill()
    for database in (0, 3):
        source.client(db=database).flushdb()
    source.client().set("left", 1)
    lose_backlog(source)
    running.start()
    held(running, f"remove {KEYS} of the target's {KEYS} keys")
    assert running.status()["sweep"]["held"]
    code, text = shaker(running, "resume", token=token)
    assert (code, text) == (0, "held deletions continue\n")
    running.wait_status(lambda found: found["ready"], "readiness", 20)
    running.wait_applied(source)
    assert differences(source, target) == []
    assert GUARDED["SHAKER_TARGET__MAX_DELETIONS"] == "30%"


def test_resume_lets_a_held_flush_continue(source: Server, target: Server, worker: Workers, token: Path) -> None:
    """At the next attempt; the source has been asked for nothing before."""
    settings = {"SHAKER_TARGET__STALE_KEYS": "flush", "SHAKER_RETRY__ACCESS_SECONDS": "1"}
    running = synced(source, target, worker, SHAKER_CONTROL__TOKEN_FILE=str(token), **settings)
    running.kill()
    source.client().flushall()
    lose_backlog(source)
    running.start()
    held(running, f"remove {KEYS} of the target's {KEYS} keys")
    assert post(running, "resume")[1]["deletions_allowed"]
    running.wait_status(lambda found: found["ready"], "readiness", 30)
    assert differences(source, target) == []
    assert target.client().dbsize() <= 2


def test_a_rate_holds_the_stream_back_and_changes_while_it_runs(
    source: Server, target: Server, worker: Workers, token: Path
) -> None:
    """300 commands a second; then without a limit the rest comes at once."""
    settings = {"SHAKER_RATE__STREAM_COMMANDS": "300", "SHAKER_CONTROL__TOKEN_FILE": str(token)}
    running = worker(source, target, **settings)
    running.wait_state("streaming")
    client, began = source.client(), time.monotonic()
    for number in range(6000):
        client.rpush("list", number)
    time.sleep(max(0.0, 4 - (time.monotonic() - began)))
    done, seconds = target.client().llen("list"), time.monotonic() - began
    assert 0.5 * 300 * seconds < done < 1.5 * 300 * seconds + 300
    assert running.status()["rates"]["stream_commands"] == 300

    code, text = shaker(running, "rate", "stream_commands=none", "snapshot_bytes=10MiB", token=token)
    assert code == 0
    assert "10 MiB/s" in text
    running.wait_applied(source, seconds=5)
    assert target.client().llen("list") == 6000
    assert running.status()["rates"] == {
        "snapshot_bytes": 10 * 1024 * 1024,
        "snapshot_keys": None,
        "stream_bytes": None,
        "stream_commands": None,
    }
    assert shaker(running, "rate", "--json", token=token)[1].startswith('{"ok": true, "rates"')


def test_a_rate_of_bytes_bounds_the_snapshot(source: Server, target: Server, worker: Workers) -> None:
    """4 MB at 1 MB a second take four seconds."""
    client = source.client()
    for number in range(100):
        client.set(f"key:{number}", Random(number).randbytes(40_000))
    running = worker(source, target, SHAKER_RATE__SNAPSHOT_BYTES="1000000")
    running.wait_state("snapshot")
    began = time.monotonic()
    running.wait_state("streaming")
    assert 2.5 < time.monotonic() - began < 8
    assert differences(source, target) == []


def test_a_requested_verification_can_be_aborted(
    source: Server, target: Server, running: Worker, token: Path
) -> None:
    """`shaker verify` ends with 75, and the next one is whole."""
    source.client().mset({f"key:{number}": number for number in range(1000)})
    running.wait_applied(source)
    environment = os.environ | {
        "SHAKER_SOURCE__URL": source.url,
        "SHAKER_TARGET__URL": target.url,
        "SHAKER_CONTROL__TOKEN_FILE": str(token),
    }
    url = ("--url", f"http://127.0.0.1:{running.port}")
    verify = subprocess.Popen(
        [sys.executable, "-m", "shaker", "verify", "--rate", "10", *url],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    running.wait_status(lambda found: (found["verification"]["requested"] or {}).get("running"), "the pass")
    assert shaker(running, "abort", token=token) == (0, "aborted: verification\n")
    assert "not completed" in verify.communicate(timeout=30)[0]
    assert verify.returncode == 75
    assert post(running, "abort")[0] == 409
    assert shaker(running, "verify", token=token)[0] == 2  # without the urls of the servers


def test_a_control_that_is_not_possible_has_its_reason(running: Worker, token: Path) -> None:
    """409 for the moment, 400 for the request, 401 for the token, 404 for the verb; the command repeats it."""
    assert post(running, "resume") == (
        409,
        {"ok": False, "reason": "the worker is not paused and holds no deletions"},
    )
    assert post(running, "rate", {"stream_commands": 0})[0] == 400
    assert post(running, "rate", {"streams": 1})[0] == 400
    assert post(running, "pause", token="wrong")[0] == 401
    assert post(running, "stop")[0] == 404
    code, text = shaker(running, "resume", token=token)
    assert code == 3
    assert "is not paused" in text
    assert shaker(running, "pause")[0] == 2  # without a token
    assert shaker(running, "rate", "stream_commands=fast", token=token)[0] == 2
    assert shaker(running, "rate", "speed=1", token=token)[0] == 2


def test_an_operator_acknowledges_rejected_commands(
    source: Server, target: Server, running: Worker, token: Path
) -> None:
    """The count is cleared, and the worker is ready again."""
    target.client().rpush("k", "element")
    source.client().append("k", "more")
    running.wait_status(lambda found: found["rejected_commands"] == 1, "the rejection")
    assert shaker(running, "ack", token=token) == (0, "1 rejected command cleared\n")
    running.wait_status(lambda found: found["rejected_commands"] == 0 and found["ready"], "readiness")
