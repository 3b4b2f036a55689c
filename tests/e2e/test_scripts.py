"""Sources before Redis 7.0 can send scripts instead of what they do, and then by their digest alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.compare import differences
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker

SCRIPT = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
TARGETS = ["redis-6.2", "redis-7.0", "redis-8.0", "valkey-9.1"]


@pytest.mark.parametrize("database", [0, 3])
@pytest.mark.parametrize("name", TARGETS)
def test_scripts_of_the_snapshot(
    name: str, database: int, server: Callable[..., Server], worker: Callable[..., Worker]
) -> None:
    """A replica got them from its primary long ago, and gets their digests from then on: so does the worker."""
    primary, replica = (server("redis-6.2", lua_replicate_commands="no") for _ in range(2))
    target = server(name)
    replica.replicate(primary)
    client = primary.client(db=database)
    digest = client.script_load(SCRIPT)
    client.evalsha(digest, 1, "n", 1)
    for number in range(150):
        client.script_load(f"return {number}")
    replica.wait_replica(primary)

    running = worker(replica, target)
    running.wait_state("streaming")
    for _ in range(3):
        client.evalsha(digest, 1, "n", 1)
    replica.wait_replica(primary)
    status = running.wait_applied(replica)

    assert status["rejected_commands"] == 0
    assert target.client(db=database).get("n") == b"4"
    assert target.client().script_exists(digest) == [True]


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_that_lost_its_scripts(
    name: str, server: Callable[..., Server], worker: Callable[..., Worker]
) -> None:
    """Restarted, it gets them again: those of the snapshot, and those of the stream."""
    source = server("redis-6.2", lua_replicate_commands="no")
    target = server(name, appendonly="yes", appendfsync="always")
    client = source.client(db=3)
    first = client.script_load(SCRIPT)
    running = worker(source, target)
    running.wait_state("streaming")
    client.evalsha(first, 1, "n", 1)
    second = client.script_load(SCRIPT + " -- another")
    client.evalsha(second, 1, "n", 1)
    running.wait_applied(source)

    target.restart(kill=True)
    wait_until(lambda: len(running.events("registered")) == 2, "the second registration")
    client.evalsha(first, 1, "n", 1)
    pipeline = client.pipeline(transaction=True)
    pipeline.evalsha(second, 1, "n", 1)
    pipeline.incr("n")
    pipeline.execute()
    status = running.wait_applied(source)

    assert status["rejected_commands"] == 0
    assert target.client(db=3).get("n") == b"5"
    assert differences(source, target) == []


def test_a_script_that_nobody_kept_is_named(server: Callable[..., Server], worker: Callable[..., Worker]) -> None:
    """Target and worker have both restarted: there is nobody to ask for it, so the command is counted and named."""
    primary, replica = (server("redis-6.2", lua_replicate_commands="no") for _ in range(2))
    target = server(appendonly="yes", appendfsync="always")
    replica.replicate(primary)
    client = primary.client()
    digest = client.script_load(SCRIPT)
    running = worker(replica, target)
    running.wait_state("streaming")
    client.evalsha(digest, 1, "n", 1)
    replica.wait_replica(primary)
    running.wait_applied(replica)
    running.terminate()
    running.wait_ended()
    target.restart(kill=True)
    running.start()
    running.wait_state("streaming")
    client.evalsha(digest, 1, "n", 1)
    replica.wait_replica(primary)
    running.wait_applied(replica)

    code, body = running.get("/readyz")
    assert (code, "EVALSHA: NOSCRIPT" in body) == (503, True)
