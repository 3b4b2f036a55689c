"""The client for control connections: monitors, barriers, jobs and checks ask through it, and it never writes.

Writes to a target go through its one registered connection. The client uses our own connection and parser
instead of redis-py: docs/architecture.md has the measurements.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any, ClassVar, Final, NamedTuple

from shaker.codec.resp.raw_replies import Measure, measure
from shaker.codec.resp.replies import encode, encode_each
from shaker.errors import LinkError
from shaker.model.refusals import refusal
from shaker.model.server_info import ServerInfo, parse_info
from shaker.net.connection import Connection, ReplyError, connect
from shaker.net.credentials import credentials
from shaker.net.reply_types import blob, milliseconds
from shaker.net.sentinel import resolve
from shaker.net.tls import tls_context
from shaker.settings.endpoints import Endpoint

# A server that does not answer within this time loses its connection: lag must not hang on one lost packet.
TIMEOUT_SECONDS: Final = 5.0
READ_COMMANDS: Final = frozenset(
    {
        *("COMMAND", "DBSIZE", "DUMP", "ECHO", "EXEC", "EXISTS", "GET", "GETRANGE", "HGETALL", "HLEN", "HMGET"),
        *("HPEXPIRETIME", "HSCAN", "INFO", "LLEN", "LRANGE", "MEMORY", "MULTI", "PEXPIRETIME", "PING", "PTTL"),
        *("SCAN", "SCARD", "SELECT", "SISMEMBER", "SMEMBERS", "SMISMEMBER", "SRANDMEMBER", "SSCAN"),
        *("STRLEN", "TIME", "TYPE", "XINFO", "XLEN", "XPENDING", "XRANGE", "ZCARD", "ZRANGE"),
    }
)
READ_SUBCOMMANDS: Final = frozenset(
    {
        ("ACL", "DRYRUN"),
        ("ACL", "GETUSER"),
        ("ACL", "WHOAMI"),
        ("CLIENT", "LIST"),
        ("CONFIG", "GET"),
        ("FUNCTION", "LIST"),
    }
)
FENCE_SUBCOMMANDS: Final = frozenset(
    {("ACL", "SETUSER"), ("CLIENT", "PAUSE"), ("CLIENT", "UNPAUSE"), ("CONFIG", "SET")}
)

Request = tuple[bytes | str | int, ...]


class Each(NamedTuple):
    """Each of `commands` for each of many keys, encoded once: as one tuple for each request it takes five times."""

    commands: tuple[Request, ...]
    encoded: bytes
    requests: int


Asked = Request | Each


def each(commands: Sequence[Request], keys: Sequence[bytes]) -> Each:
    """Return requests of `commands`, each with a key as its last argument, key by key."""
    return Each(tuple(commands), encode_each(commands, keys), len(commands) * len(keys))


def listed(command: str, keys: bytes, number: int) -> Each:
    """Return one request: `command` with `number` keys as a reply to SCAN has them."""
    return Each(((command,),), b"*%d\r\n" % (number + 1) + encode(command)[4:] + keys, 1)


def count(requests: Sequence[Asked]) -> int:
    """Return the number of requests."""
    return sum(request.requests if isinstance(request, Each) else 1 for request in requests)


def checked(side: str, replies: list[Any], doing: str) -> list[Any]:
    """Return `replies`; raises what the first error reply among them means while `doing` that."""
    if ReplyError in map(type, replies):
        reply = next(each for each in replies if isinstance(each, ReplyError))
        raise refusal(side, str(reply), doing) from reply
    return replies


class OtherServerError(LinkError):
    """The address leads to another server than the one that the flow reads or writes."""


class Client:
    """Requests that change nothing; any other command is a ValueError.

    Replies are bytes, int, None or lists of them; `shaker.net.reply_types` checks them where they are used.
    """

    subcommands: ClassVar[frozenset[tuple[str, str]]] = READ_SUBCOMMANDS

    def __init__(self, connection: Connection, side: str) -> None:
        self.connection = connection
        self.side = side
        self._unanswered = False

    async def info(self, *sections: str) -> ServerInfo:
        """Return what INFO says, of all sections unless some are named; raises LinkError."""
        (reply,) = await self.results([("INFO", *sections)], "asking INFO")
        return parse_info(blob(reply))

    async def info_of(self, run_id: str) -> ServerInfo:
        """Return what INFO says; raises OtherServerError where another server answers than the one of `run_id`.

        The address of a balancer, or one after a failover, may lead to another server on each connection.
        """
        info = await self.info()
        check_same_server(info, run_id, self.side)
        return info

    async def call(self, *arguments: bytes | str | int) -> Any:
        """Send one request and return its reply; raises ReplyError for an error reply, LinkError."""
        replies = await self.pipeline([arguments])
        if isinstance(replies[0], ReplyError):
            raise replies[0]
        return replies[0]

    async def results(self, requests: Sequence[Asked], doing: str) -> list[Any]:
        """Send requests at once and return their replies; raises what an error reply means while `doing` that."""
        return checked(self.side, await self.pipeline(requests), doing)

    async def in_each(
        self, databases: Iterable[int], requests: Sequence[Request], doing: str
    ) -> dict[int, list[Any]]:
        """Return the replies to `requests` in each database, in one round trip; raises as `results`."""
        chosen = list(databases)
        asked = [request for database in chosen for request in (("SELECT", database), *requests)]
        replies = await self.results(asked, doing) if asked else []
        step = len(requests) + 1
        return {database: replies[step * at + 1 : step * (at + 1)] for at, database in enumerate(chosen)}

    async def pipeline(self, requests: Sequence[Asked]) -> list[Any]:
        """Send requests at once and return their replies; an error reply is a ReplyError in its place.

        Raises LinkError, also after a call that was cancelled: its replies would be read as those of this one.
        """
        return self.connection.values(await self.raw(requests), 0, count(requests))

    async def raw(self, requests: Sequence[Asked]) -> bytes:
        """Send requests at once and return their replies as they came; raises as `pipeline`."""
        encoded = []
        for asked in requests:
            for request in asked.commands if isinstance(asked, Each) else (asked,):
                if request[0] not in READ_COMMANDS and request[:2] not in self.subcommands:
                    raise ValueError(f"{request[0]!r} is not a command that only reads")
            encoded.append(asked.encoded if isinstance(asked, Each) else encode(*asked))
        if self._unanswered:
            raise LinkError(f"the {self.side} has not answered an earlier request on this connection")
        self._unanswered = True
        replies = await self.connection.exchange(b"".join(encoded), count(requests))
        self._unanswered = False
        return replies

    async def timed(self, requests: Sequence[Asked], doing: str) -> tuple[RawReplies, int]:
        """Return the replies to `requests`, and the server's clock before them: Unix time in milliseconds.

        Raises as `pipeline`, and the error of a refused TIME while `doing` that.
        """
        data = await self.raw([("TIME",), *requests])
        time = checked(self.side, self.connection.values(data, 0, 1), doing)
        return RawReplies(self, data[measure(data, 0, 1).end :], count(requests)), milliseconds(*time)


class RawReplies:
    """`count` replies as they came: bytes that can be compared, values where they are asked for."""

    def __init__(self, client: Client, data: bytes, count: int) -> None:
        self._client = client
        self._count = count
        self.data = data

    @cached_property
    def measured(self) -> Measure:
        """The size of their strings, and whether an error is among them."""
        return measure(self.data, 0, self._count)

    @cached_property
    def values(self) -> list[Any]:
        """Their values; raises LinkError where the peer is no Redis."""
        return self._client.connection.values(self.data, 0, self._count)


class FenceClient(Client):
    """A client that may also keep applications from writing: it changes no data."""

    subcommands = READ_SUBCOMMANDS | FENCE_SUBCOMMANDS


@asynccontextmanager
async def open_client(endpoint: Endpoint) -> AsyncIterator[Client]:
    """Connect to `endpoint` and log in; certificates and passwords are read from their files at each call.

    Raises LinkError; AccessError for credentials that the server refuses or files that cannot be read.
    """
    async with log_in(endpoint, timeout=TIMEOUT_SECONDS) as connection:
        yield Client(connection, endpoint.side)


@asynccontextmanager
async def log_in(endpoint: Endpoint, *, timeout: float) -> AsyncIterator[Connection]:
    """Connect as `connect_endpoint` does, and log in; raises as `open_client`."""
    async with connect_endpoint(endpoint, timeout=timeout) as connection:
        await connection.authenticate(*credentials(endpoint))
        yield connection


@asynccontextmanager
async def connect_endpoint(endpoint: Endpoint, *, timeout: float) -> AsyncIterator[Connection]:
    """Connect to the server that `endpoint` means now, without a login; `timeout` is for each answer, in seconds.

    Raises LinkError; AccessError for files that cannot be read.
    """
    async with connect(
        await resolve(endpoint),
        side=endpoint.side,
        tls=tls_context(endpoint),
        connect_timeout=endpoint.connect_timeout_seconds,
        timeout=timeout,
    ) as connection:
        yield connection


@asynccontextmanager
async def open_fence_client(endpoint: Endpoint) -> AsyncIterator[FenceClient]:
    """As `open_client`, with the requests that a fence needs."""
    async with open_client(endpoint) as client:
        yield FenceClient(client.connection, endpoint.side)


def check_same_server(info: ServerInfo, run_id: str, side: str) -> None:
    """Raise OtherServerError where `info` is not of the server of `run_id`."""
    if info.run_id != run_id:
        doing = "streams" if side == "source" else "is written to"
        raise OtherServerError(f"another server answers for the {side} than the one that {doing}")
