"""Compares a large value in pieces: read on both sides while the stream is watched for commands on its key.

Between two barriers without such a command the value is the same at every moment, so no barrier is needed for each
piece, and nothing is held. The watch begins before the first barrier: commands after its offset may be received before
the target reaches it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple, Protocol

import anyio

from shaker.compare.copies import Tolerance, compare_expiries
from shaker.compare.values import CHECKS, Subject, opaque
from shaker.errors import ServerBusyError
from shaker.jobs.verify_page import DOING, Points, Settle, Sides
from shaker.model.differences import Difference, Kind
from shaker.net.client import Client, Request
from shaker.net.reply_types import blob, milliseconds, number

TRIES: Final = 3
BUSY: Final = "changed while it was compared, three times in a row"
TRY_AGAIN_SECONDS: Final = 1.0


class LargeOutcome(NamedTuple):
    """A difference, or why the value could not be compared; neither when it is equal."""

    bytes: int
    difference: Difference | None = None
    busy: str = ""


class Watch(Protocol):
    """Whether a command of the stream may have changed the key."""

    touched: bool


class LargeComparison:
    """Compares one key after the other. `watch` watches the stream for a key; `fields_expire`: hash fields can.

    `heartbeat` is called after each piece.
    """

    def __init__(
        self,
        points: Points,
        sides: Sides,
        tolerance: Callable[[], Tolerance],
        watch: Callable[[bytes], AbstractContextManager[Watch]],
        *,
        fields_expire: bool,
        heartbeat: Callable[[], None] = lambda: None,
        try_again_seconds: float = TRY_AGAIN_SECONDS,
    ) -> None:
        self._points = points
        self._sides = sides
        self._tolerance = tolerance
        self._watch = watch
        self._fields_expire = fields_expire
        self._heartbeat = heartbeat
        self._try_again_seconds = try_again_seconds

    async def compare(self, database: int, key: bytes, *, settle: Settle = lambda differing: None) -> LargeOutcome:
        """Compare a key; at the second barrier, apply the commands of `settle` for its difference, if it has one.

        Raises LinkError.
        """
        size = 0
        for attempt in range(TRIES):
            with self._watch(key) as watch:
                async with self._points.at(self._sides.source, []):
                    pass
                found, refused = None, None
                try:
                    size, found = await self._look(database, key, watch)
                except ServerBusyError as error:  # such as WRONGTYPE, where the key became another one meanwhile
                    refused = error
                # Commands that the source ran meanwhile are seen at the latest before this.
                async with self._points.at(self._sides.source, []) as held:
                    if refused is None and not watch.touched:
                        part = settle([] if found is None else [found])
                        if part is not None:
                            held.apply(part)
                if not watch.touched:
                    if refused is not None:
                        raise refused
                    return LargeOutcome(size, found)
            if attempt + 1 < TRIES:
                await anyio.sleep(self._try_again_seconds)
        return LargeOutcome(size, busy=BUSY)

    async def _look(self, database: int, key: bytes, watch: Watch) -> tuple[int, Difference | None]:
        select: Request = ("SELECT", database)
        asked: list[Request] = [select, ("TYPE", key), ("MEMORY", "USAGE", key)]
        mine = await self._sides.source.results(asked, DOING)
        theirs = await self._sides.target.results(asked, DOING)
        size = number(mine[2]) if mine[2] is not None else 0
        kinds = blob(mine[1]), blob(theirs[1])
        if kinds[0] != kinds[1]:
            if kinds[0] == b"none" and await self._expired(database, key):
                return size, None
            if b"none" in kinds:
                kind = Kind.EXTRA if kinds[0] == b"none" else Kind.MISSING
                return size, Difference(database, key, kind, "")
            detail = f"{kinds[0].decode()} on the source, {kinds[1].decode()} on the target"
            return size, Difference(database, key, Kind.TYPE, detail)
        if kinds[0] == b"none":
            return size, None
        subject = Subject(key, max(size, 1), self._fields_expire, self._tolerance().later)
        check = CHECKS.get(kinds[0], opaque)(subject)
        try:
            question = next(check)
            while not watch.touched:
                answers: list[list[Any]] = []
                for side, requests in zip((self._sides.source, self._sides.target), question, strict=True):
                    replies = await side.results([select, *requests], DOING) if requests else [None]
                    answers.append(replies[1:])
                self._heartbeat()
                question = check.send((answers[0], answers[1]))
        except StopIteration as stop:
            if not stop.value:
                return size, Difference(database, key, Kind.VALUE, "the values differ")
            return size, await self._expiry(database, key)
        return size, None  # touched: the comparison starts again

    async def _expiry(self, database: int, key: bytes) -> Difference | None:
        mine, _ = await self._expires(self._sides.source, database, key)
        theirs, _ = await self._expires(self._sides.target, database, key)
        differs = compare_expiries(mine, theirs, self._tolerance())
        return None if differs is None else Difference(database, key, *differs)

    async def _expired(self, database: int, key: bytes) -> bool:
        """Whether the source no longer shows a key that has expired there; its deletion is still to come."""
        _, now = await self._expires(self._sides.source, database, key)
        theirs, _ = await self._expires(self._sides.target, database, key)
        return 0 <= theirs <= now + self._tolerance().later

    async def _expires(self, side: Client, database: int, key: bytes) -> tuple[int, int]:
        """Return a key's expiry on one side, below 0 for none, and the clock of that side; Unix milliseconds."""
        exact = self._sides.exact
        _, expiry, now = await side.results(
            [("SELECT", database), ("PEXPIRETIME" if exact else "PTTL", key), ("TIME",)], DOING
        )
        at, clock = number(expiry), milliseconds(now)
        return at if at < 0 or exact else at + clock, clock
