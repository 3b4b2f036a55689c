"""The target's monitor: evicted keys keep the worker from being ready, and records that are gone are noticed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest

from shaker.jobs.target_monitor import TargetMonitor
from tests.support.links import Links, replicating
from tests.support.servers import Server
from tests.support.settings import settings

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def monitored(source: Server, target: Server, **given: str) -> AsyncIterator[Links]:
    """Replicate with the target's monitor at work."""
    async with AsyncExitStack() as stack:
        links = await stack.enter_async_context(replicating(source, target))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(TargetMonitor(settings(target__url=target.url, **given), links.flow).run)
        await links.wait(lambda: links.status.keys.present.get("target") is not None, "the first poll")
        yield links
        tasks.cancel_scope.cancel()


async def test_keys_are_counted_without_the_worker_s_records(source: Server, target: Server) -> None:
    """Fence and checkpoint are nobody's data."""
    source.client().mset({"a": 1, "b": 2})
    async with monitored(source, target) as links:
        await links.wait(lambda: links.status.keys.present.get("target") == 2, "the number of keys")
        await links.wait(lambda: "target_monitor" in links.status.heartbeats, "the heartbeat")


async def test_evicted_keys_are_a_reason_not_to_be_ready(source: Server, target: Server) -> None:
    """They are missing until a full resync."""
    async with monitored(source, target) as links:
        client = target.client()
        client.config_set("maxmemory-policy", "volatile-random")
        client.set("victim", "v" * 1000, ex=10_000)
        client.config_set("maxmemory", 1)
        wanted = int(client.info("stats")["evicted_keys"])
        client.config_set("maxmemory", 0)
        assert wanted == 1
        await links.wait(lambda: "eviction" in links.status.reasons, "the reason")
        assert links.status.keys.evicted == 1
        assert "1 key " in links.status.reasons["eviction"]


@pytest.mark.parametrize("command", ["FLUSHALL", "DEL shaker:checkpoint:default"])
async def test_records_that_are_gone_on_an_idle_target_are_noticed(
    source: Server, target: Server, command: str
) -> None:
    """Its link writes nothing by which it would notice: the monitor wakes it, and a full resync follows."""
    async with monitored(source, target) as links:
        syncs = links.status.links.full_syncs
        target.client().execute_command(*command.split())
        await links.wait(lambda: links.status.links.full_syncs > syncs, "the full resync")
