"""Full syncs are spaced out, and INFO says before PSYNC whether a source continues."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from shaker.flow.flow import Flow
from shaker.model.position import Resume
from shaker.model.server_info import ServerInfo, parse_info
from shaker.readers.full_syncs import FullSyncs, continues
from shaker.settings.schema import Settings
from shaker.watch.status import Status
from tests.support.servers import NAMES, Server, wait_until
from tests.support.target_driver import Wire

pytestmark = pytest.mark.anyio


def spaced(seconds: float) -> tuple[FullSyncs, Flow]:
    """Return full syncs that are at least so far apart."""
    settings = Settings(
        source={"url": "redis://source:6379"},  # type: ignore[arg-type]
        target={"url": "redis://target:6379"},  # type: ignore[arg-type]
        retry={"full_sync_seconds": seconds},  # type: ignore[arg-type]
    )
    flow = Flow(Status(), settings, window_limit=1 << 20)
    return FullSyncs(settings, flow), flow


async def test_the_second_one_waits_for_its_turn() -> None:
    """The first one does not."""
    full_syncs, flow = spaced(1.0)
    status = flow.status
    await full_syncs.turn(ServerInfo())
    full_syncs.begun()
    began = status.clock()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(full_syncs.turn, ServerInfo())
        await anyio.sleep(0.1)
        assert "retry.full_sync_seconds" in status.reasons["full_sync"]
    assert status.clock() - began >= 1.0
    assert status.reasons == {}


async def test_one_that_is_no_longer_needed_does_not_wait() -> None:
    """The target comes back with a checkpoint from which the source continues."""
    full_syncs, flow = spaced(3600)
    full_syncs.begun()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(full_syncs.turn, ServerInfo())
        await anyio.sleep(0.1)
        assert "full_sync" in flow.status.reasons
        flow.resume = Resume("a" * 40, 100, 0)
    assert flow.status.reasons == {}


def info(server: Server) -> ServerInfo:
    """Return the INFO of a server as the worker reads it."""
    raw = server.client().execute_command("INFO", NEVER_DECODE=True)
    return parse_info(raw if isinstance(raw, bytes) else "".join(f"{k}:{v}\r\n" for k, v in raw.items()).encode())


@pytest.mark.parametrize("name", NAMES)
def test_whether_a_source_goes_on_is_known_before(server: Callable[..., Server], name: str) -> None:
    """As the source itself decides, by its INFO: at the ends of its backlog, in the history before, and in none."""
    source, replica = server(name, repl_backlog_size="16kb"), server(name)
    replica.replicate(source)
    client = source.client()
    for _ in range(40):
        client.set("key", "x" * 1000)
    replica.wait_replica(source)
    now = info(source)
    replid, end, first = now.replication.replid, now.replication.offset, now.replication.backlog_first
    assert end is not None
    assert first is not None
    promoted = info(replica).replication.replid
    assert promoted == replid
    for offset in (end, first - 1, first - 2, first + 100, 0):
        assert continues(now, Resume(replid, offset, 0)) is asked(source, replid, offset)
    assert not continues(now, Resume("f" * 40, end, 0))
    assert not asked(source, "f" * 40, end)

    replica.client().replicaof("NO", "ONE")
    now = info(replica)
    assert now.replication.replid2 == replid
    assert now.replication.second_offset is not None
    until = now.replication.second_offset - 1
    for offset in (until, until + 50):
        assert continues(now, Resume(replid, offset, 0)) is asked(replica, replid, offset)
    assert not continues(info(server(name)), Resume(replid, 100, 0))
    assert continues(ServerInfo(), Resume(replid, 100, 0))


def asked(server: Server, replid: str, offset: int) -> bool:
    """Whether the server answers +CONTINUE."""
    wire = Wire(server)
    try:
        wire.socket.sendall(f"PSYNC {replid} {offset + 1}\r\n".encode())
        answer = wait_until(lambda: wire.socket.recv(64).lstrip(b"\n"), "an answer to PSYNC")
        return answer.startswith(b"+CONTINUE")
    finally:
        wire.close()
