"""The offset of a server's clock from the worker's monotonic one, by which two servers' clocks are compared."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from shaker.errors import LinkError
from shaker.net.connection import ReplyError
from shaker.net.reply_types import array, number

# A slower answer is too imprecise: the server read its clock anywhere in between.
MAX_ROUND_TRIP_SECONDS: Final = 3.0
ANSWERS: Final = 8
EARLIEST: Final = 1_000_000_000  # the year 2001: no server with TIME is older


class Caller(Protocol):
    """A connection that sends one request."""

    async def call(self, *arguments: bytes | str | int) -> Any:
        """Send it and return its reply."""


class ServerClock:
    """The clock at the other end of a connection. `own` is the worker's, in seconds.

    The quickest of the last answers counts: on a busy machine, a delay would pass for a difference of clocks.
    """

    def __init__(self, server: Caller, own: Callable[[], float]) -> None:
        self._server = server
        self._own = own
        self._refused = False
        self._answers: deque[tuple[float, float]] = deque(maxlen=ANSWERS)  # round trip and offset, in seconds

    async def offset(self) -> float | None:
        """Return the server's Unix time minus the worker's clock, in seconds, within half a round trip.

        None where the user has no right to TIME, which is then not asked again, or the answer took too long.
        Raises LinkError.
        """
        if self._refused:
            return None
        before = self._own()
        try:
            seconds, microseconds = map(number, array(await self._server.call("TIME"), 2))
        except ReplyError:
            self._refused = True  # a second try would only fill the server's ACL LOG
            return None
        if seconds < EARLIEST or not 0 <= microseconds < 1_000_000:
            raise LinkError("a reply to TIME is not the present time", kind="protocol")
        after = self._own()
        if after - before > MAX_ROUND_TRIP_SECONDS:
            return None
        self._answers.append((after - before, seconds + microseconds / 1e6 - (before + after) / 2))
        return min(self._answers)[1]
