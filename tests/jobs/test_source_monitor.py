"""The source's monitor: its offset and keys, warnings before it drops the link, the end of a migration."""

from __future__ import annotations

import anyio
import pytest

from shaker.flow.lifecycle import WorkState
from shaker.jobs.source_monitor import SourceMonitor
from shaker.settings.schema import Settings
from tests.support.links import Links, replicating
from tests.support.servers import Server
from tests.support.settings import settings

pytestmark = pytest.mark.anyio


def monitor_of(links: Links, source: Server, **given: str) -> SourceMonitor:
    """Return the monitor of a running replication."""
    made: Settings = settings(source__url=source.url, **given)
    return SourceMonitor(made, links.flow)


async def test_what_waits_in_the_source_counts_as_lag(source: Server, target: Server) -> None:
    """Its offset, its keys and its clock are known within a poll."""
    async with replicating(source, target) as links, anyio.create_task_group() as tasks:
        tasks.start_soon(monitor_of(links, source).run)
        source.client().mset({f"k{number}": 1 for number in range(20)})
        offset = source.offset()
        await links.wait(lambda: links.status.stream.source_offset >= offset, "the source's offset")
        await links.wait(lambda: links.status.keys.present.get("source") == 20, "the number of keys")
        assert "monitor" in links.status.heartbeats
        tasks.cancel_scope.cancel()


async def test_a_timeout_within_the_ping_period_is_warned_of(
    source: Server, target: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """An idle source sends nothing else than pings."""
    source.client().config_set("repl-ping-replica-period", 30)
    async with replicating(source, target) as links, anyio.create_task_group() as tasks:
        monitor = monitor_of(links, source, source__timeout_seconds="20")
        tasks.start_soon(monitor.run)
        await links.wait(lambda: links.status.keys.present.get("source") is not None, "the first poll")
        tasks.cancel_scope.cancel()

    assert "source timeout too short" in capsys.readouterr().out


async def test_a_migration_ends_where_the_source_was_first_asked(source: Server, target: Server) -> None:
    """Later writes of the source belong to the next run."""
    async with replicating(source, target) as links, anyio.create_task_group() as tasks:
        source.client().set("k", 1)
        tasks.start_soon(monitor_of(links, source, mode="migrate").run)
        await links.wait(lambda: links.flow.lifecycle.work is WorkState.COMPLETE, "the end of the work")
        tasks.cancel_scope.cancel()

    assert target.client().get("k") == b"1"
