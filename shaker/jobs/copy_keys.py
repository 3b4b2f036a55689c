"""Gives keys of the target the source's expiry, or copies them whole, at barriers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import structlog

from shaker.apply.records import copying_key, expiring_key, rebuilding_key
from shaker.codec.rdb.field_expiries import deferred
from shaker.codec.resp.replies import encode
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import WorkState
from shaker.jobs.barrier import Barriers, Held
from shaker.jobs.copy_large import Copied, LargeCopier
from shaker.model.batch import CommandRun
from shaker.net.client import Client, Request
from shaker.net.reply_types import blob, number
from shaker.rules.built_values import replaced
from shaker.rules.restore import portable

log = structlog.get_logger("shaker.expiry")

# A value that takes more memory on the source is copied in pieces: one DUMP of it would block the source, and one
# RESTORE the target. A hash of 8 MiB blocks the target for 70 ms.
COPY_BYTES: Final = 8 * 1024 * 1024
# A value that commands cannot make is copied by DUMP and RESTORE up to this size.
WHOLE_BYTES: Final = 16 * 1024 * 1024
# Answers of PTTL and PEXPIRETIME.
NO_EXPIRY: Final = -1
NO_KEY: Final = -2
# A key that has less time left may be gone before its new expiry arrives: it is copied whole.
SOON_MS: Final = 10_000

Keys = Mapping[int, Sequence[bytes]]  # by database


class KeyCopier:
    """Works through one pair of clients. `asking` is the command that asks the source for an expiry."""

    def __init__(
        self,
        flow: Flow,
        barriers: Barriers,
        source: Client,
        target: Client,
        *,
        name: str,
        asking: str,
        fields_expire: bool = False,
        copy_bytes: int = COPY_BYTES,
        heartbeat: Callable[[], None] = lambda: None,
    ) -> None:
        self._copy_bytes = copy_bytes
        self._flow = flow
        self._status = flow.status
        self._barriers = barriers
        self._source = source
        self._target = target
        self._expiring = expiring_key(name)
        self._copying = copying_key(name)
        self._asking = asking
        self._busy: set[tuple[int, bytes]] = set()  # large keys that have been named as busy
        self._large = LargeCopier(
            barriers,
            source,
            flow.watch,
            form=flow.target.form,
            max_bulk=flow.target.max_bulk,
            temporary=rebuilding_key(name),
            asking=asking,
            fields_expire=fields_expire,
            margin=lambda: self._margin,
            heartbeat=heartbeat,
        )

    async def settle(self, keys: Keys) -> int:
        """Give keys the expiry that they have on the source; return how many are settled."""
        requests = [(self._asking, key) for some in keys.values() for key in some]
        async with self._barriers.at(self._source, list(_by_database(keys, requests))) as held:
            found = self._expiries(keys, held)
            there = {d: [k for k in found[d] if found[d][k] != NO_KEY] for d in found}
            # Only a turn leaves keys whose expiry on the target is the earlier one.
            turned = self._flow.source.upstream.turn > 0
            missing = await (self._soon_missing(there) if turned else self._missing(there))
            if held.replica:
                # A replica hides an expired key before its primary deletes or renews it: only the stream shows which.
                hidden = {d: [k for k in found[d] if found[d][k] == NO_KEY] for d in found}
                gone = await self._missing(hidden)
                for database, some in hidden.items():
                    for key in set(some).difference(gone[database]):
                        del found[database][key]
            for database, lost in missing.items():
                for key in lost:
                    del found[database][key]
            held.apply(*(self._true(database, found[database], missing[database]) for database in keys))
        settled = sum(map(len, found.values()))
        self._status.expiries.settled += settled
        return settled

    def _expiries(self, keys: Keys, held: Held) -> dict[int, dict[bytes, int]]:
        """Return the source's absolute expiry of each key, Unix time in milliseconds, NO_EXPIRY or NO_KEY."""
        replies = iter(held.replies)
        found: dict[int, dict[bytes, int]] = {}
        for database, some in keys.items():
            next(replies)  # of SELECT
            found[database] = {key: self._expiry(number(next(replies)), held) for key in some}
        return found

    def _expiry(self, reply: int, held: Held) -> int:
        return held.source_ms + reply if self._asking == "PTTL" and reply >= 0 else reply

    async def _missing(self, keys: Keys) -> dict[int, list[bytes]]:
        """Return the keys that the target lacks; usually none, which one EXISTS for each database shows."""
        doing = "looking for keys at a barrier"
        missing: dict[int, list[bytes]] = {database: [] for database in keys}
        asked = {database: some for database, some in keys.items() if some}
        if not asked:
            return missing
        requests: list[Request] = []
        for database, some in asked.items():
            requests += [("SELECT", database), ("EXISTS", *some)]
        counts = (await self._target.results(requests, doing))[1::2]
        short = {d: some for (d, some), count in zip(asked.items(), counts, strict=True) if count != len(some)}
        if short:
            one_by_one = [("EXISTS", key) for some in short.values() for key in some]
            replies = iter(await self._target.results(list(_by_database(short, one_by_one)), doing))
            for database, some in short.items():
                next(replies)
                missing[database] = [key for key in some if next(replies) == 0]
        return missing

    async def _soon_missing(self, keys: Keys) -> dict[int, list[bytes]]:
        """Return the keys that the target lacks or may expire before a request about them arrives."""
        requests: list[Request] = [("PTTL", key) for some in keys.values() for key in some]
        doing = "asking for expiries at a barrier"
        replies = iter(await self._target.results(list(_by_database(keys, requests)), doing))
        missing: dict[int, list[bytes]] = {}
        for database, some in keys.items():
            next(replies)  # of SELECT
            left = {key: number(next(replies)) for key in some}
            missing[database] = [key for key in some if left[key] == NO_KEY or 0 <= left[key] < SOON_MS]
        return missing

    def _true(self, database: int, found: dict[bytes, int], missing: list[bytes]) -> CommandRun:
        """Return the requests that give keys the source's expiry, and have `missing` ones copied."""
        writes: list[bytes] = []
        gone: list[bytes] = []
        margin = self._margin
        for key, at in found.items():
            if at == NO_KEY:
                gone.append(key)
            elif at == NO_EXPIRY:
                writes.append(encode("PERSIST", key))
            else:
                writes.append(encode("PEXPIREAT", key, at + margin))
        if gone:
            writes.append(encode("UNLINK", *gone))
        if missing:
            writes.append(encode("SADD", self._copying, *missing))
        if found or missing:
            writes.append(encode("SREM", self._expiring, *found, *missing))
        return CommandRun(database, b"".join(writes), len(writes))

    @property
    def _margin(self) -> int:
        """Milliseconds by which an expiry lies later on the target."""
        complete = self._flow.lifecycle.work is not WorkState.COPYING
        return 0 if complete else self._flow.expiry.margin

    async def copy(self, keys: Keys) -> int:
        """Copy keys from the source; return how many are settled."""
        batch, large = await self._fitting(keys)
        settled = await self._copy_batch(batch) if batch else 0
        for database, key, size in large:
            settled += await self._copy_large(database, key, size)
        self._status.expiries.copied += settled
        return settled

    async def _copy_batch(self, batch: Keys) -> int:
        requests = [r for some in batch.values() for key in some for r in (("DUMP", key), (self._asking, key))]
        async with self._barriers.at(self._source, list(_by_database(batch, requests, each=2))) as held:
            replies = iter(held.replies)
            copied: dict[int, dict[bytes, tuple[Any, int]]] = {}
            for database, some in batch.items():
                next(replies)
                copied[database] = {key: (next(replies), self._expiry(number(next(replies)), held)) for key in some}
            hidden = {d: [k for k, (dump, _) in each.items() if dump is None] for d, each in copied.items()}
            if held.replica:
                gone = await self._missing(hidden)
                for database, some in hidden.items():
                    for key in set(some).difference(gone[database]):
                        del copied[database][key]  # the stream brings its fate
            parts = []
            for database, each in copied.items():
                parts.append(self._copies(database, each))
            held.apply(*parts)
        return sum(map(len, copied.values()))

    async def _copy_large(self, database: int, key: bytes, size: int) -> int:
        """Copy a key in pieces; return whether it is settled. A huge one that commands cannot make is only named."""
        done = CommandRun(database, encode("SREM", self._copying, key), 1)
        outcome = await self._large.copy(database, key, size, done)
        if outcome is Copied.OPAQUE:
            if size <= min(WHOLE_BYTES, self._flow.target.max_bulk):
                return await self._copy_batch({database: [key]})
            self._refuse(key, size)
            async with self._barriers.at(self._source, []) as held:
                held.apply(done)
        if outcome is Copied.BUSY and (database, key) not in self._busy:
            self._busy.add((database, key))
            log.warning("large key changes while it is copied", key=_shown(key), bytes=size)
        return int(outcome is not Copied.BUSY)

    def _copies(self, database: int, copied: Mapping[bytes, tuple[Any, int]]) -> CommandRun:
        writes: list[bytes] = []
        margin = self._margin
        for key, (dump, at) in copied.items():
            if dump is None or at == NO_KEY:
                writes.append(encode("UNLINK", key))
                continue
            payload = portable(blob(dump))
            if margin:
                payload = deferred(payload, 0, 0, margin).payload
            expiry = at + margin if at >= 0 else 0
            if len(payload) > self._flow.target.max_bulk:  # MEMORY USAGE is an estimate
                self._refuse(key, len(payload))
            elif self._flow.target.form.taken[payload[-10]]:
                writes.append(encode("RESTORE", key, expiry, payload, "REPLACE", "ABSTTL"))
            else:  # all in one transaction, which readers see as one
                writes += replaced(key, payload, expiry, self._flow.target.form)
        if copied:
            writes.append(encode("SREM", self._copying, *copied))
        return CommandRun(database, b"".join(writes), len(writes))

    async def _fitting(self, keys: Keys) -> tuple[dict[int, list[bytes]], list[tuple[int, bytes, int]]]:
        """Return the keys that fit into one barrier, and those too large for any, with their sizes."""
        asked = [("MEMORY", "USAGE", key) for some in keys.values() for key in some]
        sizes = await self._source.results(list(_by_database(keys, asked)), "asking for the size of values")
        replies = iter(sizes)
        taken = 0
        batch: dict[int, list[bytes]] = {}
        large: list[tuple[int, bytes, int]] = []
        for database, some in keys.items():
            next(replies)
            for key in some:
                reply = next(replies)
                size = 0 if reply is None else number(reply)
                if size > min(self._copy_bytes, self._flow.target.max_bulk):  # it would be one argument of RESTORE
                    large.append((database, key, size))
                elif taken == 0 or taken + size <= self._copy_bytes:
                    taken += size
                    batch.setdefault(database, []).append(key)
        return batch, large

    def _refuse(self, key: bytes, size: int) -> None:
        shown = _shown(key)
        log.error("large key cannot be copied", key=shown, bytes=size)
        self._status.count_error("worker", "expiry")
        self._status.reasons["expired"] = (
            f"a key may differ since it expired before its renewal, and cannot be copied in pieces: {shown}"
        )


def _shown(key: bytes) -> str:
    return key[:128].decode("utf-8", "backslashreplace")


def _by_database(keys: Keys, requests: Sequence[Request], *, each: int = 1) -> Iterable[Request]:
    """Yield `requests`, `each` of them for every key in order, after a SELECT of the keys' database."""
    position = 0
    for database, some in keys.items():
        yield ("SELECT", database)
        yield from requests[position : position + each * len(some)]
        position += each * len(some)
