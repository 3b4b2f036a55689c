"""The sweep's own decisions: what a replica's answer means, whose cursor it is, what comes between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest

from shaker.config import Settings
from shaker.link import sweep as module
from shaker.link.barrier import Barriers, Held
from shaker.link.reader import Reader, Request
from shaker.link.sweep import Place, Sweeper
from tests.link.driver import Links, replicating
from tests.servers import Server

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("text", "run_id", "place"),
    [
        ("0:0", "a", Place(0, 0, "a")),  # where a sweep begins
        ("3:417:a", "a", Place(3, 417, "a")),
        ("3:417:b", "a", Place(3, 0, "a")),
        ("3:417", "a", Place(3, 0, "a")),  # nobody tells whose cursor it is
    ],
)
def test_a_cursor_is_of_one_run_of_one_server(text: str, run_id: str, place: Place) -> None:
    """Another run keeps its keys in another order: the database is looked at from its beginning."""
    assert Place.parse(text, run_id) == place
    assert Place.parse(str(place), run_id) == place


class Replica(Barriers):
    """Barriers on a source that says it is a replica, with a clock that is a minute ahead of the target's."""

    @asynccontextmanager
    async def at(self, source: Reader, requests: Sequence[Request]) -> AsyncIterator[Held]:
        """Hold as ever."""
        async with super().at(source, requests) as held:
            held.replica = True
            held.source_ms += 60_000
            yield held


async def sweep(links: Links, source: Server, target: Server, barriers: Barriers) -> None:
    """Sweep once from the beginning to the end."""
    settings = Settings(source={"url": source.url}, target={"url": target.url})  # type: ignore[arg-type]
    links.replication.window.begin_sweep("0:0")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Sweeper(settings, links.replication, barriers).run)
        await links.wait(lambda: not links.replication.window.sweep, "the end of the sweep")
        tasks.cancel_scope.cancel()


async def test_what_may_only_have_expired_on_a_replica_is_left(source: Server, target: Server) -> None:
    """It hides a key from its expiry on; its primary may have renewed it, and only the stream tells."""
    client = target.client()
    async with replicating(source, target) as links:
        client.set("without an expiry", 1)
        client.set("expires later", 1, px=3_600_000)
        client.set("has expired there", 1, px=30_000)
        await sweep(links, source, target, Replica(links.replication))

        assert client.exists("has expired there") == 1
        assert client.exists("without an expiry", "expires later") == 0
        await sweep(links, source, target, links.barriers)  # a primary's answer is the truth
        assert client.exists("has expired there") == 0


async def test_a_database_that_the_source_does_not_have(server: Callable[..., Server]) -> None:
    """Nothing of it is the source's, and the sweep goes on behind it."""
    source, target = server(databases=4), server(databases=16)
    async with replicating(source, target) as links:
        for database in (0, 3, 9):
            target.client(db=database).set("stale", 1)
        await sweep(links, source, target, links.barriers)
        assert [target.client(db=database).exists("stale") for database in (0, 3, 9)] == [0, 0, 1]


async def test_a_sweep_that_begins_anew_is_not_carried_on(
    source: Server, target: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another full resync while keys are asked for: the cursor of the sweep before it is dropped."""
    monkeypatch.setattr(module, "SCAN_KEYS", 10)
    client = target.client()
    async with replicating(source, target) as links:
        client.mset({f"stale:{number}": 1 for number in range(100)})
        window = links.replication.window
        interrupted = []

        class Interrupting(Barriers):
            @asynccontextmanager
            async def at(self, source: Reader, requests: Sequence[Request]) -> AsyncIterator[Held]:
                async with super().at(source, requests) as held:
                    yield held
                if len(interrupted) < 3:
                    interrupted.append(window.sweep)
                    client.mset({f"stale:{number}": 1 for number in range(100)})
                    window.begin_sweep("0:0")

        await sweep(links, source, target, Interrupting(links.replication))
        assert len(interrupted) == 3
        assert client.keys("stale:*") == []
