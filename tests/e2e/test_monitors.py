"""What the worker sees of its servers beside the replication: eviction, clocks, the source's buffer."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.servers import Server, wait_until
from tests.support.worker import Worker

Servers = Callable[..., Server]
Workers = Callable[..., Worker]
MIB = 1024 * 1024


def ready(running: Worker) -> None:
    """Wait until the worker is ready."""
    running.wait_status(lambda document: document["ready"], "readiness")


@pytest.mark.parametrize("name", ["redis-6.2", "redis-7.0", "valkey-9.1"])
def test_eviction_is_named(name: str, source: Server, server: Servers, worker: Workers) -> None:
    """The policy at the start, the keys once there are some; a full resync brings them back."""
    target = server(name, maxmemory_policy="volatile-lru")
    if name == "redis-6.2":
        source = server(name)
    client, copy = source.client(), target.client()
    for number in range(3000):
        client.set(f"key:{number}", b"x" * 1000, ex=10_000)
    running = worker(source, target)
    ready(running)
    (event,) = running.wait(lambda: running.events("target may evict keys"), "the warning")
    assert (event["level"], event["policy"]) == ("warning", "volatile-lru")
    assert running.status()["evicted_keys"] == 0

    copy.config_set("maxmemory", copy.info("memory")["used_memory"] - MIB)
    client.set("one", "more", ex=10_000)
    wait_until(lambda: "the target has evicted" in running.get("/readyz")[1], "the eviction at /readyz")

    def evictions() -> int:
        return int(copy.info("stats")["evicted_keys"])  # the target goes on until it is below its limit

    running.wait_status(lambda document: document["evicted_keys"] == evictions() > 0, "the number of evicted keys")
    evicted = evictions()
    assert f'shaker_evicted_keys_total{{name="default"}} {evicted:.1f}' in running.get("/metrics")[1]

    copy.config_set("maxmemory", 0)
    copy.config_resetstat()
    client.execute_command("DEBUG", "CHANGE-REPL-ID")
    client.client_kill_filter(_type="replica")
    ready(running)
    assert copy.dbsize() == client.dbsize() + 2
    assert running.status()["evicted_keys"] == evicted


@pytest.mark.parametrize(("period", "timeout", "warned"), [(10, "10", True), (10, "11", False), (1, "1", True)])
def test_a_timeout_that_an_idle_source_reaches(
    server: Servers, worker: Workers, period: int, timeout: str, warned: bool
) -> None:
    """It is named with the source's own setting: the link of an idle source would be made anew for ever."""
    source = server(repl_ping_replica_period=period)
    running = worker(source, server(), SHAKER_SOURCE__TIMEOUT_SECONDS=timeout)
    running.wait_status(lambda document: document["clock_skew_seconds"] is not None, "a look at the source")
    if warned:
        event = running.wait(lambda: running.events("source timeout too short"), "the warning")[0]
        assert (event["timeout_seconds"], event["ping_seconds"]) == (float(timeout), period)
    else:
        running.terminate()
        assert running.wait_ended() == 0
        assert running.events("source timeout too short") == []


def test_a_target_that_does_not_evict_is_not_named(source: Server, target: Server, worker: Workers) -> None:
    running = worker(source, target)
    ready(running)
    running.wait_status(lambda document: document["clock_skew_seconds"] is not None, "a look at the target")

    assert running.events("target may evict keys") == []


def test_the_clocks_are_compared(source: Server, target: Server, worker: Workers) -> None:
    """Two servers of one machine: less than a tenth of a second apart, and still above a limit of none."""
    with Worker(source, target) as running:
        status = running.wait_status(lambda document: document["clock_skew_seconds"] is not None, "the skew")
        assert abs(status["clock_skew_seconds"]) < 0.1
        assert running.events("clocks differ") == []
        metric = re.search(
            r'^shaker_clock_skew_seconds\{name="default"\} (\S+)$', running.get("/metrics")[1], re.MULTILINE
        )
        assert metric is not None
        assert abs(float(metric[1])) < 0.1
    running = worker(source, target, SHAKER_EXPIRY__MAX_CLOCK_SKEW_SECONDS="0")
    (event,) = running.wait(lambda: running.events("clocks differ"), "the warning")
    assert (event["level"], event["max_clock_skew_seconds"]) == ("warning", 0)
    ready(running)


def test_clocks_that_may_not_be_read_are_not_known(source: Server, target: Server, worker: Workers) -> None:
    """Nothing else depends on them."""
    source.client().execute_command("ACL", "SETUSER", "default", "-time")
    running = worker(source, target)
    ready(running)
    source.client().incr("counter")
    running.wait_applied(source)

    assert running.status()["clock_skew_seconds"] is None
    assert 'shaker_clock_skew_seconds{name="default"} NaN' in running.get("/metrics")[1]


def test_a_buffer_of_the_source_that_grows_is_named(server: Servers, target: Server, worker: Workers) -> None:
    """Before it overflows and the link is lost; not any more once it is empty."""
    source = server(client_output_buffer_limit="replica 80mb 40mb 600", repl_backlog_size="200mb")
    running = worker(source, target, SHAKER_MEMORY_LIMIT="4MiB")
    ready(running)
    target.pause()
    client = source.client()
    for number in range(350):
        client.set(f"key:{number}", b"x" * 100_000)
    running.wait(
        lambda: "client-output-buffer-limit replica 83886080 41943040 600" in running.get("/readyz")[1],
        "the source's buffer at /readyz",
    )
    (event,) = running.wait(lambda: running.events("source buffer grows"), "the warning")
    assert event["soft_limit_bytes"] == 40 * MIB
    assert 20 * MIB < event["waiting_bytes"] < 40 * MIB
    target.resume()
    ready(running)
    assert running.status()["reconnects"] == {}
    assert len(running.events("source buffer grows")) == 1


@pytest.mark.parametrize("database", [0, 3])
def test_a_key_that_pretends_to_be_an_answer(
    source: Server, target: Server, worker: Callable[..., Worker], database: int
) -> None:
    """Lines and terminal escapes in its name are shown as such, in `/readyz` and by `shaker status`."""
    key = "k\nok\n\x1b[2J"
    running = worker(source, target)
    running.wait_state("streaming")
    target.client(db=database).lpush(key, "not a number")
    source.client(db=database).incr(key)
    running.wait_applied(source)

    code, body = running.get("/readyz")
    assert code == 503
    assert "k\\nok\\n\\x1b[2J" in body
    assert "ok" not in body.splitlines()
    shown = subprocess.run(
        [sys.executable, "-m", "shaker", "status", "--url", f"http://127.0.0.1:{running.port}"],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    assert len(shown.splitlines()) == 1
    assert "\x1b" not in shown
