"""The source's buffer for the worker: its limits from the server, and how long it lasts."""

from __future__ import annotations

import pytest

from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent
from shaker.jobs.source_buffer import SourceBuffer
from shaker.model.server_info import ServerInfo, parse_info
from shaker.net.client import open_client
from shaker.watch.status import FlowStatus
from tests.support.servers import Server
from tests.support.settings import settings

pytestmark = pytest.mark.anyio

REPLID = "a" * 40
MIB = 1024 * 1024


def info(offset: int, backlog: int = MIB) -> ServerInfo:
    """The source's INFO."""
    text = f"master_replid:{REPLID}\r\nmaster_repl_offset:{offset}\r\nrepl_backlog_size:{backlog}\r\n"
    return parse_info(text.encode())


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def streaming(clock: Clock) -> Flow:
    """A flow whose worker takes nothing."""
    status = FlowStatus(clock=clock)
    flow = Flow(status, settings(), window_limit=MIB)
    status.source.connected = True
    status.stream.replid = REPLID
    flow.lifecycle.happen(FlowEvent.POSITION_FOUND)
    return flow


def write(buffer: SourceBuffer, clock: Clock, rate: int, *, seconds: int = 60) -> None:
    """Let the source write `rate` bytes a second."""
    for second in range(seconds):
        clock.now += 1
        buffer.observe(info(rate * (second + 1)), rate * (second + 1))


async def test_a_writing_source_overflows_in_time() -> None:
    """At a MiB a second: 256 MiB, or 64 MiB for 60 seconds, whichever comes first."""
    clock = Clock()
    flow = streaming(clock)
    buffer = SourceBuffer(flow)
    write(buffer, clock, MIB, seconds=30)
    pause = flow.status.traffic.pause
    assert pause.waiting_bytes == 30 * MIB
    assert pause.bytes_per_second == pytest.approx(MIB, rel=0.01)
    assert pause.overflows_in_seconds == pytest.approx(34 + 60, rel=0.02)
    assert pause.overflow_reason == "client-output-buffer-limit replica 268435456 67108864 60"
    write(buffer, clock, MIB, seconds=40)
    assert "MiB wait in the source" in flow.status.reasons["source_buffer"]


async def test_a_silent_source_does_not_overflow() -> None:
    clock = Clock()
    flow = streaming(clock)
    write(SourceBuffer(flow), clock, 0)
    assert flow.status.traffic.pause.overflows_in_seconds is None


async def test_a_diskless_snapshot_waits_for_the_replication_timeout() -> None:
    clock = Clock()
    flow = streaming(clock)
    flow.lifecycle.happen(FlowEvent.POSITION_LOST)
    write(SourceBuffer(flow), clock, 0)
    assert flow.status.traffic.pause.overflows_in_seconds == 60
    assert flow.status.traffic.pause.overflow_reason == "repl-timeout 60 during a diskless snapshot"


async def test_the_limits_are_the_servers_own(source: Server) -> None:
    client = source.client()
    client.config_set("client-output-buffer-limit", "replica 1mb 0 0")
    client.config_set("repl-timeout", 7)
    clock = Clock()
    flow = streaming(clock)
    buffer = SourceBuffer(flow)
    async with open_client(settings(source__url=source.url).source) as reader:
        await buffer.read_limits(reader)
    write(buffer, clock, 1000, seconds=10)
    pause = flow.status.traffic.pause
    assert pause.overflow_reason == f"client-output-buffer-limit replica {MIB} 0 0"
    assert pause.overflows_in_seconds == pytest.approx(1000, rel=0.2)
    flow.lifecycle.happen(FlowEvent.POSITION_LOST)
    write(buffer, clock, 0, seconds=1)
    assert pause.overflow_reason.startswith("repl-timeout 7 ")
