"""The barrier: source and target seen at exactly the same point of the stream, while it goes on.

On the source, one transaction reads keys and the replication offset that they are true at. The stream is cut there:
the target is held when everything up to that offset has taken effect and nothing behind it. What is decided then is
applied at that very point, in a transaction of the one writing connection. INFO inside MULTI gives the offset of a
command's boundary, outside of transactions: tried on Redis 6.2 to 8.0 and Valkey 8.0 to 9.1. Older servers put the
reading transaction itself into their stream, and 6.2 one with the deletions of keys that the reading expires: there the
offset lies right before its EXEC, and the target is held behind that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio

from shaker.errors import LinkError
from shaker.flow.flow import Flow
from shaker.model.batch import CommandRun
from shaker.model.items import Barrier
from shaker.model.refusals import refusal
from shaker.model.server_info import ServerInfo, parse_info
from shaker.net.client import Client, Request, check_same_server
from shaker.net.connection import ReplyError
from shaker.net.reply_types import array, blob, number

# The source has to answer, and the stream to come to the offset, within these times and so many round trips; the
# stream is held meanwhile.
READ_SECONDS: Final = 1.0
REACH_SECONDS: Final = 5.0
ROUND_TRIPS: Final = 6.0


class BarrierError(LinkError):
    """A barrier was given up: the stream goes on, nothing or all of what was to be applied took effect."""

    kind = "barrier"


class Held:
    """Source and target at one offset. `replies` are those of the requests made of the source there.

    `replica`: the source is itself a replica, where a key that has expired reads as gone before it is deleted.
    `source_ms` is the source's clock at that point, Unix time in milliseconds.
    """

    def __init__(self, replies: list[Any], info: ServerInfo, source_ms: int) -> None:
        self.replies = replies
        self.replica = info.replication.is_replica
        self.source_ms = source_ms
        self.parts: tuple[CommandRun, ...] = ()

    def apply(self, *parts: CommandRun) -> None:
        """Have `parts` applied at this point; the stream goes on behind them."""
        self.parts = tuple(part for part in parts if part.commands)


class Barriers:
    """Makes barriers, one at a time."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._lock = anyio.Lock()

    @asynccontextmanager
    async def at(self, source: Client, requests: Sequence[Request]) -> AsyncIterator[Held]:
        """Read `requests` on the source and hold the target at the offset they are true at, for the block's time.

        What the block gives to `Held.apply` has taken effect when this returns. Raises BarrierError when the source
        does not answer, is not the one that streams, or the stream does not come to the offset in time; AccessError
        when it forbids the reading, LinkError when a link is lost meanwhile.
        """
        flow = self._flow
        async with self._lock:
            reached, ended = anyio.Event(), anyio.Event()
            outcome: list[bool] = []

            def end(done: bool) -> None:
                outcome.append(done)
                reached.set()
                ended.set()

            flow.intake.pause()
            try:
                replies, info, source_ms = await self._read(source, requests)
                hold = self._cut(info, reached.set, end)
            finally:
                flow.intake.resume()
            parts: tuple[CommandRun, ...] = ()
            try:
                limit = self._limit(REACH_SECONDS)
                with anyio.move_on_after(limit):
                    await reached.wait()
                if not reached.is_set():
                    raise BarrierError(f"the target did not come to offset {hold.offset} within {limit:g} s")
                if outcome:
                    raise BarrierError(f"the stream could not be held at offset {hold.offset}")
                held = Held(replies, info, source_ms)
                yield held
                parts = held.parts
            finally:
                # Whatever happened in the block: the stream goes on, and without writes if it did not end well.
                hold.go_on(parts)
                flow.wakeups.work.set()
            with anyio.move_on_after(self._limit(REACH_SECONDS)):
                await ended.wait()
            if outcome != [True]:
                raise BarrierError(f"what was to be applied at offset {hold.offset} may not have been")

    def _limit(self, seconds: float) -> float:
        return seconds + ROUND_TRIPS * sum(self._flow.status.round_trips.values())

    async def _read(self, source: Client, requests: Sequence[Request]) -> tuple[list[Any], ServerInfo, int]:
        own: list[Request] = [("TIME",), ("INFO", "server"), ("INFO", "replication")]
        limit = self._limit(READ_SECONDS)
        try:
            with anyio.fail_after(limit):
                replies = await source.pipeline([("MULTI",), *requests, *own, ("EXEC",)])
        except TimeoutError as error:
            raise BarrierError(f"the source did not answer within {limit:g} s") from error
        # The first one tells why; EXEC only that there was one.
        refused = next((reply for reply in replies if isinstance(reply, ReplyError)), None)
        if refused is not None:
            text = str(refused)
            if "NOPERM" in text:  # a forbidden EXEC is an EXECABORT that quotes it
                raise refusal("source", text[text.index("NOPERM") :], "making a barrier") from refused
            raise BarrierError(f"the source refuses the barrier's transaction: {text}")
        results = replies[-1]
        array(results, len(requests) + len(own))
        seconds, microseconds = map(number, array(results[-3], 2))
        info = parse_info(blob(results[-2]) + b"\r\n" + blob(results[-1]))
        return results[: -len(own)], info, seconds * 1000 + microseconds // 1000

    def _cut(self, info: ServerInfo, reached: Any, ended: Any) -> Barrier:
        """Have the stream held at the offset that `info` tells, if it is of the very history that is streamed."""
        flow = self._flow
        source, resume = flow.source.identity, flow.resume
        offset = info.replication.offset
        if source is not None:
            check_same_server(info, source.run_id, "source")
        if source is None or resume is None or info.replication.replid != resume.replid or offset is None:
            raise BarrierError("there is no stream of the source's present history")
        hold = Barrier(resume.replid, offset, reached, ended)
        if not flow.barrier(hold):
            raise BarrierError("no stream is being received from the source")
        return hold
