"""A worker's links and barriers in the test's own process, without health server and signals."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent
from shaker.jobs.barrier import Barriers
from shaker.jobs.remove_stale_keys import RemoveStaleKeys
from shaker.net.client import Client, open_client
from shaker.readers.psync import SourceLink
from shaker.run.supervise import supervise
from shaker.settings.schema import Settings
from shaker.watch.status import State, Status
from shaker.watch.status_document import status_document
from shaker.writers.redis import TargetLink
from tests.support.servers import Server

TICK_SECONDS = 0.005


class Links:
    """Source link and target link at work, and readers of both servers."""

    def __init__(self, flow: Flow, source: Client, target: Client) -> None:
        self.flow = flow
        self.status = flow.status
        self.barriers = Barriers(flow)
        self.source = source
        self.target = target

    async def wait(self, condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
        """Wait until the condition is true."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.flow.refresh_state()
            assert time.monotonic() < deadline, (
                f"waited in vain for {what}: {status_document(self.status, max_lag_seconds=1)}"
            )
            await anyio.sleep(TICK_SECONDS)

    async def wait_applied(self, server: Server) -> None:
        """Wait until all that `server` has written is applied on the target."""
        offset = server.offset()
        await self.wait(lambda: self.status.stream.applied_offset >= offset, f"offset {offset} to be applied")


@asynccontextmanager
async def replicating(
    source: Server,
    target: Server,
    *,
    url: str | None = None,
    target_settings: dict[str, Any] | None = None,
    **settings: object,
) -> AsyncIterator[Links]:
    """Replicate `source` to `target` within the block; `url`, if given, is where the links find the source.

    The readers go to the servers themselves, whatever is between them and the links.
    """
    values = {
        "source": {"url": url or source.url},
        "target": {"url": target.url, "max_deletions": 1} | (target_settings or {}),
        **settings,
        "retry": {"max_seconds": 0.1, "full_sync_seconds": 0, **settings.get("retry", {})},  # type: ignore[dict-item]
    }
    made = Settings(**values)  # type: ignore[arg-type]
    direct = Settings(source={"url": source.url}, target={"url": target.url})  # type: ignore[arg-type]
    flow = Flow(Status(started=True), made, window_limit=made.memory_limit // 4)
    flow.happen(FlowEvent.STARTED)
    async with (
        open_client(direct.source) as source_reader,
        open_client(direct.target) as target_reader,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(SourceLink(made, flow).run)
        tasks.start_soon(TargetLink(made, flow).run)
        tasks.start_soon(supervise, RemoveStaleKeys(made, flow), flow.status, made)
        links = Links(flow, source_reader, target_reader)
        await links.wait(lambda: links.status.state in (State.CATCHING_UP, State.STREAMING), "the stream")
        yield links
        tasks.cancel_scope.cancel()
