"""The point from which the target's stream is applied to the source, and what stands against it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from shaker.apply.records import Checkpoint, checkpoint_key
from shaker.jobs.cutover_order import Failed, Order
from shaker.jobs.way_back import WayBack, refused_way_back
from shaker.model.cutover import CutoverNote, Turn
from shaker.settings.endpoints import Endpoint
from tests.support.cutting_over import CuttingOver, cutting_over
from tests.support.servers import Server
from tests.support.settings import settings

pytestmark = pytest.mark.anyio


class Written:
    """Takes the checkpoint in place of the old source."""

    def __init__(self) -> None:
        self.found: list[tuple[Endpoint, str, str, Checkpoint]] = []

    async def __call__(self, *given: Any) -> None:
        """Keep it."""
        self.found.append(given)


async def found(cutting: CuttingOver, attached: AsyncExitStack, note: CutoverNote) -> Checkpoint:
    """Find the point and record it."""
    written = Written()
    way_back = WayBack(cutting.settings, cutting.flow, written, attached)
    await way_back.find(lambda: cutting.cutover._note(note))
    await way_back.record({"acl:app": "+@all"})
    (given,) = written.found
    assert given[0] is cutting.settings.source
    assert given[3].turned == str(Turn(1, {"acl:app": "+@all"}))
    return given[3]


@pytest.mark.parametrize("database", [0, 5])
async def test_the_point_lies_behind_the_workers_own_writes(
    server: Any, source: Server, target: Server, tmp_path: Path, database: int
) -> None:
    """With the selected database, though the last write before it was in another one; what follows is behind it."""
    replica = server()
    replica.replicate(target)
    replica.close()
    source.client(db=5).set("k", 1)
    async with cutting_over(source, target, tmp_path) as cutting, AsyncExitStack() as attached:
        target.client(db=database).set("other", 1)
        checkpoint = await found(cutting, attached, CutoverNote(False, {}, 99))
        assert checkpoint.replid == target.info()["master_replid"]
        assert checkpoint.database == 0
        assert target.offset() - len("PING") * 10 <= checkpoint.offset <= target.offset()
        assert target.client().hget(checkpoint_key("default"), "cutover") == b"[0, {}, 99, 0]"
        before = checkpoint.offset
        target.client().set("new", 1)
        assert target.offset() > before
        assert target.info("stats")["sync_full"] == 1


async def test_without_a_backlog_there_is_no_point(source: Server, target: Server, tmp_path: Path) -> None:
    """Nor is a full sync of the target asked for."""
    async with cutting_over(source, target, tmp_path) as cutting, AsyncExitStack() as attached:
        with pytest.raises(Failed, match="no longer keeps a replication backlog"):
            await found(cutting, attached, CutoverNote(False, {}, 99))
    assert target.info("stats")["sync_full"] == 0


async def test_each_reason_against_it_is_named(source: Server, target: Server) -> None:
    """The fence, the backlog, and what source and target lack in the other direction."""
    made = settings(source__url=source.url, target__url=target.url)
    source.client().config_set("maxmemory-policy", "allkeys-lru")
    target.client().execute_command("ACL", "SETUSER", "default", "-psync")  # type: ignore[no-untyped-call]
    refused = await refused_way_back(made, Order(reverse=True))
    assert [
        text in each for each, text in zip(refused, ("--fence-acl", "psync", "evict", "backlog"), strict=True)
    ] == [
        True,
        True,
        True,
        True,
    ]
