"""Keys that wait to be compared at barriers, while the source is written to: equal ones are settled, others copied."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import redis

from shaker.jobs import confirm as module
from shaker.jobs.confirm import Confirm
from shaker.jobs.restore_expiries import RestoreExpiries
from shaker.jobs.source_monitor import SourceMonitor
from shaker.run.supervise import supervise
from shaker.settings.schema import Settings
from tests.support.compare import differences
from tests.support.links import Links, replicating
from tests.support.servers import Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

Servers = Callable[..., Server]
UNCONFIRMED = "shaker:unconfirmed:default"
COPYING = "shaker:copying:default"
EXPIRING = "shaker:expiring:default"
WHOLE = UNCONFIRMED
EVERYTHING = "shaker:checkpoint:default"


@asynccontextmanager
async def comparing(
    source: Server,
    target: Server,
    *,
    copying: bool = True,
    limits: dict[str, int] | None = None,
    job: type[Confirm] = Confirm,
    **settings: str,
) -> AsyncIterator[Links]:
    """Replicate, and within the block compare waiting keys, and with `copying` also copy."""
    async with replicating(source, target, target_settings=dict(settings)) as links:
        await links.wait_applied(source)
        made = Settings(source={"url": source.url}, target={"url": target.url} | settings)  # type: ignore[arg-type]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(supervise, SourceMonitor(made, links.flow), links.status, made)
            tasks.start_soon(supervise, job(made, links.flow, links.barriers, **(limits or {})), links.status, made)
            if copying:
                tasks.start_soon(supervise, RestoreExpiries(made, links.flow, links.barriers), links.status, made)
            yield links
            tasks.cancel_scope.cancel()


def remember(links: Links, target: Server, *keys: str | bytes, database: int = 0) -> None:
    """Have keys compared."""
    target.client(db=database).sadd(UNCONFIRMED, *keys)
    links.flow.unconfirmed.waiting = True


async def settled(links: Links) -> None:
    """Wait until all is compared."""
    await links.wait(lambda: not links.flow.unconfirmed.pending, "the comparison", 60.0)


def fill(client: redis.Redis) -> None:
    """Write a key of each type."""
    client.set("string", "value")
    client.set("expires", "value", ex=10_000)
    client.rpush("list", *range(300))
    client.sadd("set", *(f"member {number}" for number in range(300)))
    client.zadd("zset", {f"member {number}": number / 3 for number in range(300)})
    client.hset("hash", mapping={f"field {number}": number for number in range(300)})
    client.xadd("stream", {"field": "value"})


KEYS = ("string", "expires", "list", "set", "zset", "hash", "stream")


@pytest.mark.parametrize("database", [0, 3])
async def test_equal_keys(source: Server, target: Server, database: int) -> None:
    """They are settled without a write."""
    fill(source.client(db=database))
    async with comparing(source, target) as links:
        target.client().config_resetstat()
        remember(links, target, *KEYS, "on neither side", database=database)
        await settled(links)
        assert links.status.expiries.copied == 0
    assert "cmdstat_restore" not in target.client().info("commandstats")
    assert differences(source, target) == []


@pytest.mark.parametrize("database", [0, 3])
async def test_keys_that_differ(source: Server, target: Server, database: int) -> None:
    """By their type, in a value, missing on one side, by an expiry: all are as on the source."""
    fill(source.client(db=database))
    async with comparing(source, target) as links:
        client = target.client(db=database)
        client.delete("string", "hash")
        client.set("list", "a string")
        client.sadd("set", "more")
        client.zincrby("zset", 1, "member 7")
        client.xadd("stream", {"more": "value"})
        client.persist("expires")
        client.set("only here", 1)
        remember(links, target, *KEYS, "only here", database=database)
        await settled(links)
        await links.wait(lambda: not links.flow.expiries.waiting, "the expiries")
        assert differences(source, target) == []


@pytest.mark.parametrize(("source_name", "target_name"), [("redis-6.2", "redis-8.0"), ("redis-7.0", "valkey-9.1")])
async def test_other_versions(source_name: str, target_name: str, server: Servers) -> None:
    """A value that they dump differently is the same, and is not copied; groups of a stream are no plain value."""
    source, target = server(source_name), server(target_name)
    fill(source.client())
    source.client().rpush("small list", *range(5))
    source.client().zadd("small zset", {"a": 1e20, "b": 0.1})
    async with comparing(source, target) as links:
        remember(links, target, *(set(KEYS) - {"stream"}), "small list", "small zset")
        await settled(links)
        assert links.status.expiries.copied == 0


async def test_written_to_meanwhile(source: Server, target: Server) -> None:
    """Each barrier sees both sides at one point, however the source writes."""
    client = source.client()
    client.set("counter", 0)
    async with comparing(source, target) as links:
        done = False

        async def write() -> None:
            while not done:
                await anyio.to_thread.run_sync(lambda: [client.incr("counter") for _ in range(50)])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            for _ in range(5):
                remember(links, target, "counter")
                await settled(links)
            done = True
        assert links.status.expiries.copied == 0


async def test_it_waits_for_the_copy(source: Server, target: Server) -> None:
    """A key that differs is in the set until it is copied."""
    source.client().rpush("list", 1)
    async with comparing(source, target, copying=False) as links:
        target.client().rpush("list", 2)
        remember(links, target, "list")
        await links.wait(lambda: target.client().smembers(COPYING) == {b"list"}, "the key to be handed over")
        await anyio.sleep(3 * module.COPYING_SECONDS)
        assert target.client().smembers(UNCONFIRMED) == {b"list"}
        target.client().rpop("list")
        target.client().srem(COPYING, "list")
        await settled(links)


async def test_large_values(source: Server, target: Server) -> None:
    """They are read in pieces: one element decides, whatever the lengths."""
    fill(source.client())
    async with comparing(source, target, copying=False, limits={"held_bytes": 10}) as links:
        remember(links, target, *KEYS)
        await settled(links)
        target.client().lset("list", 7, "x")
        target.client().delete("zset")
        target.client().set("zset", 1)
        target.client().hset("hash", "field 7", "x")
        target.client().persist("expires")
        remember(links, target, *KEYS)
        client = target.client()
        await links.wait(lambda: client.smembers(COPYING) == {b"list", b"zset", b"hash"}, "what differs")
        await links.wait(lambda: client.smembers(EXPIRING) == {b"expires"}, "the expiry")


async def test_large_values_that_change_all_the_time(source: Server, target: Server, monkeypatch: Any) -> None:
    """They are compared by one DUMP; those that are too large for that wait, by name."""
    client = source.client()
    client.hset("hash", mapping={f"field {number}": number for number in range(300)})

    class Touched(Confirm):
        """Each piece that is read finds the source writing to the key."""

        def _heartbeat(self) -> None:
            super()._heartbeat()
            client.hset("hash", "field 3", time.time())

    limits = {"held_bytes": 10}
    async with comparing(source, target, copying=False, limits=limits, job=Touched) as links:
        remember(links, target, "hash")
        await settled(links)
        monkeypatch.setattr(module, "BUSY_BYTES", 10)
        remember(links, target, "hash", WHOLE)
        await links.wait(lambda: "hash changed while" in links.flow.unconfirmed.error, "the reason", 60)
        assert b"hash" in target.client().smembers(UNCONFIRMED)
        assert links.status.expiries.copied == 0


@pytest.mark.parametrize("settings", [{}, {"on_existing": "merge"}])
async def test_a_whole_database(source: Server, target: Server, settings: dict[str, str]) -> None:
    """All its keys are compared; what only the target has goes, unless it may have keys of others."""
    fill(source.client(db=3))
    source.client().set("other", 1)
    async with comparing(source, target, **settings) as links:
        client = target.client(db=3)
        client.delete("string")
        client.lpop("list")
        client.set("only here", 1)
        target.client().set("other", 2)
        remember(links, target, WHOLE, database=3)
        await settled(links)
        assert target.client().get("other") == b"2"
        target.client().set("other", 1)
        assert client.exists("only here") == bool(settings)
        client.delete("only here")
        assert differences(source, target) == []


async def test_everything(source: Server, target: Server) -> None:
    """All keys of all databases, those that only one side uses too."""
    for database in (0, 1, 5):
        source.client(db=database).set("key", database)
    async with comparing(source, target) as links:
        target.client(db=1).flushdb()
        target.client(db=5).set("key", "x")
        target.client(db=7).set("only here", 1)
        remember(links, target, EVERYTHING)
        await settled(links)
        assert differences(source, target) == []


async def test_too_many_keys_that_only_the_target_has(source: Server, target: Server) -> None:
    """They are not removed: the reason says so."""
    for number in range(20):
        source.client().set(f"key:{number}", 1)
    async with comparing(source, target, limits={"most_keys": 10}) as links:
        for number in range(15):
            target.client().set(f"only here:{number}", 1)
        remember(links, target, WHOLE)
        await links.wait(lambda: links.flow.unconfirmed.error, "the reason")
        links.flow.refresh_state()
        assert "only on the target" in links.status.reasons["unconfirmed"]
        assert target.client().dbsize() > 30
