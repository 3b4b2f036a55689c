"""The barrier: source and target seen at exactly the same point of a live stream.

On the source, one transaction reads keys and the replication offset at which they are true. The stream stops there:
the target waits once everything up to that offset, and nothing after it, has taken effect. Requests made at the
barrier are applied at that very point, in a transaction of the one writing connection. INFO inside MULTI gives an
offset between two commands and outside of transactions, as tried on Redis 6.2 to 8.0 and Valkey 8.0 to 9.1. Older
servers write the reading transaction itself into their stream, and 6.2 one with the deletions of keys that it expires.
There the offset lies right before the EXEC, and the target waits after that.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio

from shaker.codec.resp.raw_replies import items_of_transaction, measure
from shaker.errors import LinkError
from shaker.flow.flow import Flow
from shaker.model.batch import CommandRun
from shaker.model.items import Barrier
from shaker.model.refusals import refusal
from shaker.model.server_info import ServerInfo, parse_info
from shaker.net.client import Asked, Client, RawReplies, Request, check_same_server, count
from shaker.net.connection import ReplyError
from shaker.net.reply_types import blob, milliseconds

# Limits for the source's answer and for the stream to reach the offset, each plus some round trips: the stream waits
# meanwhile.
READ_SECONDS: Final = 1.0
REACH_SECONDS: Final = 5.0
ROUND_TRIPS: Final = 6.0
DOING: Final = "making a barrier"


class BarrierError(LinkError):
    """A barrier failed: the stream continues, and its requests have taken effect completely or not at all."""

    kind = "barrier"


class Held:
    """Source and target at one offset. `raw` are the source's replies to the requests made there.

    `beside` are the target's, with its clock, where it was asked the same; `since` is when the stream was held.
    `replica`: the source is itself a replica, which hides an expired key before its primary deletes it.
    `source_ms` is the source's clock at that point, Unix time in milliseconds.
    """

    def __init__(self, raw: RawReplies, info: ServerInfo, source_ms: int) -> None:
        self.raw = raw
        self.beside: tuple[RawReplies, int] | None = None
        self.since = time.perf_counter()
        self.replica = info.replication.is_replica
        self.source_ms = source_ms
        self.parts: tuple[CommandRun, ...] = ()

    @property
    def replies(self) -> list[Any]:
        """The values of the source's replies."""
        return self.raw.values

    def apply(self, *parts: CommandRun) -> None:
        """Have `parts` applied at this point; the stream continues after them."""
        self.parts = tuple(part for part in parts if part.commands)


class Barriers:
    """Makes barriers, one at a time. The limits are in seconds, each without the round trips."""

    def __init__(
        self, flow: Flow, *, read_seconds: float = READ_SECONDS, reach_seconds: float = REACH_SECONDS
    ) -> None:
        self._flow = flow
        self._read_seconds = read_seconds
        self._reach_seconds = reach_seconds
        self._lock = anyio.Lock()

    @asynccontextmanager
    async def at(
        self, source: Client, requests: Sequence[Asked], *, beside: Client | None = None
    ) -> AsyncIterator[Held]:
        """Read `requests` on the source, and hold the target at their offset for the duration of the block.

        With `beside`, a client of the target, the same is read there.
        Requests given to `Held.apply` have taken effect when this returns. Raises BarrierError when the source does
        not answer or the stream does not reach the offset in time, OtherServerError when another server answers,
        AccessError when the source forbids the reads, LinkError when a link is lost meanwhile.
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
                raw, info, source_ms = await self._read(source, requests)
                hold = self._cut(info, reached.set, end)
            finally:
                flow.intake.resume()
            parts: tuple[CommandRun, ...] = ()
            try:
                limit = self._limit(self._reach_seconds)
                with anyio.move_on_after(limit):
                    await reached.wait()
                if not reached.is_set():
                    raise BarrierError(f"the target did not reach offset {hold.offset} within {limit:g} s")
                if outcome:
                    raise BarrierError(f"the stream could not be held at offset {hold.offset}")
                held = Held(raw, info, source_ms)
                if beside is not None:
                    held.beside = await beside.timed(requests, DOING)
                yield held
                parts = held.parts
            finally:
                # The stream continues in any case; without writes if the block failed.
                hold.go_on(parts)
                flow.wakeups.work.set()
            with anyio.move_on_after(self._limit(self._reach_seconds)):
                await ended.wait()
            if outcome != [True]:
                raise BarrierError(f"the requests at offset {hold.offset} may not have taken effect")

    def _limit(self, seconds: float) -> float:
        return seconds + ROUND_TRIPS * sum(self._flow.status.clocks.round_trips.values())

    async def _read(self, source: Client, requests: Sequence[Asked]) -> tuple[RawReplies, ServerInfo, int]:
        own: list[Request] = [("TIME",), ("INFO", "server"), ("INFO", "replication")]
        asked = count(requests)
        limit = self._limit(self._read_seconds)
        try:
            with anyio.fail_after(limit):
                data = await source.raw([("MULTI",), *requests, *own, ("EXEC",)])
        except TimeoutError as error:
            raise BarrierError(f"the source did not answer within {limit:g} s") from error
        begin = items_of_transaction(data, asked + len(own))
        if begin < 0:
            raise _refused(source.connection.values(data, 0, asked + len(own) + 2))
        end = measure(data, begin, asked).end
        clock, *infos = source.connection.values(data, end, len(own))
        raw = RawReplies(source, data[begin:end], asked)
        return raw, parse_info(b"\r\n".join(map(blob, infos))), milliseconds(clock)

    def _cut(self, info: ServerInfo, reached: Any, ended: Any) -> Barrier:
        """Stop the stream at the offset of `info`, if that is of the history being streamed."""
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


def _refused(replies: list[Any]) -> LinkError:
    """Return the error for a transaction of which the source has refused something."""
    # The first one gives the reason; EXEC only reports that there was one.
    refused = next((reply for reply in replies if isinstance(reply, ReplyError)), None)
    if refused is None:
        return BarrierError("the source does not answer the barrier's transaction as a Redis does")
    text = str(refused)
    if "NOPERM" in text:  # a forbidden EXEC is an EXECABORT that quotes it
        return refusal("source", text[text.index("NOPERM") :], DOING)
    return BarrierError(f"the source refuses the barrier's transaction: {text}")
