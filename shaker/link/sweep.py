"""The sweep: after a full synchronisation onto earlier data, every key that the source does not have goes.

The target is scanned, the source is asked in bulk which keys it has, and those that it lacks are asked for again
and deleted at a barrier: a key that the source writes meanwhile is never deleted. How far it came stands in the
checkpoint, so that a new worker goes on there.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Self

import anyio
import structlog

from shaker.codec.resp import encode
from shaker.config import Settings
from shaker.errors import AccessError, LinkError
from shaker.link.barrier import BarrierError, Barriers
from shaker.link.connection import ReplyError
from shaker.link.reader import Reader, Request, open_reader
from shaker.link.register import keyspace
from shaker.replica.events import Part
from shaker.replica.refusals import refusal
from shaker.replica.session import parse_info
from shaker.replication import Replication
from shaker.transform.commands import RESERVED
from shaker.watch.status import State

log = structlog.get_logger("shaker.sweep")

SCAN_KEYS: Final = 1000  # keys asked for at a time; a barrier holds at most so many
IDLE_SECONDS: Final = 0.5  # between looks whether there is something to sweep
FAILED_SECONDS: Final = 5.0  # before a sweep that failed goes on
# What servers answer to SELECT of a database that they do not have; any other error is a failure.
OUT_OF_RANGE: Final = re.compile("out of range|invalid DB index|not allowed in cluster mode")
# The sweep rests as long as it works: half of what the servers have is for their own work.
REST_SHARE: Final = 1.0


class Place(NamedTuple):
    """How far the sweep is: a cursor of SCAN in a database, given by the run `run_id` of the target."""

    database: int
    cursor: int
    run_id: str

    @classmethod
    def parse(cls, text: str, run_id: str) -> Self:
        """Return the place that a checkpoint tells, for the run `run_id`.

        Another run, or another server, keeps its keys in another order: its cursors mean nothing here.
        """
        database, cursor, given_by = (*text.split(":"), "", "")[:3]
        return cls(int(database), int(cursor) if given_by == run_id else 0, run_id)

    def __str__(self) -> str:
        return f"{self.database}:{self.cursor}:{self.run_id}"


class Sweeper:
    """Removes stale keys whenever the checkpoint says that there may be some."""

    def __init__(self, settings: Settings, replication: Replication, barriers: Barriers) -> None:
        self._settings = settings
        self._replication = replication
        self._status = replication.status
        self._barriers = barriers

    async def run(self) -> None:
        """Sweep until cancelled; a failure is logged and the sweep goes on from where it was.

        Raises AccessError outside of follow mode: nobody is there to grant what is missing.
        """
        while True:
            self._status.beat("sweep", within=120.0)
            if self._replication.window.sweep and self._may_run:
                try:
                    await self._sweep()
                except (LinkError, ReplyError) as error:
                    if isinstance(error, AccessError) and self._settings.mode != "follow":
                        raise
                    self._status.sweep_error = str(error)
                    log.warning("sweep interrupted", at=self._replication.window.sweep, error=str(error))
                    await anyio.sleep(FAILED_SECONDS)
            await anyio.sleep(IDLE_SECONDS)

    @property
    def _may_run(self) -> bool:
        return self._status.state in (State.STREAMING, State.CATCHING_UP) and self._status.lag_seconds < 2.0

    async def _sweep(self) -> None:
        settings, replication, window = self._settings, self._replication, self._replication.window
        begun = window.sweeps
        async with open_reader(settings.source) as source, open_reader(settings.target) as target:
            info = parse_info(await target.call("INFO"))
            asked = parse_info(await source.call("INFO", "server"))
            if info.get("run_id") != replication.target_run_id:
                raise BarrierError("another server answers for the target than the one that is written to")
            if replication.source is None or asked.get("run_id") != replication.source.run_id:
                raise BarrierError("another server answers for the source than the one that streams")
            log.info("sweep begins", at=window.sweep)
            databases = keyspace(info)
            while window.sweep and self._may_run:
                place = Place.parse(window.sweep, replication.target_run_id)
                if place.database not in databases:
                    following = min((number for number in databases if number > place.database), default=None)
                    window.sweep = "" if following is None else str(Place(following, 0, place.run_id))
                    continue
                began = self._status.clock()
                cursor = await self._chunk(source, target, place.database, place.cursor)
                if window.sweeps != begun:
                    return  # set anew meanwhile: by another full synchronisation, a reconnect, a SWAPDB
                window.sweep = str(Place(place.database + (cursor == 0), cursor, place.run_id))
                self._status.sweep_error = ""
                self._status.beat("sweep", within=120.0)
                await anyio.sleep((self._status.clock() - began) * REST_SHARE)
                if window.sweeps != begun:
                    return
        if not window.sweep:
            self._replication.work.set()
            log.info("sweep ends", scanned=self._status.sweep_scanned, deleted=self._status.sweep_deleted)

    async def _chunk(self, source: Reader, target: Reader, database: int, cursor: int) -> int:
        """Sweep one step of the scan; return the cursor of the next one, 0 at the end of the database."""
        _, (reply_cursor, found) = await target.results(
            [("SELECT", database), ("SCAN", cursor, "COUNT", SCAN_KEYS)], "scanning for stale keys"
        )
        keys = [key for key in found if not key.startswith(RESERVED)]
        self._status.sweep_scanned += len(keys)
        try:
            await source.call("SELECT", database)
        except ReplyError as error:
            if not OUT_OF_RANGE.search(str(error)):
                raise refusal("source", str(error), "looking for stale keys") from error
            return 0  # a database that the source does not have never held anything of it
        there = await source.results([("EXISTS", key) for key in keys], "looking for stale keys")
        absent = [key for key, exists in zip(keys, there, strict=True) if exists == 0]
        if absent:
            await self._delete(source, target, database, absent)
        return int(reply_cursor)

    async def _delete(self, source: Reader, target: Reader, database: int, keys: list[bytes]) -> None:
        requests: list[Request] = [("SELECT", database), *(("EXISTS", key) for key in keys)]
        async with self._barriers.at(source, requests) as held:
            gone = [key for key, exists in zip(keys, held.replies[1:], strict=True) if exists == 0]
            if held.replica and gone:
                gone = await self._not_expiring(target, gone, held.source_ms)
            if gone:
                held.apply(Part(database, encode("UNLINK", *gone), 1))
        self._status.sweep_deleted += len(gone)

    async def _not_expiring(self, target: Reader, keys: list[bytes], source_ms: int) -> list[bytes]:
        """Return the keys whose absence on a replica means that they are gone.

        A replica hides a key from its expiry on, before its primary has deleted or renewed it. The stream tells
        which, so such keys are left to it, and so is one that is gone from the target by now (PTTL -2).
        """
        *lives, now = await target.results([*(("PTTL", key) for key in keys), ("TIME",)], "reading expiries")
        target_ms = int(now[0]) * 1000 + int(now[1]) // 1000
        return [
            key
            for key, left in zip(keys, lives, strict=True)
            if left == -1 or (left >= 0 and target_ms + left > source_ms)
        ]
