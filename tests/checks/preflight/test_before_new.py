"""The checks before a new replication: they refuse before anything is asked of the source, and only once."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.support.preflight import load
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker

Servers = Callable[..., Server]
Workers = Callable[..., Worker]
MEASURED = {"SHAKER_PREFLIGHT__MEASURE_SECONDS": "0.5"}


@pytest.mark.parametrize("mode", ["follow", "migrate"])
def test_a_source_that_would_drop_the_worker_is_refused(
    server: Servers, target: Server, worker: Workers, mode: str
) -> None:
    """3, with the CONFIG SET that helps; with it the replication begins, and a second start asks nothing."""
    source = server(client_output_buffer_limit="replica 16kb 8kb 60")
    source.client().mset({f"key:{number}": number for number in range(30_000)})
    with load(source, commands=20, pause=0.01):
        running = worker(source, target, SHAKER_MODE=mode, **MEASURED)
        assert running.wait_ended() == 3
        (end,) = running.events("replication ends")
        assert "source-output-buffer" in end["error"]
        assert "--skip-check source-output-buffer" in end["hint"]
        assert (target.client().dbsize(), source.info("stats")["sync_full"]) == (0, 0)
        value = end["hint"].partition("client-output-buffer-limit ")[2].split('"')[1]
        source.client().config_set("client-output-buffer-limit", value)
        running.start()
        running.wait(lambda: source.info("stats")["sync_full"], "the snapshot")
        assert running.events("checking both servers")
        if mode == "follow":
            running.wait_state("streaming")
    wait_until(lambda: target.client().exists("shaker:checkpoint:default"), "the checkpoint")
    running.kill()
    source.client().config_set("client-output-buffer-limit", "replica 16kb 8kb 60")
    running.start()
    running.wait(lambda: running.events("registered"), "the second start")
    assert not running.events("checking both servers")


def test_warnings_are_logged_once(source: Server, target: Server, worker: Workers) -> None:
    """Those that need no measurement as well as the others, each by its name."""
    target.client().config_set("maxmemory-policy", "volatile-lru")
    source.client().set("key", 1)
    running = worker(source, target, **MEASURED)
    running.wait_state("streaming")
    names = [event["check"] for event in running.events("preflight")]
    assert len(names) == len(set(names))
    assert {"target-eviction", "target-persistence", "target-backlog"} <= set(names)


def test_only_checks_without_a_measurement_cost_none(source: Server, target: Server, worker: Workers) -> None:
    """Nothing is measured for them, and 0 leaves the others out."""
    for settings in (
        {**MEASURED, "SHAKER_PREFLIGHT__ONLY_CHECKS": "target-memory"},
        {"SHAKER_PREFLIGHT__MEASURE_SECONDS": "0"},
    ):
        running = worker(source, target, **settings)
        running.wait_state("streaming")
        assert not running.events("checking both servers")
        running.kill()
        target.client().flushall()


def test_a_signal_ends_the_measurement(source: Server, target: Server, worker: Workers) -> None:
    """75 at once, and nothing is written."""
    running = worker(source, target, SHAKER_MODE="migrate", SHAKER_PREFLIGHT__MEASURE_SECONDS="60")
    running.wait(lambda: running.events("checking both servers"), "the measurement")
    assert running.get("/livez")[0] == running.get("/startupz")[0] == 200
    began = time.monotonic()
    running.terminate()
    assert running.wait_ended() == 75
    assert time.monotonic() - began < 10
    assert target.client().dbsize() == 0


def test_a_server_that_is_away_is_waited_for(source: Server, target: Server, worker: Workers) -> None:
    """The link does that, as ever."""
    port = target.port
    target.kill()
    running = worker(source, f"redis://127.0.0.1:{port}", **MEASURED)
    running.wait_status(lambda found: found["target"]["last_error"], "the error")
    target.start()
    running.wait_state("streaming")
