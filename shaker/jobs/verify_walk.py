"""Walks over all keys of both servers, page by page, from any position on."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final, Literal, NamedTuple

from shaker.jobs.verify_page import DOING, Sides
from shaker.model.server_info import ServerInfo
from shaker.net.client import Client, Request, each
from shaker.net.reply_types import number, scan_page
from shaker.rules.record_keys import is_record

Side = Literal["source", "target"]
SAMPLE_STEPS: Final = 10_000
LISTED_KEYS: Final = 2000  # whose sizes are asked at once
# A value that takes more memory is compared apart from the pages: DUMP of it would hold up the source.
LARGE_BYTES: Final = 4 * 1024 * 1024
PAGE_BYTES: Final = 1024 * 1024  # of memory that the values of a page take, by MEMORY USAGE


class Selection(NamedTuple):
    """Which keys are walked over."""

    pattern: bytes = b""
    database: int | None = None
    sample: float = 100.0  # per cent of the keys, the same ones on both servers

    def takes(self, key: bytes) -> bool:
        """Whether a key that the server has matched belongs to the selection."""
        if is_record(key):
            return False
        return self.sample >= 100 or zlib.crc32(key) % SAMPLE_STEPS < self.sample / 100 * SAMPLE_STEPS

    def count(self, info: ServerInfo) -> int:
        """Return about how many keys of a server it takes, 0 where only the server knows which match."""
        if self.pattern:
            return 0
        keys = info.keys if self.database is None else info.keyspace.get(self.database, 0)
        return round(keys * self.sample / 100)


class Position(NamedTuple):
    """Where a walk is: `cursor` is that of SCAN. The walk goes over the source's keys, then over the target's."""

    side: Side = "source"
    database: int = -1
    cursor: bytes = b"0"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Return the position of a checkpoint's text; the beginning for anything else."""
        parts = text.split(":")
        if len(parts) != 3 or parts[0] not in ("source", "target") or not all(part.isdigit() for part in parts[1:]):
            return cls()
        return cls("source" if parts[0] == "source" else "target", int(parts[1]), parts[2].encode())

    def __str__(self) -> str:
        return f"{self.side}:{self.database}:{self.cursor.decode()}"


class Page(NamedTuple):
    """Keys of one database of one side; of the target's keys, only those that the source lacks.

    `after` is the position behind them. `large` ones are compared apart. `seen` counts the keys that the walk has
    passed since the page before.
    """

    side: Side
    database: int
    keys: list[bytes]
    large: list[bytes]
    after: Position
    seen: int = 0


class Walk:
    """Yields pages. `count` is the COUNT of the next SCAN; the pass adapts it."""

    def __init__(
        self,
        sides: Sides,
        selection: Selection,
        start: Position,
        *,
        extra_too: bool,
        only: Mapping[int, Iterable[bytes]] | None = None,
    ) -> None:
        self._sides = sides
        self._selection = selection
        self._start = start
        self._extra_too = extra_too  # keys that only the target has are differences
        self._only = only  # these keys by database, None for all that the selection takes
        self.count = 200

    async def pages(self) -> AsyncIterator[Page]:
        """Yield every key that both servers hold all the time at least once, in pages of one database."""
        start = self._start
        if self._only is not None:
            async for page in self._pages_of(self._only):
                yield page
            return
        if start.side == "source":
            async for page in self._side("source", start):
                yield page
            start = Position("target")
        if self._extra_too:
            async for page in self._side("target", start):
                yield page

    async def _pages_of(self, keys: Mapping[int, Iterable[bytes]]) -> AsyncIterator[Page]:
        """Yield pages of these `keys` by database, whether a server holds them or not."""
        for database, those in sorted(keys.items()):
            position = Position("source", database)
            listed = [key for key in those if self._selection.takes(key)]
            for start in range(0, len(listed), LISTED_KEYS):
                some = listed[start : start + LISTED_KEYS]
                async for page in self._pages(self._sides.source, some, position, position):
                    yield page._replace(seen=len(page.keys) + len(page.large))

    async def _side(self, side: Side, start: Position) -> AsyncIterator[Page]:
        client = self._sides.source if side == "source" else self._sides.target
        for database in await self._databases(client):
            if database >= start.database:
                cursor = start.cursor if database == start.database else b"0"
                async for page in self._scan(side, client, database, cursor):
                    yield page

    async def _databases(self, client: Client) -> list[int]:
        found = sorted((await client.info()).keyspace)
        return [each for each in found if self._selection.database in (None, each)]

    async def _scan(self, side: Side, client: Client, database: int, cursor: bytes) -> AsyncIterator[Page]:
        pattern = self._selection.pattern
        while True:
            before = Position(side, database, cursor)
            scan: Request = ("SCAN", cursor, "COUNT", self.count, *(("MATCH", pattern) if pattern else ()))
            _, reply = await client.results([("SELECT", database), scan], DOING)
            cursor, found = scan_page(reply)
            keys = [key for key in found if self._selection.takes(key)]
            seen = len(keys)
            if side == "target":
                keys = await self._absent(database, keys)
            after = Position(side, database + 1) if cursor == b"0" else Position(side, database, cursor)
            async for page in self._pages(client, keys, before, after):
                yield page._replace(seen=seen)
                seen = 0
            if cursor == b"0":
                return

    async def _absent(self, database: int, keys: list[bytes]) -> list[bytes]:
        """Return those of the target's `keys` that the source lacks; mostly none, which one answer says."""
        source = self._sides.source
        if not keys:
            return []
        _, count = await source.results([("SELECT", database), ("EXISTS", *keys)], DOING)
        if number(count) == len(keys):
            return []
        requests: list[Request] = [("SELECT", database), *(("EXISTS", key) for key in keys)]
        _, *there = await source.results(requests, DOING)
        return [key for key, found in zip(keys, there, strict=True) if not number(found)]

    async def _pages(
        self, client: Client, keys: list[bytes], before: Position, after: Position
    ) -> AsyncIterator[Page]:
        """Divide the keys of one SCAN by the size of their values; only behind the last page the walk is at `after`."""
        side, database = before.side, before.database
        _, *sizes = await client.results([("SELECT", database), each([("MEMORY", "USAGE")], keys)], DOING)
        small: list[bytes] = []
        large: list[bytes] = []
        taken = 0
        for key, reply in zip(keys, sizes, strict=True):
            size = 0 if reply is None else number(reply)
            if size > LARGE_BYTES:
                large.append(key)
                continue
            if small and (taken + size > PAGE_BYTES or len(small) >= self.count):
                yield Page(side, database, small, [], before)
                small, taken = [], 0
            small.append(key)
            taken += size
        yield Page(side, database, small, large, after)
