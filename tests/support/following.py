"""A whole worker in one process that follows its source, and whose lag the test decides."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from shaker.jobs.barrier import Barriers
from shaker.jobs.restore_expiries import RestoreExpiries
from shaker.run.supervise import supervise
from shaker.settings.schema import Settings
from tests.support.links import Links, replicating
from tests.support.servers import Server, wait_until

EXPIRING, COPYING, DOUBTFUL = "shaker:expiring:default", "shaker:copying:default", "shaker:doubtful:default"
FAR = 4_102_444_800_000  # the year 2100, in milliseconds


class Following:
    """Links whose lag the test decides about, and the true expiries at work."""

    def __init__(self, links: Links, source: Server) -> None:
        self.links = links
        self.status = links.status
        self.flow = links.flow
        self.expiries = links.flow.expiries
        self._source = source
        self.observing = False

    async def observe(self) -> None:
        """Ask the source for its offset, as the monitor does."""
        while True:
            if self.observing:
                asked = self.status.clock()
                offset = self._source.client().info("replication")["master_repl_offset"]
                self.status.observe_source_offset(max(offset, self.status.stream.received_offset), asked)
            self.flow.refresh_state()
            await anyio.sleep(0.02)

    def fall_behind(self) -> None:
        """Have far to go from now on."""
        self.observing = False
        self.flow.source.caught_up_at = 1 << 62
        assert self.flow.expiry.behind

    def catch_up(self) -> None:
        """Be close behind the source from now on."""
        self.flow.source.caught_up_at = 0
        self.observing = True

    async def write(self, *commands: str, database: int = 0) -> None:
        """Have the source execute commands and wait until the target has."""
        pipeline = self._source.client(db=database).pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command.split())
        pipeline.execute()
        await self.links.wait_applied(self._source)

    async def settle(self, seconds: float = 20.0) -> None:
        """Catch up, and wait until no key waits any longer."""
        self.catch_up()
        await self.links.wait(lambda: not self.expiries.waiting, "the true expiries", seconds)


@asynccontextmanager
async def following(
    source: Server,
    target: Server,
    barriers: Callable[..., Barriers] = Barriers,
    *,
    source_url: str | None = None,
    target_url: str | None = None,
    limits: dict[str, int] | None = None,
    **options: Any,
) -> AsyncIterator[Following]:
    """Replicate, behind at first, with the true expiries at work; without a margin unless `expiry` has one."""
    options["expiry"] = {"margin_seconds": 0, **options.get("expiry", {})}
    settings = Settings(
        source={"url": source_url or source.url},  # type: ignore[arg-type]
        target={"url": target_url or target.url},  # type: ignore[arg-type]
    )
    if target_url is not None:
        options["target_settings"] = {"url": target_url}
    async with replicating(source, target, url=source_url, **options) as links, anyio.create_task_group() as tasks:
        made = Following(links, source)
        made.fall_behind()
        tasks.start_soon(made.observe)
        job = RestoreExpiries(
            settings, links.flow, barriers(links.flow), poll_seconds=0.01, pause_seconds=0.05, **(limits or {})
        )
        tasks.start_soon(supervise, job, links.status, settings)
        yield made
        tasks.cancel_scope.cancel()


def expire_one(target: Server) -> None:
    """Have the target expire a key by itself."""
    target.client().set("passing", 1, px=1)
    wait_until(lambda: target.client().exists("passing") == 0, "the expiry")


def listed(server: Server, key: str = EXPIRING, database: int = 0) -> set[str]:
    """The keys in one of the two sets of a database."""
    return {one.decode() for one in server.client(db=database).smembers(key)}


def expires(server: Server, key: str, database: int = 0) -> int:
    """When a key expires in Unix milliseconds; up to the time that asking takes on Redis 6.2."""
    client = server.client(db=database)
    if server.name != "redis-6.2":
        found: int = client.execute_command("PEXPIRETIME", key)
        return found
    left: int = client.pttl(key)
    return left if left < 0 else time.time_ns() // 1_000_000 + left
