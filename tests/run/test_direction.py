"""One direction: it obeys signals, and says whether another one follows."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack

import anyio
import pytest

from shaker.apply.records import Checkpoint, checkpoint_key
from shaker.errors import EXIT_INCOMPLETE, EXIT_OK
from shaker.model.cutover import CutoverNote, Turn
from shaker.model.position import Phase
from shaker.run.direction import Direction
from shaker.watch.status import State, Status
from tests.support.servers import Server
from tests.support.settings import settings

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """A run freezes the objects of its process; those of the tests are freed again."""
    yield
    gc.unfreeze()


def made(source: Server, target: Server) -> tuple[Direction, Status]:
    """A direction between two servers."""
    status = Status(name="default", mode="follow", codec="plain", version="0")
    return Direction(settings(source__url=source.url, target__url=target.url), status), status


async def test_a_signal_ends_it(source: Server, target: Server) -> None:
    """Drained, with 0, and no other direction follows."""
    source.client().set("k", 1)
    direction, status = made(source, target)
    codes: list[int] = []

    async def run() -> None:
        codes.append(await direction.run(None, AsyncExitStack()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        with anyio.fail_after(30):
            while status.state is not State.STREAMING:  # noqa: ASYNC110 - the status wakes nobody
                await anyio.sleep(0.01)
        direction.signalled(signal.SIGUSR1)
        assert status.state is State.PAUSED
        direction.signalled(signal.SIGUSR1)
        direction.signalled(signal.SIGTERM)
    assert codes == [EXIT_OK]
    assert direction.other is None
    assert target.client().get("k") == b"1"


async def test_a_replication_that_was_turned_round_continues_there(source: Server, target: Server) -> None:
    """Nothing is written in this direction."""
    for server, turn, note in ((target, 0, str(CutoverNote(True, {}, 7, 1, True))), (source, 1, "")):
        checkpoint = Checkpoint(
            phase=Phase.STREAM, replid="a" * 40, offset=1, source="x:1", turned=str(Turn(turn)), cutover=note
        )
        server.client().hset(checkpoint_key("default"), items=[str(each) for each in checkpoint.pairs()])
    direction, _ = made(source, target)
    with anyio.fail_after(30):
        assert await direction.run(None, AsyncExitStack()) == EXIT_INCOMPLETE
    assert direction.other is not None
    assert target.client().keys() == [checkpoint_key("default").encode()]
