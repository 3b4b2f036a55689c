"""Walks over all keys of both servers, page by page, from any position on."""

from __future__ import annotations

import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Final, Literal, NamedTuple

from shaker.codec.resp.raw_replies import scanned
from shaker.jobs.read_ahead import read_ahead
from shaker.jobs.verify_page import DOING, Sides
from shaker.model.server_info import ServerInfo
from shaker.net.client import Asked, Client, Request, checked, each, listed
from shaker.net.reply_types import number, numbers, scan_page
from shaker.rules.record_keys import RESERVED, is_record

Side = Literal["source", "target"]
SAMPLE_STEPS: Final = 10_000
SELECTED: Final = b"+OK\r\n"
LISTED_KEYS: Final = 2000  # whose sizes are asked at once
# A value that takes more memory is compared apart from the pages: DUMP of it would hold up the source.
LARGE_BYTES: Final = 4 * 1024 * 1024
PAGE_BYTES: Final = 1024 * 1024  # of memory that the values of a page take, by MEMORY USAGE


class Selection(NamedTuple):
    """Which keys are walked over."""

    pattern: bytes = b""
    database: int | None = None
    sample: float = 100.0  # per cent of the keys, the same ones on both servers

    def of(self, keys: Iterable[bytes]) -> list[bytes]:
        """Return those of the keys that a server has matched that belong to the selection."""
        data = [key for key in keys if not (key.startswith(RESERVED) and is_record(key))]
        if self.sample >= 100:
            return data
        share = self.sample / 100 * SAMPLE_STEPS
        return [key for key in data if zlib.crc32(key) % SAMPLE_STEPS < share]

    def takes_all(self, keys: bytes) -> bool:
        """Whether all of the keys in a reply belong to it; one look at their bytes decides."""
        return self.sample >= 100 and RESERVED not in keys

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


def _behind(side: Side, database: int, cursor: bytes) -> Position:
    """Return the position behind a SCAN that gave `cursor`."""
    return Position(side, database + 1) if cursor == b"0" else Position(side, database, cursor)


class Page(NamedTuple):
    """Keys of one database of one side. Of the target's keys, `Walk.lacking` finds those that the source lacks.

    `after` is the position behind them. `large` ones are compared apart. `seen` counts the keys that the walk has
    passed since the page before. `raw` are the keys as they came, instead of `keys`.
    """

    side: Side
    database: int
    keys: list[bytes]
    large: list[bytes]
    after: Position
    seen: int = 0
    raw: bytes = b""


