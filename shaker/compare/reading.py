"""One database of one server, read for comparison by the plain replies of protocol 2 that all versions share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Self

import hiredis
import redis
import redis.asyncio
from redis.exceptions import NoPermissionError

from shaker.errors import AccessError, LinkError
from shaker.rules.record_keys import is_record

Argument = bytes | str | int
Command = tuple[Argument, ...]

# Error replies for a key that is missing or of another type: it may have expired a moment ago.
GONE = ("WRONGTYPE", "NOGROUP", "no such key")
NO_KEY = -2  # the reply of PEXPIRETIME and PTTL without one


class Database:
    """A connection of its own to database `number` of the server of `client`. An async context manager.

    Raises LinkError where the server does not answer, AccessError where it forbids a command.
    """

    def __init__(self, client: redis.asyncio.Redis, number: int) -> None:
        self.number = number
        self.expires_exactly = False
        self.expires_fields = False
        self.has_functions = False
        pool = client.connection_pool
        kwargs = {**pool.connection_kwargs, "db": number, "protocol": 2, "decode_responses": False}
        self._connection: Any = pool.connection_class(**kwargs)

    async def __aenter__(self) -> Self:
        known = await self.ask([("COMMAND", "INFO", "PEXPIRETIME", "HPEXPIRETIME", "FUNCTION")])
        self.expires_exactly, self.expires_fields, self.has_functions = (row is not None for row in known[0])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.disconnect()

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies to `commands`, sent at once; for a key that is gone meanwhile, the error."""
        if not commands:
            return []
        connection = self._connection
        try:
            await connection.connect()
            await connection.send_packed_command([b"".join(map(hiredis.pack_command, commands))])  # type: ignore[arg-type]
            return [await self._reply() for _ in commands]
        except redis.RedisError as error:
            # The replies after this one are unread: the next command needs another connection.
            await connection.disconnect()
            names = ", ".join(sorted({str(command[0]) for command in commands}))
            kind = AccessError if isinstance(error, NoPermissionError) else LinkError
            raise kind(f"comparing failed at {names}: {error}") from error

    async def _reply(self) -> Any:
        try:
            return await self._connection.read_response()
        except redis.ResponseError as error:
            if str(error).startswith(GONE):
                return error
            raise

    async def keys(self, count: int) -> AsyncIterator[list[bytes]]:
        """Yield all keys but the reserved ones, about `count` at a time."""
        cursor: Argument = b"0"
        while True:
            cursor, keys = (await self.ask([("SCAN", cursor, "COUNT", count)]))[0]
            if found := [key for key in dict.fromkeys(keys) if not is_record(key)]:
                yield found
            if cursor == b"0":
                return

    async def expiries(self, keys: Sequence[bytes]) -> list[int]:
        """Return for each key when it expires in Unix milliseconds, -1 for never, -2 where there is no key."""
        if self.expires_exactly:
            return await self.ask([("PEXPIRETIME", key) for key in keys])
        # Before 7.0 there is only the time left; the clock is the server's own.
        (seconds, microseconds), *left = await self.ask([("TIME",), *(("PTTL", key) for key in keys)])
        now = int(seconds) * 1000 + int(microseconds) // 1000
        return [one if one < 0 else now + one for one in left]

    async def heads(self, keys: Sequence[bytes]) -> list[tuple[bytes, int, int]]:
        """Return for each key its type (`none` where there is none), expiry, and bytes by MEMORY USAGE."""
        replies = await self.ask([command for key in keys for command in (("TYPE", key), ("MEMORY", "USAGE", key))])
        expiries = await self.expiries(keys)
        # A key that the second question no longer finds has expired, or was deleted, in between.
        kinds = (b"none" if expiry == NO_KEY else kind for kind, expiry in zip(replies[::2], expiries, strict=True))
        return list(zip(kinds, expiries, (size or 0 for size in replies[1::2]), strict=True))


async def databases(client: redis.asyncio.Redis) -> set[int]:
    """Return the numbers of the databases that hold keys."""
    async with Database(client, 0) as database:
        text: bytes = (await database.ask([("INFO", "keyspace")]))[0]
    return {int(line[2 : line.index(b":")]) for line in text.splitlines() if line.startswith(b"db")}


def pairs(flat: Iterable[Any]) -> dict[Any, Any]:
    """Return a flat reply of names and values as a dictionary."""
    items = iter(flat)
    return dict(zip(items, items, strict=True))
