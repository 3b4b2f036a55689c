"""Redis 5.0 as the source: no ACL, no RESP3, relative expiries, a MULTI and EXEC of its own in the stream."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from shaker.commands.sample import seed
from tests.support.oracle import differences
from tests.support.servers import OLDEST, Server
from tests.support.worker import Worker

pytestmark = pytest.mark.needs_servers(OLDEST)

Servers = Callable[..., Server]
Workers = Callable[..., Worker]

TARGETS = ("redis-7.0", "redis-8.0")
KILLS = 5
# Redis 5.0 sends EXPIRE as it was given, in seconds from now, so each replica expires later by its lag.
TOLERANCE = 3000


def write(source: Server, number: int) -> None:
    """Write a round of expiries, transactions and scripts, in several databases."""
    for database in (0, 9):
        client = source.client(db=database)
        client.set(f"string:{number}", number, px=400_000 + number)
        client.execute_command("SET", f"kept:{number}", number, "EX", 300)
        client.persist(f"kept:{number}")
        client.hset("hash", f"field:{number}", number)
        client.expire("hash", 500 + number)
        client.eval("redis.call('incr', KEYS[1]) redis.call('pexpire', KEYS[1], 600000)", 1, "scripted")
        with client.pipeline(transaction=True) as transaction:
            transaction.incr("counter").rpush("list", number).expireat("list", int(time.time()) + 1000)
            transaction.execute()
        client.xadd("stream", {"number": number})
        client.spop("drawn")
        client.sadd("drawn", *range(number, number + 20))


def check(source: Server, target: Server, rounds: int) -> None:
    """Each round is there once, and nothing differs."""
    for database in (0, 9):
        client = target.client(db=database)
        assert client.get("counter") == client.get("scripted") == b"%d" % rounds
        assert client.lrange("list", 0, -1) == [b"%d" % number for number in range(rounds)]
    assert differences(source, target, tolerance=TOLERANCE) == []


@pytest.mark.parametrize("target_name", TARGETS)
def test_migrate(target_name: str, server: Servers, worker: Workers) -> None:
    """Ends with 0, the expiries settled."""
    source, target = server(OLDEST), server(target_name)
    seed(source.client(), 1000, shortest_expiry=600_000)
    for number in range(5):
        write(source, number)

    running = worker(source, target, SHAKER_MODE="migrate")

    assert running.wait_ended(60) == 0, running.describe()
    check(source, target, 5)


@pytest.mark.parametrize("target_name", TARGETS)
def test_follow_through_kills(target_name: str, server: Servers, worker: Workers) -> None:
    """SIGKILL between and amid writes: each worker goes on by a partial sync, ready, and nothing comes twice."""
    source, target = server(OLDEST), server(target_name)
    write(source, 0)
    running = worker(source, target)
    running.wait_state("streaming")
    for number in range(KILLS):
        write(source, 2 * number + 1)
        running.kill()
        write(source, 2 * number + 2)
        running.start()

    running.wait_applied(source)
    running.wait_status(lambda status: status["ready"], "the worker to be ready", 60)
    assert running.status()["rejected_commands"] == 0
    assert source.info("stats")["sync_full"] == 1
    check(source, target, 2 * KILLS + 1)


def test_a_replica(server: Servers, worker: Workers) -> None:
    """The source may be a replica, whose offsets are those of its primary."""
    primary, source, target = server(OLDEST), server(OLDEST), server()
    write(primary, 0)
    source.replicate(primary)
    running = worker(source, target)
    running.wait_state("streaming")
    for number in range(1, 4):
        write(primary, number)
    source.wait_replica(primary)

    running.wait_applied(source)
    running.wait_status(lambda status: status["ready"], "the worker to be ready", 60)
    check(source, target, 4)
