"""A worker's links and its cutover job in the test's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from shaker.jobs.cutover import Cutover
from shaker.jobs.verify import Verify
from shaker.run.supervise import supervise
from shaker.settings.schema import Settings
from shaker.watch.cutover import CutoverState
from shaker.watch.status import State, Status
from shaker.writers.turn import write_turned
from tests.support.links import Links, replicating
from tests.support.servers import Server


class CuttingOver:
    """The links, the job, and the verification that it uses."""

    def __init__(self, links: Links, settings: Settings, verify: Verify, cutover: Cutover) -> None:
        self.links = links
        self.settings = settings
        self.flow = links.flow
        self.verify = verify
        self.cutover = cutover

    @property
    def state(self) -> CutoverState:
        """The state of the cutover."""
        return self.cutover.state

    async def ended(self) -> dict[str, object]:
        """Wait for the report of the cutover."""
        await self.links.wait(lambda: self.cutover.state.report, "the report", 60)
        report: dict[str, object] = self.cutover.state.report or {}
        return report


@asynccontextmanager
async def cutting_over(source: Server, target: Server, tmp_path: Path) -> AsyncIterator[CuttingOver]:
    """Replicate within the block, ready for a cutover."""
    token = tmp_path / "token"
    token.write_text("token")
    settings = Settings(
        source={"url": source.url},  # type: ignore[arg-type]
        target={"url": target.url},  # type: ignore[arg-type]
        control={"token_file": token},  # type: ignore[arg-type]
        verify={"continuous": False},  # type: ignore[arg-type]
    )
    async with replicating(source, target) as links, anyio.create_task_group() as tasks:
        status = links.status
        assert isinstance(status, Status)
        verify = Verify(settings, links.flow, links.barriers, status.verification)
        cutover = Cutover(settings, links.flow, verify, status.cutover, write_turned=write_turned)
        for job in (verify, cutover):
            tasks.start_soon(supervise, job, status, settings)
        tasks.start_soon(_observe, links, source)
        await links.wait(lambda: status.state is State.STREAMING, "the stream")
        await links.wait(cutover.undone.is_set, "the job")
        yield CuttingOver(links, settings, verify, cutover)
        tasks.cancel_scope.cancel()


async def _observe(links: Links, source: Server) -> None:
    """Ask the source for its offset, as the monitor does."""
    while True:
        asked = links.status.clock()
        offset = max(source.offset(), links.status.stream.received_offset)
        links.status.observe_source_offset(offset, asked)
        links.flow.refresh_state()
        await anyio.sleep(0.02)
