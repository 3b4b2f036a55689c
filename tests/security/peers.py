"""Servers that mean harm: what a worker connects to, and what is answered there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.support.listener import Listener, read_request
from tests.support.rdb_bytes import rdb, string

RUN_ID = b"a" * 40
REPLID = b"b" * 40
INFO = b"\r\n".join(
    (
        b"redis_version:7.0.15",
        b"run_id:" + RUN_ID,
        b"cluster_enabled:0",
        b"role:master",
        b"master_failover_state:no-failover",
        b"master_replid:" + REPLID,
        b"master_replid2:" + b"0" * 40,
        b"master_repl_offset:1000",
        b"",
    )
)
FULLRESYNC = b"+FULLRESYNC " + REPLID + b" 1000\r\n"
MARK = b"m" * 40
SMALL = rdb(b"".join(b"\x00" + string(b"key:%d" % number) + string(b"value") for number in range(50)))

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def bulk(data: bytes) -> bytes:
    """A bulk string of the protocol."""
    return b"$%d\r\n%b\r\n" % (len(data), data)


def sized(snapshot: bytes) -> bytes:
    """The answer to PSYNC with a snapshot whose size is announced."""
    return FULLRESYNC + b"$%d\r\n" % len(snapshot) + snapshot


def at_once(data: bytes) -> Answer:
    """An answer that is sent whole, and nothing behind it."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return answer


def then_ends(data: bytes) -> Answer:
    """An answer that is followed by the end of the connection."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    return answer


def for_ever(begin: bytes, piece: bytes, pause: float = 0.0) -> Answer:
    """An answer without an end, as fast as it is read or with a pause, in seconds, between two pieces."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


class HostilePeer(Listener):
    """Answers requests, or whoever connects.

    `replies` are what single commands, in upper case, are answered by in place of +OK; `psync` answers PSYNC, and
    `first`, if given, the connection itself: then no request is read at all. At `closes` it closes the connection.
    """

    def __init__(
        self,
        *,
        replies: dict[bytes, bytes] | None = None,
        psync: Answer | None = None,
        first: Answer | None = None,
        closes: bytes = b"",
    ) -> None:
        super().__init__("hostile peer")
        self._closes = closes
        self.connections = 0
        self._replies = {b"INFO": bulk(INFO), **(replies or {})}
        self._psync = psync
        self._first = first

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        drain: asyncio.Task[None] | None = None
        try:
            if self._first is not None:
                drain = asyncio.create_task(_read_away(reader))
                await self._first(writer)
                await drain
            while True:
                arguments = await read_request(reader)
                name = arguments[0].upper()
                if name == self._closes:
                    return
                if name == b"PSYNC" and self._psync is not None:
                    drain = asyncio.create_task(_read_away(reader))
                    await self._psync(writer)
                    await drain
                    return
                writer.write(self._replies.get(name, b"+OK\r\n"))
                await writer.drain()
        finally:
            if drain is not None:
                drain.cancel()


async def _read_away(reader: asyncio.StreamReader) -> None:
    """Read acknowledgements until the worker hangs up."""
    while await reader.read(1 << 16):
        pass
