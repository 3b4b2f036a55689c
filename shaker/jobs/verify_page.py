"""Compares a page of keys at one barrier: the source's DUMPs and expiries beside the target's at the same offset."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple, Protocol

from shaker.compare.copies import NO_EXPIRY, Copy, Tolerance, compare, compare_types
from shaker.model.batch import CommandRun
from shaker.model.differences import Difference
from shaker.model.server_info import ServerInfo
from shaker.net.client import Asked, Client, RawReplies, Request, checked, each
from shaker.net.reply_types import blob, number

DOING: Final = "verifying"
# Before Redis 7.0 there is only PTTL: the time between it and TIME adds to the expiry.
INEXACT_MS: Final = 100


class Sides(NamedTuple):
    """Clients of both servers; `exact`: both have PEXPIRETIME (Redis 7.0)."""

    source: Client
    target: Client
    exact: bool


class Outcome(NamedTuple):
    """Findings of one barrier. `pending` keys wait for another job; `held_seconds` is how long the stream was held."""

    differing: list[Difference]
    pending: list[bytes]
    bytes: int
    held_seconds: float


class Point(Protocol):
    """Both servers at one offset, as `Held` of a barrier is."""

    raw: RawReplies
    beside: tuple[RawReplies, int] | None
    source_ms: int
    since: float

    @property
    def replies(self) -> list[Any]:
        """The values of `raw`."""

    def apply(self, *parts: CommandRun) -> None:
        """Have commands applied on the target at this point."""


class Points(Protocol):
    """Makes such points, as `Barriers` does."""

    def at(
        self, source: Client, requests: Sequence[Asked], *, beside: Client | None = None
    ) -> AbstractAsyncContextManager[Point]:
        """Read `requests` on the source, and on the target by `beside`, which is at the same offset meanwhile."""


Settle = Callable[[list[Difference]], CommandRun | None]


class PageComparison:
    """Compares keys of one database at one point."""

    def __init__(
        self,
        points: Points,
        sides: Sides,
        tolerance: Callable[[], Tolerance],
        *,
        keys_only: bool = False,
        expiries: bool = True,
        waiting: tuple[str, ...] = (),
    ) -> None:
        """Compare through `sides`; `points` make the moments at which both servers are at one offset.

        `expiries` is False where no key has one on either server, so that nobody has to ask for them. `waiting` are
        sets of keys, in each database of the target, that another job is about to correct.
        """
        self._points = points
        self._sides = sides
        self._tolerance = tolerance
        self.keys_only = keys_only
        self._expiries = expiries
        self._waiting = waiting
        self._differ = compare_types if keys_only else compare

    async def compare(
        self, database: int, keys: Sequence[bytes], *, settle: Settle = lambda differing: None
    ) -> Outcome:
        """Compare `keys` at one barrier; the commands that `settle` returns for the differences are applied there.

        Raises BarrierError and LinkError: nothing is known of the keys then.
        """
        sides = self._sides
        wanted: list[Request] = [("TYPE",) if self.keys_only else ("DUMP",)]
        if self._expiries:
            wanted.append(("PEXPIRETIME",) if sides.exact else ("PTTL",))
        requests: list[Asked] = [("SELECT", database), each(wanted, keys)]
        async with self._points.at(sides.source, requests, beside=sides.target) as held:
            assert held.beside is not None
            theirs, target_ms = held.beside
            suspects, taken = self._suspects(database, keys, held.raw, theirs, (held.source_ms, target_ms))
            pending = await self.pending(database, [each.key for each in suspects])
            differing = [each for each in suspects if each.key not in pending]
            if (part := settle(differing)) is not None:
                held.apply(part)
            held_seconds = time.perf_counter() - held.since
        return Outcome(differing, sorted(pending), taken, held_seconds)

    def _suspects(
        self, database: int, keys: Sequence[bytes], source: RawReplies, target: RawReplies, clocks: tuple[int, int]
    ) -> tuple[list[Difference], int]:
        """Return what differs by the replies of both sides, and the bytes of the source's values."""
        exact = self._sides.exact or not self._expiries
        # Nearly all pages are equal to the byte. Errors and times to live are not proven equal by being so.
        if exact and source.data == target.data:
            measured = source.measured
            if not measured.refused:
                return [], measured.string_bytes
        mine, theirs = checked("source", source.values, DOING), checked("target", target.values, DOING)
        tolerance = self._tolerance()
        suspects = []
        taken = 0
        step = 2 if self._expiries else 1
        for index, key in enumerate(keys):
            begin, end = step * index + 1, step * index + step
            value, their_value = mine[begin], theirs[begin]
            expiry, their_expiry = (mine[end], theirs[end]) if self._expiries else (NO_EXPIRY, NO_EXPIRY)
            # Nearly all keys are equal to the byte. A time to live is none to compare by itself.
            if value == their_value and expiry == their_expiry and (exact or expiry == NO_EXPIRY):
                taken += len(value or b"")
                continue
            one = self._copy(value, expiry, clocks[0])
            other = self._copy(their_value, their_expiry, clocks[1])
            taken += len(one.payload or b"")
            found = self._differ(one, other, tolerance)
            if found is not None and not self._expired(one, other, clocks[0]):
                suspects.append(Difference(database, key, *found))
        return suspects, taken

    def _copy(self, value: Any, expiry: Any, now_ms: int) -> Copy:
        """Return the key as replies describe it. The name of a TYPE reply takes the place of the payload."""
        at = number(expiry)
        at = max(at, NO_EXPIRY) if at < 0 or self._sides.exact else now_ms + at
        if value is None or (self.keys_only and value == b"none"):
            return Copy(None)
        return Copy(blob(value), at)

    def _expired(self, source: Copy, target: Copy, source_ms: int) -> bool:
        """Whether the source no longer shows a key that has expired there; its deletion is still to come."""
        later = self._tolerance().later
        return source.payload is None and 0 <= target.expiry <= source_ms + later

    async def pending(self, database: int, keys: list[bytes]) -> set[bytes]:
        """Return those of `keys` that another job is about to copy, or to give their expiry."""
        if not keys or not self._waiting:
            return set()
        requests: list[Request] = [("SELECT", database)]
        requests += [("SISMEMBER", waiting, key) for key in keys for waiting in self._waiting]
        _, *found = await self._sides.target.results(requests, DOING)
        step = len(self._waiting)
        return {key for index, key in enumerate(keys) if any(found[index * step : (index + 1) * step])}


def sides_of(source: Client, target: Client, infos: Sequence[ServerInfo]) -> Sides:
    """Return the two clients, with what both servers can do by their INFO."""
    return Sides(source, target, exact=all(info.release >= (7, 0) for info in infos))


def fields_expire(infos: Sequence[ServerInfo]) -> bool:
    """Return whether hash fields can have an expiry on all of these servers: Redis 7.4, Valkey 9."""
    return all(info.valkey_release >= (9, 0) if info.is_valkey else info.release >= (7, 4) for info in infos)


def tolerance(sides: Sides, *, later: int) -> Tolerance:
    """Return how far expiries may differ, for a margin of `later` milliseconds."""
    inexact = 0 if sides.exact else INEXACT_MS
    return Tolerance(later=later + inexact, earlier=inexact)