class Walk:
    """Yields pages. `count` is the COUNT of the next SCAN; the pass adapts it.

    `ahead` are further connections to the two servers, by which the next page is read while one is compared; without
    them that waits.
    """

    def __init__(
        self,
        sides: Sides,
        selection: Selection,
        start: Position,
        *,
        extra_too: bool,
        only: Mapping[int, Iterable[bytes]] | None = None,
        ahead: Sides | None = None,
    ) -> None:
        self._sides = sides
        self._ahead = ahead
        self._selection = selection
        self._start = start
        self._extra_too = extra_too  # keys that only the target has are differences
        self._only = only  # these keys by database, None for all that the selection takes
        self.count = 200
        self.listing_seconds = 0.0  # of requests that list keys; the pass rests for them and sets it to 0

    def listed(self) -> AbstractAsyncContextManager[AsyncIterator[Page]]:
        """Yield the pages, which end with the block."""
        return aclosing(self.pages()) if self._ahead is None else read_ahead(self.pages())

    @property
    def _reading(self) -> Sides:
        return self._ahead or self._sides

    async def pages(self) -> AsyncGenerator[Page, None]:
        """Yield every key that a server holds all the time at least once, in pages of one database."""
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

    async def _pages_of(self, keys: Mapping[int, Iterable[bytes]]) -> AsyncGenerator[Page, None]:
        """Yield pages of these `keys` by database, whether a server holds them or not."""
        for database, those in sorted(keys.items()):
            position = Position("source", database)
            listed = self._selection.of(those)
            for start in range(0, len(listed), LISTED_KEYS):
                some = listed[start : start + LISTED_KEYS]
                listing = Page("source", database, some, [], position, len(some))
                async for page in self._divided(self._reading.source, listing, position):
                    yield page

    async def _side(self, side: Side, start: Position) -> AsyncGenerator[Page, None]:
        client = self._reading.source if side == "source" else self._reading.target
        for database in await self._databases(client):
            if database >= start.database:
                cursor = start.cursor if database == start.database else b"0"
                async for page in self._scan(side, client, database, cursor):
                    yield page

    async def _databases(self, client: Client) -> list[int]:
        found = sorted((await client.info()).keyspace)
        return [each for each in found if self._selection.database in (None, each)]

    async def _scan(self, side: Side, client: Client, database: int, cursor: bytes) -> AsyncGenerator[Page, None]:
        pattern = self._selection.pattern
        while True:
            before = Position(side, database, cursor)
            scan: Request = ("SCAN", cursor, "COUNT", self.count, *(("MATCH", pattern) if pattern else ()))
            page = await self._page(side, client, database, scan)
            if side == "target":
                yield page
            else:
                async for part in self._divided(client, page, before):
                    yield part
            if page.after.cursor == b"0":
                return
            cursor = page.after.cursor

    async def _page(self, side: Side, client: Client, database: int, scan: Request) -> Page:
        """Return the keys of one SCAN; those of the target as they came, where they can be asked for like this."""
        began = time.perf_counter()
        data = await client.raw([("SELECT", database), scan])
        self.listing_seconds += time.perf_counter() - began
        found = scanned(data, len(SELECTED)) if side == "target" and data.startswith(SELECTED) else None
        if found is None or not self._selection.takes_all(found.keys):
            _, reply = checked(client.side, client.connection.values(data, 0, 2), DOING)
            cursor, keys = scan_page(reply)
            if not self._selection.takes_all(data):
                keys = self._selection.of(keys)
            return Page(side, database, keys, [], _behind(side, database, cursor), len(keys))
        return Page(side, database, [], [], _behind(side, database, found.cursor), found.number, found.keys)

    async def lacking(self, page: Page, before: Position) -> AsyncGenerator[Page, None]:
        """Yield a page of the target's keys, which begins at `before`, without those that the source has."""
        absent = await self._absent(page) if page.seen else []
        async for part in self._divided(self._sides.target, page._replace(keys=absent, raw=b""), before):
            yield part

    async def _absent(self, page: Page) -> list[bytes]:
        """Return those of the target's keys that the source lacks; mostly none, which one answer says."""
        source, select = self._sides.source, ("SELECT", page.database)
        keys, raw = page.keys, page.raw
        asked: Asked = listed("EXISTS", raw, page.seen) if raw else ("EXISTS", *keys)
        _, found = await source.results([select, asked], DOING)
        if number(found) == page.seen:
            return []
        if raw:
            (keys,) = source.connection.values(b"*%d\r\n" % page.seen + raw, 0, 1)
        _, *there = await source.results([select, each([("EXISTS",)], keys)], DOING)
        return [key for key, found in zip(keys, there, strict=True) if not number(found)]

    async def _divided(self, client: Client, listing: Page, before: Position) -> AsyncGenerator[Page, None]:
        """Divide listed keys by the size of their values; only behind the last page the walk is past `before`."""
        keys = listing.keys
        sizes = await self._sizes(client, listing.database, keys) if keys else []
        if sum(sizes) <= PAGE_BYTES and len(keys) <= self.count:
            yield listing
            return
        seen = listing.seen
        small: list[bytes] = []
        large: list[bytes] = []
        taken = 0
        for key, size in zip(keys, sizes, strict=True):
            if size > LARGE_BYTES:
                large.append(key)
                continue
            if small and (taken + size > PAGE_BYTES or len(small) >= self.count):
                yield listing._replace(keys=small, after=before, seen=seen)
                small, taken, seen = [], 0, 0
            small.append(key)
            taken += size
        yield listing._replace(keys=small, large=large, seen=seen)

    async def _sizes(self, client: Client, database: int, keys: list[bytes]) -> list[int]:
        """Return what the values of `keys` take in memory, 0 for keys that are gone."""
        began = time.perf_counter()
        _, *sizes = await client.results([("SELECT", database), each([("MEMORY", "USAGE")], keys)], DOING)
        self.listing_seconds += time.perf_counter() - began
        return numbers([0 if size is None else size for size in sizes] if None in sizes else sizes)
