"""The fence on a real source: it holds, refuses, opens by itself and by request, and says where it is not allowed."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shaker.errors import AccessError, LinkError
from shaker.jobs.cutover_order import Failed, Outcome
from shaker.jobs.source_fence import NAMES, SourceFence, refused_fences
from shaker.net.client import open_client, open_fence_client
from shaker.settings.endpoints import Source
from tests.support.proxy import Proxy
from tests.support.relay import Relay
from tests.support.servers import OLDEST, Server

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def fencing(
    source: Server, *, seconds: float = 1.0, run_id: str | None = None, url: str | None = None
) -> AsyncIterator[SourceFence]:
    """A fence on `source`, by way of `url` if that is given."""
    async with open_fence_client(Source(url=url or source.url)) as client:  # type: ignore[arg-type]
        yield SourceFence(client, source.info("server")["run_id"] if run_id is None else run_id, seconds=seconds)


def writer(source: Server, seconds: float = 0.2) -> redis.Redis:
    """A client that does not wait for long."""
    return redis.Redis(port=source.port, socket_timeout=seconds, retry=Retry(NoBackoff(), 0))


async def test_a_pause_holds_writers_and_ends_by_itself(source: Server) -> None:
    """Reads are answered meanwhile; INFO gives the offset behind the last write."""
    source.client().set("k", 1)
    async with fencing(source) as fence:
        info = await fence.pause()
    began = time.monotonic()
    with pytest.raises(redis.TimeoutError):
        writer(source).incr("k")
    assert source.client().get("k") == b"1"
    assert info.replication.offset == source.info("replication")["master_repl_offset"]
    assert writer(source, 5).incr("other") == 1
    assert 0.5 < time.monotonic() - began < 3


@pytest.mark.parametrize("request_of", [SourceFence.pause, SourceFence.renew])
async def test_a_pause_that_is_on_its_way_does_not_come_after_its_end(
    source: Server, request_of: Callable[[SourceFence], Awaitable[object]]
) -> None:
    """An attempt that is given up waits for the answer: the pause would hold writers with nobody to end it."""
    with Proxy(source) as proxy:
        async with fencing(source, seconds=30, url=proxy.url) as fence, anyio.create_task_group() as tasks:
            proxy.set("up", stalled=True)
            tasks.start_soon(request_of, fence)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
            healing = threading.Timer(0.3, proxy.heal)
            healing.start()
        healing.join()
        async with fencing(source) as fence:
            await fence.open({})
        assert source.client().info("commandstats")["cmdstat_client|pause"]["calls"] == 1
        assert writer(source, 5).incr("k") == 1


async def test_a_lasting_fence_refuses_and_is_undone(source: Server) -> None:
    """With a lag of 0 the server would ignore it, so that is changed, too."""
    source.client().config_set(NAMES[1], 0)
    async with fencing(source) as fence:
        before = await fence.configuration()
        await fence.shut(before)
        with pytest.raises(redis.ResponseError, match=r"NOREPLICAS|Not enough good replicas"):
            source.client().incr("k")
        await fence.open(before)
    assert source.client().incr("k") == 1
    assert before == {NAMES[0]: "0", NAMES[1]: "0"}
    assert source.client().config_get(NAMES[1])[NAMES[1]] == "0"


async def test_another_server_is_not_fenced_for_long(source: Server) -> None:
    """A balancer may lead elsewhere."""
    async with fencing(source, run_id="another") as fence:
        with pytest.raises(LinkError, match="another server"):
            await fence.pause()


async def test_rights_that_are_missing_are_named(source: Server) -> None:
    """Before anything is tried; AccessError where it is tried."""
    source.client().execute_command("ACL", "SETUSER", "default", "-config|set")  # type: ignore[no-untyped-call]
    async with open_client(Source(url=source.url)) as client:  # type: ignore[arg-type]
        refused = await refused_fences(client, "default", await client.info("server"))
    assert list(refused) == ["replicas"]
    assert "ACL SETUSER default +config|set" in refused["replicas"]
    async with fencing(source) as fence:
        with pytest.raises(AccessError):
            await fence.shut({})
    source.client().execute_command("ACL", "SETUSER", "default", "-client|pause")  # type: ignore[no-untyped-call]
    async with open_client(Source(url=source.url)) as client:  # type: ignore[arg-type]
        assert set(await refused_fences(client, "default", await client.info("server"))) == {
            "pause",
            "replicas",
            "acl",
        }


async def test_a_source_with_all_rights_refuses_no_fence(source: Server) -> None:
    """The default user."""
    async with open_client(Source(url=source.url)) as client:  # type: ignore[arg-type]
        assert await refused_fences(client, "default", await client.info("server")) == {}


async def test_a_renamed_command_is_named(server: Callable[..., Server]) -> None:
    """As managed services do it."""
    source = server(rename_command='CONFIG ""')
    async with open_client(Source(url=source.url)) as client:  # type: ignore[arg-type]
        refused = await refused_fences(client, "default", await client.info("server"))
    assert refused == {"replicas": "the source has no CONFIG SET: use --fence pause"}


@pytest.mark.needs_servers(OLDEST)
async def test_an_old_source_has_no_pause_of_writers(shared) -> None:  # type: ignore[no-untyped-def]
    """It would hold readers, and the worker, too."""
    async with open_client(Source(url=shared(OLDEST).url)) as client:  # type: ignore[arg-type]
        refused = await refused_fences(client, "default", await client.info("server"))
    assert "needs Redis 6.2" in refused["replicas"]
    assert "--fence none" in refused["pause"]


def swallowing(arguments: list[bytes], _: bool) -> bytes | None:
    """Answer OK to CONFIG SET and change nothing, as some managed services do."""
    return b"+OK\r\n" if arguments[0] == b"CONFIG" and arguments[1].upper() == b"SET" else None


async def test_a_setting_that_does_not_take_is_refused(source: Server) -> None:
    """It is read back: before the fence, when it shuts, and when it opens."""
    with Relay(source, swallowing) as relay:
        async with open_fence_client(Source(url=f"redis://127.0.0.1:{relay.port}")) as client:  # type: ignore[arg-type]
            fence = SourceFence(client, "", seconds=1)
            before = await fence.configuration()
            for refused in (fence.prove(before), fence.shut(before)):
                with pytest.raises(Failed, match="answers OK") as caught:
                    await refused
                assert caught.value.outcome is Outcome.REFUSED
            with pytest.raises(LinkError, match="answers OK"):
                await fence.open({NAMES[0]: "3"})
            await fence.open(before)


@pytest.mark.parametrize("lag", [0, 7])
async def test_a_proof_changes_nothing(source: Server, lag: int) -> None:
    """Writes go on, and the settings are those from before."""
    source.client().config_set(NAMES[1], lag)
    async with fencing(source) as fence:
        before = await fence.configuration()
        await fence.prove(before)
        assert await fence.configuration() == before
    assert source.client().incr("k") == 1
