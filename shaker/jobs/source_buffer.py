"""The source's output buffer for the worker: warns before it overflows and the source drops the connection."""

from __future__ import annotations

from typing import Final

import structlog

from shaker.checks.buffer_limits import DEFAULT_LIMITS, parse_limits
from shaker.flow.flow import Flow
from shaker.model.server_info import ServerInfo
from shaker.net.client import Client
from shaker.net.connection import ReplyError
from shaker.net.reply_types import array, blob

log = structlog.get_logger("shaker.source")

# The share of the output buffer limit for replicas that causes a warning.
BUFFER_SHARE: Final = 0.5
# The source's write rate moves by this part of the difference at each look.
SMOOTHING: Final = 0.2
DEFAULT_TIMEOUT: Final = 60  # repl-timeout of Redis and Valkey, in seconds


class SourceBuffer:
    """The limits of the source, and how long its buffer lasts at the rate at which it writes."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._status = flow.status
        self._limits = DEFAULT_LIMITS
        self._repl_timeout = DEFAULT_TIMEOUT
        self._diskless = True
        self._seen: tuple[float, int] | None = None

    async def read_limits(self, source: Client) -> None:
        """Read the source's limits; without the right to, assume the servers' defaults."""
        self._limits = parse_limits(await _config(source, "client-output-buffer-limit")) or DEFAULT_LIMITS
        timeout = await _config(source, "repl-timeout")
        self._repl_timeout = int(timeout) if timeout.isdigit() else DEFAULT_TIMEOUT
        self._diskless = await _config(source, "repl-diskless-sync") != "no"

    def observe(self, info: ServerInfo, offset: int) -> None:
        """Take the source's INFO, in which it was at `offset`."""
        status = self._status
        self._rate(offset)
        if not status.source.connected or info.replication.replid != status.stream.replid:
            return
        waiting = offset - status.stream.received_offset - status.traffic.spool_bytes
        self._foresee(info, waiting)
        hard, soft, seconds = self._limits
        limit = min(bound for bound in (hard, soft, 1 << 62) if bound)
        if waiting <= limit * BUFFER_SHARE:
            status.reasons.pop("source_buffer", None)
            return
        reported = "source_buffer" in status.reasons
        status.reasons["source_buffer"] = (
            f"about {waiting >> 20} MiB wait in the source for this worker; above its client-output-buffer-limit "
            f"replica {hard} {soft} {seconds} (hard, soft, seconds) it drops the connection"
        )
        if not reported:
            log.warning(
                "source buffer grows",
                waiting_bytes=waiting,
                hard_limit_bytes=hard,
                soft_limit_bytes=soft,
                soft_seconds=seconds,
                hint="raise client-output-buffer-limit replica and repl-backlog-size there, or set spool.dir",
            )

    def _rate(self, offset: int) -> None:
        now, pause = self._status.clock(), self._status.traffic.pause
        if self._seen is not None and now > self._seen[0] and offset >= self._seen[1]:
            rate = (offset - self._seen[1]) / (now - self._seen[0])
            pause.bytes_per_second += (rate - pause.bytes_per_second) * SMOOTHING
        self._seen = (now, offset)

    def _foresee(self, info: ServerInfo, waiting: int) -> None:
        """Work out when the source drops a worker that takes nothing."""
        pause = self._status.traffic.pause
        pause.waiting_bytes = max(0, waiting)
        backlog = info.replication.backlog_size or 0
        left = self._limits.overflows(pause.waiting_bytes, pause.bytes_per_second, backlog)
        pause.overflow_reason = "client-output-buffer-limit replica {} {} {}".format(*self._limits)
        if self._flow.loading and self._diskless and (left is None or left > self._repl_timeout):
            left = float(self._repl_timeout)
            pause.overflow_reason = f"repl-timeout {self._repl_timeout} during a diskless snapshot"
        pause.overflows_in_seconds = left


async def _config(source: Client, name: str) -> str:
    """Return a setting of the source, empty where the user may not read it."""
    try:
        reply = array(await source.call("CONFIG", "GET", name))
    except ReplyError:
        reply = []
    if len(reply) < 2:
        log.debug("setting unknown", name=name)
        return ""
    return blob(reply[1]).decode("ascii", "replace")
