"""The handshake with a source: who it is, and whether it can be one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.errors import RefusedError, ServerBusyError
from shaker.flow.flow import Flow
from shaker.model.server_info import ServerInfo
from shaker.net.connection import connect
from shaker.psync.session import ReplicaSession
from shaker.readers.handshake import introduce
from shaker.watch.status import Status
from tests.support.servers import NAMES, Server, free_port
from tests.support.settings import settings

pytestmark = pytest.mark.anyio


async def introduced(source: Server) -> tuple[ServerInfo, Flow]:
    """Shake hands with a source; return its INFO and what the flow knows of it."""
    made = settings(source__url=source.url)
    flow = Flow(Status(), made, window_limit=1 << 20)
    session = ReplicaSession(username=None, password=None, max_value=1 << 20)
    async with connect(made.source.address, side="source", tls=None, connect_timeout=5, timeout=10) as connection:
        return await introduce(connection, session, made, flow), flow


@pytest.mark.parametrize("name", NAMES)
async def test_the_flow_learns_who_the_source_is(name: str, shared: Callable[[str], Server]) -> None:
    """Its address, run id and histories, and its name for the status."""
    source = shared(name)
    info, flow = await introduced(source)

    assert flow.source.identity is not None
    assert flow.source.identity.address == f"127.0.0.1:{source.port}"
    assert flow.source.identity.run_id == info.run_id == source.info("server")["run_id"]
    assert flow.source.identity.replids == info.replication.replids
    assert flow.source.identified.is_set()
    assert flow.status.source.server == info.name


async def test_a_replica_without_its_primary_is_waited_for(source: Server) -> None:
    """It has no data to give, or old ones."""
    source.client().replicaof("127.0.0.1", free_port())
    with pytest.raises(ServerBusyError) as caught:
        await introduced(source)
    assert caught.value.kind == "masterdown"


async def test_a_cluster_cannot_be_the_source(server: Callable[..., Server]) -> None:
    """One node has a part of the keys only."""
    with pytest.raises(RefusedError, match="cluster mode"):
        await introduced(server(cluster_enabled="yes", cluster_port=free_port()))
