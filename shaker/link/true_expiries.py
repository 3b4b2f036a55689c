"""Gives keys whose expiry was put off the source's true one, at barriers, once the stream has caught up.

The source is the only one to know: whatever became of a key since, what it says of the key at a point of the stream
is true on the target there. A key that the target has lost all the same is copied from the source.
"""

from __future__ import annotations

from typing import Final

import anyio
import structlog

from shaker.codec.resp import encode
from shaker.config import Settings
from shaker.errors import AccessError, LinkError
from shaker.link.barrier import BarrierError, Barriers, Held
from shaker.link.connection import ReplyError
from shaker.link.reader import Reader, Request, open_reader
from shaker.link.register import keyspace
from shaker.link.replies import array, blob, number
from shaker.replica.events import Part
from shaker.replica.session import parse_info
from shaker.replication import Replication
from shaker.target.records import copying_key, expiring_key
from shaker.transform.restore import portable
from shaker.watch.status import State

log = structlog.get_logger("shaker.expiry")

KEYS: Final = 500  # that a barrier holds at most
POLL_SECONDS: Final = 0.1  # between looks for keys to be settled
FAILED_SECONDS: Final = 1.0  # before going on after a failure
# A value that takes more memory on the source is not copied: reading it would hold up the source.
COPY_BYTES: Final = 16 * 1024 * 1024
# Answers of PTTL and PEXPIRETIME.
NO_EXPIRY: Final = -1
NO_KEY: Final = -2


