"""The sweep: after a full resync onto earlier data, every key that the snapshot did not bring is removed.

Before the first key of the snapshot, all keys of the target are listed in the target itself. Each key of the snapshot
leaves the list. The remaining keys are removed before the first command of the stream is applied, so that the stream
recreates a key from nothing. The checkpoint records the sweep's progress.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any, Final, NamedTuple

import anyio
import structlog

from shaker.apply.records import stale_key
from shaker.apply.session import TargetSession
from shaker.apply.stale_set import forget_keys, list_keys, remove_keys
from shaker.checks.deletions import check_deletions
from shaker.errors import HeldError, LinkError
from shaker.flow.flow import Flow
from shaker.model.batch import CommandRun
from shaker.model.items import SweepStep
from shaker.model.position import Phase, Sweep
from shaker.model.server_info import ServerInfo
from shaker.net.client import Client, Request, open_client
from shaker.net.first_to_finish import first_to_finish
from shaker.net.reply_types import number, scan_page
from shaker.rules.record_keys import is_record
from shaker.settings.schema import Settings

log = structlog.get_logger("shaker.sweep")

# The target's work at a time, between the requests of its other clients: about so many keys and bytes.
STEP_KEYS: Final = 1000
STEP_BYTES: Final = 256 * 1024
# The first request asks for few keys, whose length is unknown; each later one for up to GROWTH times as many.
FIRST_KEYS: Final = 10
GROWTH: Final = 10


class Round(NamedTuple):
    """The next step, both at the same time: `requests` that read, `parts` that are written in one transaction.

    `keys` is the number of keys in `parts`. The transaction sets the checkpoint's `sweep` (None: unchanged) and the
    number of `listed` keys; `left` is the number of stale keys after it.
    """

    requests: tuple[Request, ...] = ()
    parts: tuple[CommandRun, ...] = ()
    keys: int = 0
    sweep: str | None = None
    left: int = 0
    listed: int = 0

    @property
    def writes(self) -> bool:
        """Whether there is a transaction in it."""
        return bool(self.parts) or self.sweep is not None


# Yields the next step, is sent the replies to its requests, and ends when no work is left.
Rounds = Generator[Round, list[Any], None]


def listing(name: str, databases: list[int]) -> Rounds:
    """List every key of `databases`, except the records of workers."""
    count = FIRST_KEYS
    parts: tuple[CommandRun, ...] = ()
    keys: list[bytes] = []
    total = 0
    for database in databases:
        cursor = b"0"
        while True:
            # The next keys are read while the previous ones are written.
            requests = (("SELECT", database), ("SCAN", cursor, "COUNT", count))
            _, page = yield Round(requests, parts, len(keys))
            cursor, found = scan_page(page)
            keys = [key for key in found if not is_record(key)]
            parts = (list_keys(name, database, keys),) if keys else ()
            total += len(keys)
            count = _count(count, found)
            if cursor == b"0":
                break
    yield Round((), parts, len(keys), sweep=Sweep.LISTED, listed=total)


def removal(name: str, databases: list[int]) -> Rounds:
    """Remove every key of the lists of `databases`."""
    key, count = stale_key(name), FIRST_KEYS
    lengths = yield Round(tuple(request for each in databases for request in (("SELECT", each), ("SCARD", key))))
    left = dict(zip(databases, map(number, lengths[1::2]), strict=True))
    total = sum(left.values())
    for database in databases:
        while left[database]:
            cursor = b"0"
            while True:
                _, page = yield Round((("SELECT", database), ("SSCAN", key, cursor, "COUNT", count)), left=total)
                cursor, keys = scan_page(page)
                if keys:
                    total -= len(keys)
                    yield Round((), (remove_keys(name, database, keys),), len(keys), left=total)
                count = _count(count, keys)
                if cursor == b"0":
                    break
            _, length = yield Round((("SELECT", database), ("SCARD", key)), left=total)
            left[database] = number(length)
    yield Round(sweep="")


def forgetting(name: str, databases: list[int]) -> Rounds:
    """Drop the lists of `databases`: the keys in them stay."""
    yield Round((), tuple(forget_keys(name, database) for database in databases), sweep="")


def _count(count: int, found: list[bytes]) -> int:
    """Return how many keys to ask for next, after asking for `count` returned those `found`."""
    size = sum(map(len, found))
    return max(1, min(STEP_KEYS, count * GROWTH, count * STEP_BYTES // max(size, 1)))


class RemoveStaleKeys:
    """Carries out the sweep that the checkpoint asks for, on one registered connection after the other."""

    name = "sweep"
    quiet = False
    pause_seconds = 0.0

    def __init__(self, settings: Settings, flow: Flow) -> None:
        self._settings = settings
        self._flow = flow
        self._status = flow.status

    async def run(self) -> None:
        """Sweep whenever it is due, until cancelled; after a failure a listing starts over."""
        while True:
            self._status.forget(self.name)  # the wait for a target may be long, and is the target link's to report
            registration = await self._flow.registrations.current()
            # The keys that were read belong to this registration: after its loss nothing of them is written.
            await first_to_finish(partial(self._serve, registration.session), registration.ended.wait)

    async def _serve(self, session: TargetSession) -> None:
        try:
            while True:
                if not session.checkpoint.sweeps_first:
                    self._status.forget(self.name)
                    await self._flow.wakeups.sweep.wait()
                    continue
                try:
                    await self._sweep(session)
                except HeldError as error:
                    await self._wait_held(error)
        except LinkError as error:
            self._status.sweep.error = str(error)
            raise

    async def _check_stale(self, reader: Client, info: ServerInfo, listed: int) -> None:
        """Raise HeldError where more is to be removed than target.max_deletions allows."""
        databases = info.keyspace
        key = stale_key(self._settings.name)
        requests = [request for each in sorted(databases) for request in (("SELECT", each), ("SCARD", key))]
        stale = sum(map(number, (await reader.results(requests, "sweeping"))[1::2]))
        self._status.sweep.stale = stale
        # A checkpoint of an older version has no count: then of all keys, including the snapshot's.
        if not self._flow.target.deletions_allowed:
            check_deletions(
                self._settings,
                removed=stale,
                of=listed or info.keys,
                because="since the snapshot lacks them",
            )
        self._status.sweep.held = ""

    async def _wait_held(self, error: HeldError) -> None:
        """Hold the deletions and with them the stream; outside of follow mode, raise the error."""
        if self._settings.mode != "follow":
            self._status.count_error("target", error.kind)
            raise error
        if self._status.sweep.held != str(error):
            self._status.sweep.held = str(error)
            self._status.count_error("target", error.kind)
            log.warning(
                "deletions held",
                error=error.what,
                hint=error.hint,
                effect="nothing is removed and the stream waits: the source's buffer for this worker grows",
            )
        self._beat(self._settings.retry.access_seconds)
        with anyio.move_on_after(self._settings.retry.access_seconds):
            await self._flow.wakeups.deletions.wait()

    def _beat(self, seconds: float = 0.0) -> None:
        self._status.heartbeat(self.name, within=seconds + self._settings.target.timeout_seconds + 60.0)

    async def _sweep(self, session: TargetSession) -> None:
        self._beat()
        name, checkpoint = self._settings.name, session.checkpoint
        async with open_client(self._settings.target) as reader:
            info = await reader.info_of(self._flow.target.run_id)
            databases = sorted(info.keyspace)
            if self._settings.target.stale_keys == "keep":
                rounds, what = forgetting(name, databases), "lists of stale keys dropped"
            elif checkpoint.phase == Phase.SNAPSHOT:
                self._status.sweep.held = ""  # of the previous snapshot
                rounds, what = listing(name, databases), "keys of the target listed"
            else:
                await self._check_stale(reader, info, checkpoint.listed)
                rounds, what = removal(name, databases), "stale keys removed"
            began = self._status.clock()
            if await self._carry_out(session, reader, checkpoint.phase, rounds):
                status, seconds = self._status, round(self._status.clock() - began, 3)
                log.info(what, listed=status.sweep.listed, deleted=status.sweep.deleted, seconds=seconds)

    async def _carry_out(self, session: TargetSession, reader: Client, phase: Phase, rounds: Rounds) -> bool:
        """Carry out `rounds` of `phase`; return False when another snapshot has begun meanwhile."""
        step = next(rounds)
        while True:
            replies = await self._round(session, reader, phase, step)
            if replies is None:
                return False
            self._beat()
            self._status.sweep.error = ""
            try:
                step = rounds.send(replies)
            except StopIteration:
                return True

    async def _round(self, session: TargetSession, reader: Client, phase: Phase, step: Round) -> list[Any] | None:
        """Read and write; return the replies, or None when the write has become obsolete."""
        ended, outcome = anyio.Event(), [True]
        if step.writes:

            def end(done: bool) -> None:
                outcome[0] = done
                ended.set()

            sweep = session.checkpoint.sweep if step.sweep is None else step.sweep
            listed = session.checkpoint.listed if step.sweep is None else step.listed
            session.sweep(SweepStep(phase, step.parts, sweep, end, listed))
            self._flow.wakeups.work.set()
        else:
            ended.set()
        try:
            replies = await reader.results(list(step.requests), "sweeping") if step.requests else []
        finally:
            await ended.wait()  # the session takes one step at a time
        if not outcome[0]:
            return None
        self._count(phase, step)
        return replies

    def _count(self, phase: Phase, step: Round) -> None:
        status = self._status
        if phase == Phase.SNAPSHOT:
            status.sweep.listed += step.keys
        else:
            status.sweep.deleted += step.keys
            status.sweep.stale = step.left
