"""Compares the keys of unconfirmed work at barriers, and has differing keys copied from the source.

A key stays in its set until a barrier finds it equal or it has been copied. Values are compared by DUMP first. Servers
of different versions may dump equal values differently, so differing ones are read and compared by meaning. Very large
values are compared by type and length alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final, NamedTuple

import anyio
import structlog

from shaker.apply.records import copying_key, expiring_key
from shaker.apply.rejections import MAX_KEY
from shaker.codec.resp.replies import encode
from shaker.errors import LinkError, RefusedError
from shaker.flow.flow import Flow
from shaker.jobs.barrier import Barriers
from shaker.jobs.same_value import READS, ComparedKey
from shaker.model.batch import CommandRun
from shaker.model.refusals import refusal
from shaker.net.client import Client, Request, open_client
from shaker.net.connection import ReplyError
from shaker.net.reply_types import array, blob, number, scan_page
from shaker.rules.record_keys import is_record
from shaker.settings.schema import Settings

log = structlog.get_logger("shaker.unconfirmed")

KEYS: Final = 500  # maximum for one barrier
# Maximum size of the values that one barrier reads on each side. A value that takes more memory on the source is not
# read at all, because DUMP would block the source.
HELD_BYTES: Final = 16 * 1024 * 1024
POLL_SECONDS: Final = 0.1  # from one search for keys to the next
COPYING_SECONDS: Final = 0.2  # before keys that are being copied are checked again
PAUSE_SECONDS: Final = 1.0  # after a failed barrier: the stream needs time between two of them
HEARTBEAT_SECONDS: Final = 120.0
# Keys that only the target has are removed up to this share of a database, or up to this number.
MOST_SHARE: Final = 0.3
MOST_KEYS: Final = 1000
DOING: Final = "comparing unconfirmed work"


class Sides(NamedTuple):
    """Clients of both servers, and the command that asks them for an expiry."""

    source: Client
    target: Client
    expiry: str


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
            asked = [await side.info() for side in (source, target)]
            # Older servers have PTTL only, which gives the time left.
            exact = all(info.release >= (7, 0) for info in asked)
            sides = Sides(source, target, "PEXPIRETIME" if exact else "PTTL")
            while self._may_run:
                waiting, settled = await self._round(sides)
                self._unconfirmed.error = ""
                self._heartbeat()
                if not waiting:
                    await self._finish(sides)
                elif not settled:
                    await anyio.sleep(COPYING_SECONDS)

    async def _databases(self, sides: Sides) -> list[int]:
        """Return the databases of the target that hold keys."""
        return sorted((await sides.target.info_of(self._flow.target.run_id)).keyspace)

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
            held.apply(CommandRun(database, encode("SREM", self._unconfirmed.key, *members), 1))
        return len(members)

    async def _compare(self, sides: Sides, database: int, keys: Iterable[bytes]) -> int:
        """Compare keys of a database; return how many are equal."""
        left, equal = list(keys), 0
        while left:
            subjects, left = await self._subjects(sides.source, database, left)
            differing = await self._compare_once(sides, database, subjects)
            equal += len(subjects) - len(differing)
            if differing:
                again = await self._read(sides.source, database, differing)
                equal += len(again) - len(await self._compare_once(sides, database, again, final=True))
            self._heartbeat()
        return equal

    async def _subjects(
        self, source: Client, database: int, keys: list[bytes]
    ) -> tuple[list[ComparedKey], list[bytes]]:
        """Return how to compare as many of the keys as one barrier may read, and the remaining keys."""
        requests: list[Request] = [("SELECT", database), *(("MEMORY", "USAGE", key) for key in keys)]
        _, *sizes = await source.results(requests, DOING)
        subjects: list[ComparedKey] = []
        taken = 0
        for key, reply in zip(keys, sizes, strict=True):
            size = 0 if reply is None else number(reply)
            if size <= self._held_bytes:
                taken += size
                if subjects and taken > self._held_bytes:
                    break
                subjects.append(ComparedKey(key))
            else:
                _, kind = await source.results([("SELECT", database), ("TYPE", key)], DOING)
                subjects.append(ComparedKey(key, blob(kind), large=True))
        return subjects, keys[len(subjects) :]

    async def _read(self, source: Client, database: int, differing: list[ComparedKey]) -> list[ComparedKey]:
        """Return how to compare differing keys by meaning: two versions may dump equal values differently."""
        requests: list[Request] = [("SELECT", database), *(("TYPE", subject.key) for subject in differing)]
        _, *kinds = await source.results(requests, DOING)
        return [
            ComparedKey(subject.key, kind) if not subject.large and kind in READS else subject
            for subject, kind in zip(differing, kinds, strict=True)
        ]

    async def _compare_once(
        self, sides: Sides, database: int, subjects: list[ComparedKey], *, final: bool = False
    ) -> list[ComparedKey]:
        """Compare at one barrier; return the differing keys. If `final`, have them copied."""
        requests: list[Request] = [("SELECT", database)]
        for subject in subjects:
            requests += [*subject.requests, (sides.expiry, subject.key)]
        async with self._barriers.at(sides.source, requests) as held:
            theirs = _answers("target", await sides.target.pipeline(requests))
            mine = _answers("source", held.replies)
            equal: list[bytes] = []
            expiring: list[bytes] = []
            differing: list[ComparedKey] = []
            start = 1
            for subject in subjects:
                end = start + len(subject.requests)
                if not subject.same(mine[start:end], theirs[start:end]):
                    differing.append(subject)
                else:
                    equal.append(subject.key)
                    if not self._same_expiry(number(mine[end]), number(theirs[end])):
                        expiring.append(subject.key)
                start = end + 1
            copying = [subject.key for subject in differing] if final else []
            held.apply(self._outcome(database, equal, expiring, copying))
        self._handed_over.update((database, key) for key in copying)  # only after it has taken effect
        return differing

    def _same_expiry(self, mine: int, theirs: int) -> bool:
        """Whether a key expires on the target in time: up to the present margin later than on the source."""
        if mine < 0 or theirs < 0:
            return mine == theirs
        return 0 <= theirs - mine <= self._flow.expiry.margin_seconds * 1000

    def _outcome(
        self, database: int, equal: list[bytes], expiring: list[bytes], copying: list[bytes]
    ) -> CommandRun:
        """Return the requests that remove equal keys from the set, and hand the others on."""
        key = self._unconfirmed.key
        lists = [("SREM", key, equal), ("SADD", self._expiring, expiring)]
        lists += [("SADD", key, copying), ("SADD", self._copying, copying)]
        requests = [encode(name, to, *keys) for name, to, keys in lists if keys]
        if copying:
            shown = copying[0][:MAX_KEY].decode("utf-8", "backslashreplace")
            log.warning("keys differ", database=database, keys=len(copying), first=shown)
        if expiring or copying:
            self._flow.expiries.waiting = True
            self._flow.expiries.remembered += 1
        return CommandRun(database, b"".join(requests), len(requests))

    async def _finish(self, sides: Sides) -> None:
        """Record that no key waits any longer, at a point where nothing is in flight."""
        unconfirmed = self._unconfirmed
        async with self._barriers.at(sides.source, []):
            requests: list[Request] = []
            for database in await self._databases(sides):
                requests += [("SELECT", database), ("SCARD", unconfirmed.key)]
            counts = await sides.target.results(requests, DOING) if requests else []
            none, remembered = not any(count for count in counts if isinstance(count, int)), unconfirmed.remembered
        # Only now is it certain that the target waited; after that point keys may have been remembered again.
        if none and unconfirmed.remembered == remembered:
            unconfirmed.waiting = False
            log.info("unconfirmed work is compared")


def _answers(side: str, replies: list[Any]) -> list[Any]:
    """Return `replies`, in which the only error may be that a key has another type."""
    for reply in replies:
        if isinstance(reply, ReplyError) and not str(reply).startswith("WRONGTYPE"):
            raise refusal(side, str(reply), DOING) from reply
    return replies
