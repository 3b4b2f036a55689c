"""Connections that only read: whatever is written to a target goes through its one registered connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from shaker.errors import LinkError
from shaker.model.refusals import refusal
from shaker.net.connection import Connection, ReplyError, connect
from shaker.net.reconnect import credentials
from shaker.net.sentinel import resolve
from shaker.net.tls import tls_context
from shaker.settings.endpoints import Endpoint

# A reader's answer comes within this time or its connection is given up.
TIMEOUT_SECONDS: Final = 5.0
READING: Final = frozenset(
    {
        *(
            "DBSIZE",
            "DUMP",
            "EXEC",
            "EXISTS",
            "GET",
            "HGETALL",
            "HLEN",
            "INFO",
            "LLEN",
            "LRANGE",
            "MEMORY",
            "MULTI",
        ),
        *("PEXPIRETIME", "PTTL", "SCAN", "SCARD", "SELECT", "SISMEMBER", "SMEMBERS", "SRANDMEMBER", "SSCAN"),
        *("STRLEN", "TIME", "TYPE", "XLEN", "ZCARD", "ZRANGE"),
    }
)
LISTING_CLIENTS: Final = ("CLIENT", "LIST")

Request = tuple[bytes | str | int, ...]


class Client:
    """Requests that change nothing; any other command is a ValueError."""

    def __init__(self, connection: Connection, side: str) -> None:
        self._connection = connection
        self._side = side
        self._unanswered = False

    async def call(self, *arguments: bytes | str | int) -> Any:
        """Send one request and return its reply; raises ReplyError for an error reply, LinkError."""
        replies = await self.pipeline([arguments])
        if isinstance(replies[0], ReplyError):
            raise replies[0]
        return replies[0]

    async def results(self, requests: Sequence[Request], doing: str) -> list[Any]:
        """Send requests at once and return their replies; raises what an error reply means while `doing` that."""
        replies = await self.pipeline(requests)
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise refusal(self._side, str(reply), doing) from reply
        return replies

    async def pipeline(self, requests: Sequence[Request]) -> list[Any]:
        """Send requests at once and return their replies; an error reply is a ReplyError in its place.

        Raises LinkError, also where an earlier call was given up: its replies would be taken for those of this one.
        """
        for request in requests:
            if request[0] not in READING and request[:2] != LISTING_CLIENTS:
                raise ValueError(f"{request[0]!r} is not a command that only reads")
        if self._unanswered:
            raise LinkError(f"the {self._side} has not answered an earlier request on this connection")
        self._unanswered = True
        replies = await self._connection.pipeline(list(requests))
        self._unanswered = False
        return replies


@asynccontextmanager
async def open_client(endpoint: Endpoint) -> AsyncIterator[Client]:
    """Open a reading connection to `endpoint`; raises LinkError."""
    async with connect(
        await resolve(endpoint),
        side=endpoint.side,
        tls=tls_context(endpoint),
        connect_timeout=endpoint.connect_timeout_seconds,
        timeout=TIMEOUT_SECONDS,
    ) as connection:
        await connection.authenticate(*credentials(endpoint))
        yield Client(connection, endpoint.side)
