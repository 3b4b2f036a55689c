"""Compares the keys of unconfirmed work at barriers, and has differing keys copied from the source.

A key stays in its set until a barrier finds it equal or it has been copied. Keys are compared as the verification
compares them: by DUMP and content at one barrier, large values in pieces between two. A large value that changes
meanwhile, three times in a row, is compared by one DUMP after all, if it is not too large for that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Final, NamedTuple

import anyio
import structlog

from shaker.apply.records import copying_key, expiring_key
from shaker.apply.rejections import MAX_KEY
from shaker.apply.unconfirmed import KNOWN_KEYS
from shaker.codec.resp.replies import encode
from shaker.compare.copies import Tolerance
from shaker.errors import LinkError, RefusedError
from shaker.flow.flow import Flow
from shaker.jobs.barrier import Barriers
from shaker.jobs.verify_large import LargeComparison
from shaker.jobs.verify_page import PageComparison, fields_expire, sides_of, tolerance
from shaker.model.batch import CommandRun
from shaker.model.differences import Difference, Kind
from shaker.net.client import Client, Request, open_client
from shaker.net.connection import ReplyError
from shaker.net.reply_types import array, blob, number, scan_page
from shaker.rules.record_keys import is_record
from shaker.settings.schema import Settings

log = structlog.get_logger("shaker.unconfirmed")

KEYS: Final = 500  # maximum for one barrier
# Maximum size of the values that one barrier reads on each side, by the memory that they take on the source.
HELD_BYTES: Final = 16 * 1024 * 1024
# Maximum size of a busy value that one barrier reads: DUMP blocks the source for about 2 ms per MiB.
BUSY_BYTES: Final = 64 * 1024 * 1024
POLL_SECONDS: Final = 0.1  # from one search for keys to the next
COPYING_SECONDS: Final = 0.2  # before keys that are being copied are checked again
BUSY_SECONDS: Final = 5.0  # before a value that changed all the time is compared again
PAUSE_SECONDS: Final = 1.0  # after a failed barrier: the stream needs time between two of them
HEARTBEAT_SECONDS: Final = 120.0
# Keys that only the target has are removed up to this share of a database, or up to this number.
MOST_SHARE: Final = 0.3
MOST_KEYS: Final = 1000
DOING: Final = "comparing unconfirmed work"


class Sides(NamedTuple):
    """Clients of both servers, and the comparisons between them."""

    source: Client
    target: Client
    pages: PageComparison
    large: LargeComparison


class Confirm:
    """Works whenever keys wait to be compared and the stream is close behind the source."""

    name = "unconfirmed"
    quiet = False
    pause_seconds = PAUSE_SECONDS

    def __init__(
        self,
        settings: Settings,
        flow: Flow,
        barriers: Barriers,
        *,
        held_bytes: int = HELD_BYTES,
        most_keys: int = MOST_KEYS,
    ) -> None:
        self._held_bytes = held_bytes
        self._most_keys = most_keys
        self._settings = settings
        self._flow = flow
        self._unconfirmed = flow.unconfirmed
        self._status = flow.status
        self._barriers = barriers
        self._copying = copying_key(settings.name)
        self._expiring = expiring_key(settings.name)
        self._busy = ""  # the last value that could not be compared, empty where there is none
        self._handed_over: set[tuple[int, bytes]] = set()  # by database: differing keys, entered in `copying`

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._heartbeat()
            if self._may_run:
                try:
                    await self._work()
                except (LinkError, ReplyError, RefusedError) as error:
                    self._unconfirmed.error = str(error)
                    raise
            await anyio.sleep(POLL_SECONDS)

    def _heartbeat(self) -> None:
        self._status.heartbeat(self.name, within=HEARTBEAT_SECONDS)

    @property
    def _may_run(self) -> bool:
        unconfirmed = self._flow.unconfirmed
        return unconfirmed.waiting and unconfirmed.place is None and self._flow.keeping_up

    async def _work(self) -> None:
        settings = self._settings
        async with open_client(settings.source) as source, open_client(settings.target) as target:
            infos = [await side.info() for side in (source, target)]
            compared = sides_of(source, target, infos)

            def allowed() -> Tolerance:
                return tolerance(compared, later=self._flow.expiry.widest_margin)

            large = LargeComparison(
                self._barriers,
                compared,
                allowed,
                self._flow.watch,
                fields_expire=fields_expire(infos),
                heartbeat=self._heartbeat,
            )
            sides = Sides(source, target, PageComparison(self._barriers, compared, allowed), large)
            while self._may_run:
                if self._unconfirmed.known is None:
                    await self._know(sides)
                self._busy = ""
                waiting, settled = await self._round(sides)
                self._unconfirmed.error = self._busy
                self._heartbeat()
                if not waiting:
                    await self._finish(sides)
                elif not settled:
                    await anyio.sleep(BUSY_SECONDS if self._busy else COPYING_SECONDS)

    async def _databases(self, sides: Sides) -> list[int]:
        """Return the databases of the target that hold keys."""
        return sorted((await sides.target.info_of(self._flow.target.run_id)).keyspace)

    async def _counts(self, sides: Sides, databases: list[int]) -> list[int]:
        """Return how many keys wait in each database."""
        counts = await sides.target.in_each(databases, [("SCARD", self._unconfirmed.key)], DOING)
        return [number(count) for (count,) in counts.values()]

    async def _know(self, sides: Sides) -> None:
        """Read which keys wait, at a point where nothing is in flight, unless they are many, or whole databases."""
        unconfirmed = self._unconfirmed
        async with self._barriers.at(sides.source, []):
            databases = await self._databases(sides)
            if sum(await self._counts(sides, databases)) > KNOWN_KEYS:
                return
            found = await sides.target.in_each(databases, [("SRANDMEMBER", unconfirmed.key, KNOWN_KEYS)], DOING)
            keys = {database: set(map(blob, array(reply))) for database, (reply,) in found.items()}
            if not any(unconfirmed.whole in each or unconfirmed.everything in each for each in keys.values()):
                unconfirmed.known = keys

    async def _round(self, sides: Sides) -> tuple[int, int]:
        """Compare some keys of each database; return how many waited, and how many of these are settled."""
        unconfirmed = self._unconfirmed
        waiting = settled = 0
        for database in await self._databases(sides):
            requests: list[Request] = [("SELECT", database), ("SCARD", unconfirmed.key)]
            requests.append(("SRANDMEMBER", unconfirmed.key, KEYS))
            _, count, found = await sides.target.results(requests, DOING)
            waiting += number(count)
            keys = {blob(key) for key in array(found)}
            copying = {key for key in keys if (database, key) in self._handed_over}
            settled += await self._copied(sides, database, sorted(copying))
            new = keys - copying - {unconfirmed.whole, unconfirmed.everything}
            settled += await self._compare(sides, database, new)
            if unconfirmed.everything in keys:
                source = (await sides.source.info()).keyspace
                for each in sorted({*source, *await self._databases(sides)}):
                    await self._compare_all(sides, each)
                settled += await self._forget(sides, database, [unconfirmed.everything])
            elif unconfirmed.whole in keys:
                await self._compare_all(sides, database)
                settled += await self._forget(sides, database, [unconfirmed.whole])
        return waiting, settled

    async def _compare_all(self, sides: Sides, database: int) -> None:
        """Compare every key of a database; differing keys enter its set."""
        log.info("comparing a database", database=database)
        async for keys in self._scan(sides.source, database):
            await self._compare(sides, database, keys)
        if self._settings.target.on_existing == "merge" or self._settings.target.stale_keys == "keep":
            return  # keys that only the target has belong to others
        _, total = await sides.target.results([("SELECT", database), ("DBSIZE",)], DOING)
        most = max(self._most_keys, int(number(total) * MOST_SHARE))
        extra: list[bytes] = []
        async for keys in self._scan(sides.target, database):
            requests: list[Request] = [("SELECT", database), *(("EXISTS", key) for key in keys)]
            _, *there = await sides.source.results(requests, DOING)
            extra += [key for key, found in zip(keys, there, strict=True) if not found]
            if len(extra) > most:
                raise RefusedError(f"more than {most} keys of database {database} are only on the target")
        await self._compare(sides, database, extra)

    async def _scan(self, side: Client, database: int) -> AsyncIterator[list[bytes]]:
        cursor = b"0"
        while True:
            _, reply = await side.results([("SELECT", database), ("SCAN", cursor, "COUNT", KEYS)], DOING)
            cursor, found = scan_page(reply)
            keys = [key for key in found if not is_record(key)]
            for start in range(0, len(keys), KEYS):
                yield keys[start : start + KEYS]
            if cursor == b"0":
                return

    async def _copied(self, sides: Sides, database: int, keys: list[bytes]) -> int:
        """Settle the keys that have been copied since they were found to differ; return how many."""
        requests: list[Request] = [("SELECT", database), *(("SISMEMBER", self._copying, key) for key in keys)]
        _, *left = await sides.target.results(requests, DOING)
        copied = [key for key, waits in zip(keys, left, strict=True) if not waits]
        self._handed_over.difference_update((database, key) for key in copied)
        return await self._forget(sides, database, copied) if copied else 0

    async def _forget(self, sides: Sides, database: int, members: list[bytes]) -> int:
        """Remove members from the set; return how many."""
        async with self._barriers.at(sides.source, []) as held:
            self._unconfirmed.found_equal(database, members)
            held.apply(CommandRun(database, encode("SREM", self._unconfirmed.key, *members), 1))
        return len(members)

    async def _compare(self, sides: Sides, database: int, keys: Iterable[bytes]) -> int:
        """Compare keys of a database; return how many are equal. Differing ones are handed over to be copied."""
        left, equal = list(keys), 0
        while left:
            some, size = await self._some(sides.source, database, left)
            left = left[len(some) :]
            if size <= self._held_bytes:
                equal += await self._at_once(sides, database, some)
            else:
                equal += await self._in_pieces(sides, database, some[0], size)
            self._heartbeat()
        return equal

    async def _some(self, source: Client, database: int, keys: list[bytes]) -> tuple[list[bytes], int]:
        """Return the first keys, as many as one barrier may read, and the bytes that they take; one at least."""
        requests: list[Request] = [("SELECT", database), *(("MEMORY", "USAGE", key) for key in keys[:KEYS])]
        _, *sizes = await source.results(requests, DOING)
        taken = 0
        for index, reply in enumerate(sizes):
            size = 0 if reply is None else number(reply)
            if index and taken + size > self._held_bytes:
                return keys[:index], taken
            taken += size
        return keys[:KEYS], taken

    async def _at_once(self, sides: Sides, database: int, keys: list[bytes]) -> int:
        def settle(differing: list[Difference]) -> CommandRun:
            return self._outcome(database, keys, differing)

        outcome = await sides.pages.compare(database, keys, settle=settle)
        return len(keys) - self._hand_over(outcome.differing)

    async def _in_pieces(self, sides: Sides, database: int, key: bytes, size: int) -> int:
        def settle(differing: list[Difference]) -> CommandRun:
            return self._outcome(database, [key], differing)

        found = await sides.large.compare(database, key, settle=settle)
        if not found.busy:
            return 1 - self._hand_over([] if found.difference is None else [found.difference])
        if size <= BUSY_BYTES:
            return await self._at_once(sides, database, [key])
        async with self._barriers.at(sides.source, []) as held:
            held.apply(CommandRun(database, encode("SADD", self._unconfirmed.key, key), 1))
        shown = key[:MAX_KEY].decode("utf-8", "backslashreplace")
        self._busy = f"key {shown} {found.busy}, and is too large to be compared at once"
        return 0

    def _hand_over(self, differing: list[Difference]) -> int:
        """Note the keys that are about to be copied, which has taken effect; return how many."""
        copying = [(each.database, each.key) for each in differing if each.kind is not Kind.EXPIRY]
        self._handed_over.update(copying)
        return len(copying)

    def _outcome(self, database: int, keys: list[bytes], differing: list[Difference]) -> CommandRun:
        """Return the requests that remove equal keys from the set, and hand the others on."""
        key = self._unconfirmed.key
        expiring = [each.key for each in differing if each.kind is Kind.EXPIRY]
        copying = [each.key for each in differing if each.kind is not Kind.EXPIRY]
        equal = [each for each in keys if each not in set(copying)]
        lists = [("SREM", key, equal), ("SADD", self._expiring, expiring)]
        lists += [("SADD", key, copying), ("SADD", self._copying, copying)]
        requests = [encode(name, to, *some) for name, to, some in lists if some]
        if copying:
            shown = copying[0][:MAX_KEY].decode("utf-8", "backslashreplace")
            log.warning("keys differ", database=database, keys=len(copying), first=shown)
        if expiring or copying:
            self._flow.expiries.waiting = True
            self._flow.expiries.remembered += 1
        self._unconfirmed.found_equal(database, equal)
        return CommandRun(database, b"".join(requests), len(requests))

    async def _finish(self, sides: Sides) -> None:
        """Record that no key waits any longer, at a point where nothing is in flight."""
        unconfirmed = self._unconfirmed
        async with self._barriers.at(sides.source, []):
            none = not any(await self._counts(sides, await self._databases(sides)))
            remembered = unconfirmed.remembered
        # Only now is it certain that the target waited; after that point keys may have been remembered again.
        if none and unconfirmed.remembered == remembered:
            unconfirmed.compared()
            log.info("unconfirmed work is compared")
