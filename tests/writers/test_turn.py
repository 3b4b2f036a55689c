"""The checkpoint of the other direction, on a real server."""

from __future__ import annotations

import pytest

from shaker.apply.records import Checkpoint, Fence, checkpoint_key, fence_key, unconfirmed_key
from shaker.errors import LinkError
from shaker.model.cutover import Turn
from shaker.model.position import Phase
from shaker.settings.endpoints import Source
from shaker.writers.turn import write_turned
from tests.support.servers import Server

pytestmark = pytest.mark.anyio
CHECKPOINT = Checkpoint(phase=Phase.STREAM, replid="a" * 40, offset=7, turned=str(Turn(1))).confirming(7, 0)


def endpoint(server: Server) -> Source:
    """The server as the worker's settings name it."""
    return Source(url=server.url)  # type: ignore[arg-type]


def written(server: Server) -> dict[str, str]:
    """The record on a server."""
    found = server.client().hgetall(checkpoint_key("default"))
    return {key.decode(): value.decode() for key, value in found.items()}


async def write(server: Server, run_id: str | None = None) -> None:
    """Write it."""
    await write_turned(endpoint(server), "default", run_id or server.info("server")["run_id"], CHECKPOINT)


async def test_it_is_written_whole_by_the_one_writer(source: Server) -> None:
    """Over one that was there; its epoch is that of the fence, so that a worker takes it for its own."""
    source.client().hset(checkpoint_key("default"), mapping={"other": "field", "schema": "1", "phase": "stream"})
    for epoch in (1, 2):
        await write(source)
        fence = Fence.parse(
            {k.decode(): v.decode() for k, v in source.client().hgetall(fence_key("default")).items()}
        )
        found = Checkpoint.parse(written(source))
        assert fence is not None
        assert found == CHECKPOINT._replace(epoch=epoch, connection=fence.connection)
        assert fence.epoch == epoch
    assert "other" not in written(source)
    assert not source.client().exists(unconfirmed_key("default"))


async def test_keys_that_expire_have_all_keys_compared(source: Server) -> None:
    """They expire earlier there than on the other server."""
    source.client().set("k", 1, ex=100)
    await write(source)
    found = Checkpoint.parse(written(source))
    assert found is not None
    assert found.unconfirmed == 1
    assert source.client().smembers(unconfirmed_key("default")) == {checkpoint_key("default").encode()}


async def test_nothing_is_written_to_another_server(source: Server) -> None:
    """A balancer may lead elsewhere."""
    with pytest.raises(LinkError, match="another server"):
        await write(source, "x" * 40)
    assert source.client().keys() == []


async def test_a_right_that_is_missing_is_named(source: Server) -> None:
    """Before anything is written."""
    source.client().execute_command("ACL", "SETUSER", "default", "-hset")  # type: ignore[no-untyped-call]
    with pytest.raises(LinkError, match="writing the checkpoint of the other direction"):
        await write(source)
    assert written(source) == {}
