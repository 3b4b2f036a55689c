"""Compares a page of keys at one barrier: the source's DUMPs and expiries beside the target's at the same offset."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple, Protocol

from shaker.compare.copies import NO_EXPIRY, Copy, Tolerance, compare, compare_types
from shaker.model.batch import CommandRun
from shaker.model.differences import Difference
from shaker.model.refusals import refusal
from shaker.model.server_info import ServerInfo
from shaker.net.client import Asked, Client, Request, each
from shaker.net.connection import ReplyError
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

    replies: list[Any]
    source_ms: int

    def apply(self, *parts: CommandRun) -> None:
        """Have commands applied on the target at this point."""


class Points(Protocol):
    """Makes such points, as `Barriers` does."""

    def at(self, source: Client, requests: Sequence[Asked]) -> AbstractAsyncContextManager[Point]:
        """Read `requests` on the source and hold the target at the same offset for the block's time."""


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
        waiting: tuple[str, ...] = (),
    ) -> None:
        """Compare through `sides`; `points` make the moments at which both servers are at one offset.

        `waiting` are sets of keys, in each database of the target, that another job is about to correct.
        """
        self._points = points
        self._sides = sides
        self._tolerance = tolerance
        self.keys_only = keys_only
        self._waiting = waiting
        self._differ = compare_types if keys_only else compare

    async def compare(
        self, database: int, keys: Sequence[bytes], *, settle: Settle = lambda differing: None
    ) -> Outcome:
        """Compare `keys` at one barrier; the commands that `settle` returns for the differences are applied there.

        Raises BarrierError and LinkError: nothing is known of the keys then.
        """
        sides = self._sides
        asked = "TYPE" if self.keys_only else "DUMP"
        expiry = "PEXPIRETIME" if sides.exact else "PTTL"
        requests: list[Asked] = [("SELECT", database), each([(asked,), (expiry,)], keys)]
        began = 0.0
        async with self._points.at(sides.source, requests) as held:
            began = time.perf_counter()
            theirs = await sides.target.results([*requests, ("TIME",)], DOING)
            clocks = held.source_ms, milliseconds(theirs.pop())
            suspects, taken = self._suspects(database, keys, checked("source", held.replies), theirs, clocks)
            pending = await self.pending(database, [each.key for each in suspects])
            differing = [each for each in suspects if each.key not in pending]
            if (part := settle(differing)) is not None:
                held.apply(part)
            held_seconds = time.perf_counter() - began
        return Outcome(differing, sorted(pending), taken, held_seconds)

    def _suspects(
        self, database: int, keys: Sequence[bytes], mine: list[Any], theirs: list[Any], clocks: tuple[int, int]
    ) -> tuple[list[Difference], int]:
        """Return what differs by the replies of both sides, and the bytes of the source's values."""
        tolerance, exact = self._tolerance(), self._sides.exact
        suspects = []
        taken = 0
        for index, key in enumerate(keys, 1):
            value, expiry = mine[2 * index - 1], mine[2 * index]
            their_value, their_expiry = theirs[2 * index - 1], theirs[2 * index]
            # Nearly all keys are equal to the byte. A time to live is none to compare by itself.
            if value == their_value and expiry == their_expiry and (exact or expiry == NO_EXPIRY):
                taken += len(value or b"")
                continue
            source = self._copy(value, expiry, clocks[0])
            target = self._copy(their_value, their_expiry, clocks[1])
            taken += len(source.payload or b"")
            found = self._differ(source, target, tolerance)
            if found is not None and not self._expired(source, target, clocks[0]):
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


def milliseconds(reply: Any) -> int:
    """Return the Unix time in milliseconds of a reply to TIME."""
    seconds, microseconds = (number(each) for each in reply)
    return seconds * 1000 + microseconds // 1000


def checked(side: str, replies: list[Any]) -> list[Any]:
    """Return `replies`; raises what an error reply among them means."""
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise refusal(side, str(reply), DOING) from reply
    return replies


def sides_of(source: Client, target: Client, infos: Sequence[ServerInfo]) -> Sides:
    """Return the two clients, with what both servers can do by their INFO."""
    return Sides(source, target, exact=all(info.release >= (7, 0) for info in infos))


def fields_expire(infos: Sequence[ServerInfo]) -> bool:
    """Return whether hash fields can have an expiry on all of these servers: Redis 7.4, Valkey 9."""
    return all(
        int(info.version.partition(".")[0] or 0) >= 9 if info.is_valkey else info.release >= (7, 4)
        for info in infos
    )


def tolerance(sides: Sides, *, later_seconds: float) -> Tolerance:
    """Return how far expiries may differ, for a margin of `later_seconds`."""
    inexact = 0 if sides.exact else INEXACT_MS
    return Tolerance(later=int(later_seconds * 1000) + inexact, earlier=inexact)
