"""A proxy that stops a worker at one request, or at one byte of an answer, so that it can be killed there."""

from __future__ import annotations

import asyncio
import threading
from typing import Literal, NamedTuple

from tests.support.proxy import Proxy
from tests.support.servers import Server, wait_until

# Where the worker is stopped: before the server gets the request, or behind its execution, before the answer.
Moment = Literal["withheld", "answer withheld"]


class Mark(NamedTuple):
    """The `nth` request, from 1, that begins with these words, over all connections.

    With `since` requests count from the first one on that begins with that word.
    `effect` tells that the request has one by itself, so that it matters whether it was executed. With `answer` it
    is the answer that counts: so many bytes `behind` that text in what the server sends.
    """

    words: tuple[str, ...] = ()
    nth: int = 1
    effect: bool = False
    answer: bytes = b""
    behind: int = 0
    since: str = ""


class StoppingProxy(Proxy):
    """Forwards until `mark`, then nothing in either direction until `go_on` or `hang_up`. A context manager."""

    def __init__(self, server: Server, mark: Mark, moment: Moment) -> None:
        super().__init__(server)
        self._mark = mark
        self._moment = moment
        self._seen = 0
        self._counts = not mark.since
        self._begun: dict[asyncio.StreamWriter, bytes] = {}  # a request that is not whole yet
        self._after: int | None = None  # bytes of the answer still to be forwarded
        self._stopped = threading.Event()
        self._answered = threading.Event()
        self._free = asyncio.Event()
        self._ended = False

    @property
    def stopped(self) -> bool:
        """Whether the mark was reached, and for a withheld answer that the server has given it."""
        return self._stopped.is_set() and (
            self._moment == "withheld" or bool(self._mark.answer) or self._answered.is_set()
        )

    def go_on(self) -> None:
        """Let what was withheld arrive, late, and everything behind it."""
        self._call(self._free.set)

    def aim(self, mark: Mark, moment: Moment) -> None:
        """Let what was withheld arrive, and stop at another mark, counted from here on."""

        def change() -> None:
            free, self._free = self._free, asyncio.Event()
            self._mark, self._moment = mark, moment
            self._seen, self._counts, self._after = 0, not mark.since, None
            self._stopped.clear()
            self._answered.clear()
            free.set()

        self._call(change)

    def cut(self) -> None:
        """Close the connections that were stopped behind the last byte that was forwarded; new ones are made."""
        self._ended = True
        self.go_on()

    def hang_up(self) -> None:
        """Like `cut`, and wait until no connection is left."""
        self.cut()
        wait_until(lambda: self.open == 0, "the connections to be closed")

    async def _forward(self, data: bytes, writer: asyncio.StreamWriter, direction: str) -> None:
        if self._stopped.is_set() and not self._free.is_set():
            if direction == "down":
                self._answered.set()
            await self._wait()
        if self._free.is_set():
            rest = self._begun.pop(writer, b"") + data if direction == "up" else data
            await super()._forward(rest, writer, direction)
        elif direction == "up":
            await self._forward_requests(data, writer)
        else:
            await self._forward_answer(data, writer)

    async def _wait(self) -> None:
        await self._free.wait()
        if self._ended:
            raise ConnectionAbortedError

    async def _stop(self) -> None:
        self._stopped.set()
        await self._wait()

    async def _forward_requests(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        data = self._begun.pop(writer, b"") + data
        position = 0
        while (end := _request_end(data, position)) is not None:
            if self._matches(data[position:end]):
                cut = end if self._moment == "answer withheld" else position
                self._stopped.set()  # before the server can answer
                await super()._forward(data[:cut], writer, "up")
                await self._stop()
                await super()._forward(data[cut:], writer, "up")
                return
            position = end
        await super()._forward(data[:position], writer, "up")
        self._begun[writer] = data[position:]

    async def _forward_answer(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        mark = self._mark
        if mark.answer and self._after is None and (found := data.find(mark.answer)) >= 0:
            self._after = found + len(mark.answer) + mark.behind
        if self._after is not None:
            cut, self._after = self._after, self._after - len(data)
            if cut <= len(data):
                await super()._forward(data[:cut], writer, "down")
                data = data[cut:]
                await self._stop()
        await super()._forward(data, writer, "down")

    def _matches(self, request: bytes) -> bool:
        words = self._mark.words
        arguments = [word.decode("ascii", "replace") for word in request.split(b"\r\n")[2 : 2 * len(words) + 1 : 2]]
        self._counts = self._counts or arguments[:1] == [self._mark.since]
        if not words or not self._counts or arguments != list(words):
            return False
        self._seen += 1
        return self._seen == self._mark.nth


def _request_end(data: bytes, position: int) -> int | None:
    """Return where the request at `position` ends, None if it is not whole; a lone newline is one, too."""
    if data[position : position + 1] == b"\n":
        return position + 1
    end = data.find(b"\r\n", position)
    if end < 0:
        return None
    left = int(data[position + 1 : end])
    position = end + 2
    for _ in range(left):
        end = data.find(b"\r\n", position)
        if end < 0:
            return None
        position = end + 4 + int(data[position + 1 : end])
    return position if position <= len(data) else None
