"""Asks the source twice a second for its offset, so that bytes waiting inside the source count as lag."""

from __future__ import annotations

from typing import Final

import structlog

from shaker.checks.buffer_limits import longest_pause
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent
from shaker.jobs.source_buffer import SourceBuffer
from shaker.model.position import Phase
from shaker.model.server_info import ServerInfo
from shaker.net.client import Client, open_client
from shaker.net.connection import ReplyError
from shaker.net.poll_interval import PollInterval
from shaker.net.reply_types import array, blob
from shaker.net.server_clock import ServerClock
from shaker.settings.schema import Settings

log = structlog.get_logger("shaker.source")

POLL_SECONDS: Final = 0.5
HEARTBEAT_SECONDS: Final = 60.0


class SourceMonitor:
    """Polls INFO on a connection of its own. The source link reports failures.

    `settles`: a migration ends once it has applied the offset at which the source is.
    """

    name = "monitor"
    quiet = True
    pause_seconds = 0.0

    def __init__(self, settings: Settings, flow: Flow) -> None:
        self._settings = settings
        self._flow = flow
        self._status = flow.status
        self._settle_at: tuple[str, int] | None = None  # history and offset
        self.poll = PollInterval()
        self._buffer = SourceBuffer(flow)
        self.settles = not settings.migrate.hold

    async def run(self) -> None:
        """Poll until cancelled."""
        await self._flow.source.identified.wait()
        async with open_client(self._settings.source) as source:
            await self._buffer.read_limits(source)
            await self._check_ping_period(source)
            clock = ServerClock(source, self._status.clock)
            while True:
                asked = self._status.clock()
                info = await source.info()
                self._status.clocks.observe_round_trip("source", self._status.clock() - asked)
                self._status.heartbeat(self.name, within=HEARTBEAT_SECONDS)
                self._observe(info, asked)
                await self._read_clock(clock, info)
                await self.poll.pause(POLL_SECONDS)

    def _observe(self, info: ServerInfo, asked: float) -> None:
        status, flow = self._status, self._flow
        offset, failover = info.replication.offset, info.replication.failover_state
        source = flow.source.identity
        # After a failover, or through a balancer, this may be another server than the one that streams.
        if source is None or info.run_id != source.run_id or offset is None:
            return
        status.observe_source_keys(info.keys)
        self._buffer.observe(info, offset)
        if failover in ("", "no-failover"):
            status.reasons.pop("failover", None)
        else:
            status.reasons["failover"] = (
                f"the source is in a failover ({failover}); if it waits for this worker, end it by FAILOVER ABORT"
            )
        if status.stream.replid != info.replication.replid:
            return
        # During a snapshot, too: the stream begins behind by the bytes written meanwhile.
        status.observe_source_offset(max(offset, status.stream.received_offset), asked)
        if flow.phase != Phase.STREAM or flow.loading:
            self._settle_at = None  # offsets of an earlier history say nothing about this one
        elif self._settings.mode == "migrate" and self.settles:
            self._settle(offset)

    async def _check_ping_period(self, source: Client) -> None:
        """Warn of a timeout within the ping period: an idle source sends nothing else."""
        timeout = self._settings.source.timeout_seconds
        try:
            reply = array(await source.call("CONFIG", "GET", "repl-ping-replica-period"))
            period = int(blob(reply[1]))
        except (ReplyError, IndexError, ValueError):
            log.debug("ping period unknown")
            return
        needed = longest_pause(timeout, period)
        if needed is not None:
            log.warning(
                "source timeout too short",
                timeout_seconds=timeout,
                ping_seconds=period,
                hint="an idle source counts as lost again and again: raise source.timeout_seconds "
                f"(SHAKER_SOURCE__TIMEOUT_SECONDS) above {period}, better to {needed}, or lower "
                "repl-ping-replica-period there",
            )

    async def _read_clock(self, clock: ServerClock, info: ServerInfo) -> None:
        source = self._flow.source.identity
        if source is not None and info.run_id == source.run_id:
            self._status.clocks.offsets["source"] = await clock.offset()

    def _settle(self, offset: int) -> None:
        """Finish once the stream has applied the offset that the source had when it was first asked."""
        replid = self._status.stream.replid
        if self._settle_at is None or self._settle_at[0] != replid:
            self._settle_at = (replid, offset)
            log.info("settling", offset=offset)
        flow = self._flow
        # The copy is incomplete while it holds keys that the source does not have, or deferred expiries.
        if self._status.stream.applied_offset >= self._settle_at[1] and not flow.sweep:
            flow.happen(FlowEvent.END_REACHED)
            if flow.settled:
                flow.happen(FlowEvent.WORK_COMPLETE)
