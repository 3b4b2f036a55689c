"""Gives keys with a deferred expiry the source's, and copies keys that the target lost, once the stream caught up.

The source decides: its answer about a key at one point of the stream is true on the target at that point, with any
history of the key.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import anyio
import structlog

from shaker.apply.expired import ExpiredKeys, expired_nothing
from shaker.apply.records import copying_key, doubtful_key, expiring_key
from shaker.codec.resp.replies import encode
from shaker.errors import AccessError
from shaker.flow.flow import Flow
from shaker.jobs.barrier import Barriers
from shaker.jobs.copy_keys import COPY_BYTES, KeyCopier
from shaker.jobs.verify_page import fields_expire
from shaker.model.batch import CommandRun
from shaker.net.client import Client, Request, open_client
from shaker.net.reply_types import array, blob, number
from shaker.settings.schema import Settings

log = structlog.get_logger("shaker.expiry")

# Maximum number of keys in one barrier: on one machine, and where round trips take longer than the work. The target
# does nothing else while it executes the barrier's writes.
KEYS: Final = 500
MOST_KEYS: Final = 5000
KEYS_PER_SECOND: Final = 50_000
# Up to this many keys to be copied are merged with the doubtful ones by one request, which blocks the target.
JOIN_KEYS: Final = 10_000
POLL_SECONDS: Final = 0.1  # from one search for waiting keys to the next
PAUSE_SECONDS: Final = 1.0  # after a failed barrier: the stream needs time between two of them
HEARTBEAT_SECONDS: Final = 120.0


class Waiting(NamedTuple):
    """Waiting keys of one database: the length of each list, and some keys of the first two."""

    database: int
    expiring: int
    copying: int
    doubtful: int
    to_settle: list[bytes]
    to_copy: list[bytes]

    @property
    def total(self) -> int:
        """The number of waiting keys."""
        return self.expiring + self.copying + self.doubtful


class RestoreExpiries:
    """Works whenever keys wait for the source's expiry and the stream is close behind the source."""

    name = "expiries"
    quiet = False

    def __init__(
        self,
        settings: Settings,
        flow: Flow,
        barriers: Barriers,
        *,
        poll_seconds: float = POLL_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
        most_keys: int = MOST_KEYS,
        copy_bytes: int = COPY_BYTES,
    ) -> None:
        self._most_keys = most_keys
        self._copy_bytes = copy_bytes
        self.pause_seconds = pause_seconds
        self._poll_seconds = poll_seconds
        self._settings = settings
        self._flow = flow
        self._status = flow.status
        self._barriers = barriers
        self._expiring = expiring_key(settings.name)
        self._copying = copying_key(settings.name)
        self._doubtful = doubtful_key(settings.name)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._heartbeat()
            if self._may_run:
                try:
                    await self._work()
                except AccessError as error:
                    self._status.reasons["expiries"] = f"keys wait for the source's expiry: {error}"
                    raise
            await anyio.sleep(self._poll_seconds)

    def _heartbeat(self) -> None:
        self._status.heartbeat(self.name, within=HEARTBEAT_SECONDS)

    @property
    def _may_run(self) -> bool:
        return self._flow.expiries.waiting and self._flow.keeping_up

    @property
    def _keys(self) -> int:
        """The maximum number of keys in one barrier."""
        round_trips = sum(self._status.clocks.round_trips.values())
        return min(self._most_keys, KEYS + int(round_trips * KEYS_PER_SECOND))

    async def _work(self) -> None:
        settings, flow = self._settings, self._flow
        async with open_client(settings.source) as source, open_client(settings.target) as target:
            asked = await source.info("server")
            # PTTL loses the time between it and TIME; PEXPIRETIME came with Redis 7.0.
            asking = "PEXPIRETIME" if asked.release >= (7, 0) else "PTTL"
            settler = KeyCopier(
                flow,
                self._barriers,
                source,
                target,
                name=settings.name,
                asking=asking,
                fields_expire=fields_expire([asked]),
                copy_bytes=self._copy_bytes,
                heartbeat=self._heartbeat,
            )
            while self._may_run:
                info = await target.info_of(flow.target.run_id)
                databases = list(info.keyspace)
                waiting = await self._look(target, databases)
                settled = await self._round(settler, source, target, waiting)
                left = max(0, sum(each.total for each in waiting) - settled)
                self._status.expiries.waiting = left
                self._status.reasons.pop("expiries", None)
                if not left:
                    await self._finish(source, target, databases)
                self._heartbeat()
                await anyio.sleep(0 if settled else self._poll_seconds)

    async def _look(self, target: Client, databases: list[int]) -> list[Waiting]:
        """Return the waiting keys of each database, of each kind as many in all as one barrier takes."""
        requests: list[Request] = [("SCARD", name) for name in (self._expiring, self._copying, self._doubtful)]
        requests += [("SRANDMEMBER", name, self._keys) for name in (self._expiring, self._copying)]
        in_each = await target.in_each(databases, requests, "looking for waiting keys")
        found = []
        settle_left = copy_left = self._keys
        for database, replies in in_each.items():
            in_all = [number(reply) for reply in replies[:3]]
            expiring, copying = ([blob(key) for key in array(reply)] for reply in replies[3:])
            found.append(
                Waiting(database, in_all[0], in_all[1], in_all[2], expiring[:settle_left], copying[:copy_left])
            )
            settle_left -= len(found[-1].to_settle)
            copy_left -= len(found[-1].to_copy)
        return [each for each in found if each.total]

    async def _round(self, settler: KeyCopier, source: Client, target: Client, waiting: list[Waiting]) -> int:
        """Settle some keys; return how many are settled."""
        settled = 0
        expiries = self._flow.expiries
        if expiries.doubts and sum(each.copying for each in waiting) <= JOIN_KEYS:
            settled += await self._judge(source, target)
        if keys := {each.database: each.to_settle for each in waiting if each.to_settle}:
            settled += await settler.settle(keys)
        if keys := {each.database: each.to_copy for each in waiting if each.to_copy}:
            settled += await settler.copy(keys)
        seen = (each.expiring <= len(each.to_settle) and each.copying <= len(each.to_copy) for each in waiting)
        if waiting and all(seen):
            expiries.unsettled = False  # all waiting keys have been looked at
        return settled

    async def _judge(self, source: Client, target: Client) -> int:
        """Drop the doubts if the target has expired nothing, else have those keys copied; return how many drop.

        The keys are looked for at the barrier: some may have become doubtful since the last look.
        """
        expiries = self._flow.expiries
        before = expiries.expired, expiries.doubts
        dropped = 0
        try:
            async with self._barriers.at(source, []) as held:
                info = await target.info()
                now = ExpiredKeys.of(info)
                agrees = expired_nothing(expiries.expired, now)
                sizes: list[Request] = [("SCARD", self._doubtful), ("SCARD", self._copying)]
                counts = await target.in_each(info.keyspace, sizes, "counting doubtful keys")
                parts = []
                for database, replies in counts.items():
                    doubtful, copying = map(number, replies)
                    if doubtful:
                        dropped += doubtful if agrees else 0
                        parts.append(self._verdict(database, agrees=agrees, joins=copying > 0))
                held.apply(*parts)
                # Written with the checkpoint of this very point.
                expiries.expired, expiries.doubts = now, False
        except BaseException:
            expiries.expired, expiries.doubts = before
            raise
        return dropped

    def _verdict(self, database: int, *, agrees: bool, joins: bool) -> CommandRun:
        if agrees:
            requests = [encode("UNLINK", self._doubtful)]
        elif joins:
            requests = [
                encode("SUNIONSTORE", self._copying, self._copying, self._doubtful),
                encode("UNLINK", self._doubtful),
            ]
        else:
            requests = [encode("RENAME", self._doubtful, self._copying)]
        return CommandRun(database, b"".join(requests), len(requests))

    async def _finish(self, source: Client, target: Client, databases: list[int]) -> None:
        """Record that no key waits any longer, at a point where nothing is in flight."""
        expiries = self._flow.expiries
        async with self._barriers.at(source, []):
            info = await target.info("keyspace")
            sizes: list[Request] = [("SCARD", name) for name in (self._expiring, self._copying, self._doubtful)]
            counts = await target.in_each(info.keyspace, sizes, "looking for waiting keys")
            none = not any(number(count) for replies in counts.values() for count in replies)
            remembered = expiries.remembered
        # Only now is it certain that the target waited; after that point expiries may have been deferred again.
        if none and not expiries.lacking and expiries.remembered == remembered:
            expiries.waiting = expiries.doubts = False
            log.info(
                "expiries restored", settled=self._status.expiries.settled, copied=self._status.expiries.copied
            )