class TrueExpiries:
    """Works whenever keys wait for their true expiry and the stream is close behind the source."""

    def __init__(self, settings: Settings, replication: Replication, barriers: Barriers) -> None:
        self._settings = settings
        self._replication = replication
        self._status = replication.status
        self._barriers = barriers
        self._expiring = expiring_key(settings.name)
        self._copying = copying_key(settings.name)
        self._asking = "PTTL"  # what the source is asked for an expiry

    async def run(self) -> None:
        """Work until cancelled; a failure is logged and the work goes on.

        Raises AccessError outside of follow mode: nobody is there to grant what is missing.
        """
        while True:
            self._status.beat("expiries", within=120.0)
            if self._may_run:
                try:
                    await self._work()
                except (LinkError, ReplyError) as error:
                    if isinstance(error, AccessError) and self._settings.mode != "follow":
                        raise
                    log.warning("true expiries interrupted", error=str(error))
                    if isinstance(error, AccessError):
                        self._status.reasons["expiries"] = f"keys wait for their true expiry: {error}"
                    await anyio.sleep(FAILED_SECONDS)
            await anyio.sleep(POLL_SECONDS)

    @property
    def _may_run(self) -> bool:
        replication = self._replication
        return (
            replication.expiries.waiting
            and not replication.sweep
            and self._status.state in (State.STREAMING, State.CATCHING_UP)
            and not replication.behind
        )

    async def _work(self) -> None:
        settings, replication = self._settings, self._replication
        async with open_reader(settings.source) as source, open_reader(settings.target) as target:
            asked = parse_info(blob(await source.call("INFO", "server")))
            major = asked.get("redis_version", "").partition(".")[0]
            # PTTL loses the time that lies between it and TIME; the other came with Redis 7.0.
            self._asking = "PEXPIRETIME" if major.isdigit() and int(major) >= 7 else "PTTL"
            while self._may_run:
                info = parse_info(blob(await target.call("INFO")))
                if info.get("run_id") != replication.target_run_id:
                    raise BarrierError("another server answers for the target than the one that is written to")
                waiting, settled = await self._round(source, target, list(keyspace(info)))
                self._status.expiries_waiting = waiting
                self._status.reasons.pop("expiries", None)
                if not waiting:
                    await self._finish(source, target)
                self._status.beat("expiries", within=120.0)
                await anyio.sleep(0 if settled else POLL_SECONDS)

    async def _round(self, source: Reader, target: Reader, databases: list[int]) -> tuple[int, int]:
        """Settle some keys of each database; return how many wait yet, and how many were settled."""
        waiting = settled = most = 0
        for database in databases:
            for name, settle in ((self._expiring, self._settle), (self._copying, self._copy)):
                requests: list[Request] = [("SELECT", database), ("SCARD", name), ("SRANDMEMBER", name, KEYS)]
                _, count, found = await target.results(requests, "looking for keys to be settled")
                waiting += number(count)
                most = max(most, number(count))
                if found:
                    settled += await settle(source, target, database, list(map(blob, array(found))))
        if most <= KEYS:
            self._replication.expiries.unsettled = False  # all that waited has been looked at
        return waiting - settled, settled

    async def _settle(self, source: Reader, target: Reader, database: int, keys: list[bytes]) -> int:
        """Give keys the expiry that the source has for them; return how many are settled."""
        requests: list[Request] = [("SELECT", database), *((self._asking, key) for key in keys)]
        async with self._barriers.at(source, requests) as held:
            found = {
                key: self._expiry(number(reply), held) for key, reply in zip(keys, held.replies[1:], strict=True)
            }
            missing = await self._missing(target, database, [key for key in keys if found[key] != NO_KEY])
            # A replica hides a key from its expiry on, before its primary deletes or renews it: the stream tells.
            hidden = [key for key in keys if found[key] == NO_KEY] if held.replica else []
            gone = await self._missing(target, database, hidden)
            for key in (*missing, *(key for key in hidden if key not in gone)):
                del found[key]
            held.apply(self._true(database, found, missing, held))
        self._status.expiries_settled += len(found)
        return len(found)

    async def _missing(self, target: Reader, database: int, keys: list[bytes]) -> list[bytes]:
        """Return those of `keys` that the target does not have; mostly none, which one answer tells."""
        if not keys:
            return []
        doing = "looking for keys at a barrier"
        _, there = await target.results([("SELECT", database), ("EXISTS", *keys)], doing)
        if there == len(keys):
            return []
        each = await target.results([("EXISTS", key) for key in keys], doing)
        return [key for key, exists in zip(keys, each, strict=True) if exists == 0]

    def _true(self, database: int, found: dict[bytes, int], missing: list[bytes], held: Held) -> Part:
        """Return what makes the target say of keys what the source says; those that it lacks are to be copied."""
        writes: list[bytes] = []
        gone: list[bytes] = []
        for key, at in found.items():
            if at == NO_KEY:
                gone.append(key)
            elif at == NO_EXPIRY:
                writes.append(encode("PERSIST", key))
            else:
                writes.append(encode("PEXPIREAT", key, self._safe(at, held)))
        if gone:
            writes.append(encode("UNLINK", *gone))
        if missing:
            writes.append(encode("SADD", self._copying, *missing))
        if found or missing:
            writes.append(encode("SREM", self._expiring, *found, *missing))
        return Part(database, b"".join(writes), len(writes))

    async def _copy(self, source: Reader, target: Reader, database: int, keys: list[bytes]) -> int:
        """Copy keys from the source; return how many are settled."""
        sizes = await source.results(
            [("SELECT", database), *(("MEMORY", "USAGE", key) for key in keys)], "asking for the size of values"
        )
        taken = 0
        batch: list[bytes] = []
        too_large: list[bytes] = []
        for key, reply in zip(keys, sizes[1:], strict=True):
            size = 0 if reply is None else number(reply)
            if size > COPY_BYTES:
                log.error("key too large to copy", key=key[:128].decode("utf-8", "backslashreplace"), bytes=size)
                self._status.count_error("worker", "expiry")
                self._status.reasons["expired"] = (
                    "a key may differ since its expiry came before its renewal, and is too large to be copied: "
                    f"{key[:128].decode('utf-8', 'backslashreplace')}"
                )
                too_large.append(key)
                continue
            if batch and taken + size > COPY_BYTES:
                break  # the others are due in the next round
            taken += size
            batch.append(key)
        requests: list[Request] = [("SELECT", database)]
        for key in batch:
            requests += [("DUMP", key), (self._asking, key)]
        async with self._barriers.at(source, requests) as held:
            hidden = [key for key, payload in zip(batch, held.replies[1::2], strict=True) if payload is None]
            gone = await self._missing(target, database, hidden if held.replica else [])
            settled = too_large
            writes: list[bytes] = []
            for key, payload, reply in zip(batch, held.replies[1::2], held.replies[2::2], strict=True):
                at = self._expiry(number(reply), held)
                if payload is not None and at != NO_KEY:
                    expiry = self._safe(at, held) if at >= 0 else 0
                    writes.append(encode("RESTORE", key, expiry, portable(blob(payload)), "REPLACE", "ABSTTL"))
                elif held.replica and key not in gone:
                    continue  # left to the stream
                else:
                    writes.append(encode("UNLINK", key))
                settled.append(key)
            if settled:
                writes.append(encode("SREM", self._copying, *settled))
            held.apply(Part(database, b"".join(writes), len(writes)))
        self._status.expiries_copied += len(settled)
        return len(settled)

    def _safe(self, at: int, held: Held) -> int:
        """Return an expiry as the target may have it: one that is too near has a little added."""
        near = held.source_ms + int(self._replication.safe_seconds * 1000)
        return at if at >= near or self._replication.settling else at + int(self._replication.safe_seconds * 1000)

    async def _finish(self, source: Reader, target: Reader) -> None:
        """Note that no key waits any more, at a point where nothing is on its way."""
        expiries = self._replication.expiries
        async with self._barriers.at(source, []):
            info = parse_info(blob(await target.call("INFO", "keyspace")))
            requests: list[Request] = []
            for database in keyspace(info):
                requests += [("SELECT", database), ("SCARD", self._expiring), ("SCARD", self._copying)]
            counts = await target.results(requests, "looking for keys to be settled")
            none, remembered = not any(count for count in counts if isinstance(count, int)), expiries.remembered
        # Only now it is certain that the target was held; behind that point keys may have been put off again.
        if none and not expiries.lacking and expiries.remembered == remembered:
            expiries.waiting = False
            log.info(
                "expiries are true", settled=self._status.expiries_settled, copied=self._status.expiries_copied
            )

    def _expiry(self, reply: int, held: Held) -> int:
        """Return an absolute expiry, Unix time in milliseconds, NO_EXPIRY or NO_KEY."""
        return held.source_ms + reply if self._asking == "PTTL" and reply >= 0 else reply
