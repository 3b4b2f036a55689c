"""Compares the function libraries of both servers at one barrier, by name and code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import anyio
import structlog

from shaker.codec.resp.replies import encode
from shaker.compare.values import pairs
from shaker.errors import AccessError
from shaker.jobs.verify_page import DOING, Points, Sides
from shaker.jobs.verify_suspects import DELAYS
from shaker.model.batch import CommandRun
from shaker.model.differences import NO_DATABASE, Difference, Kind
from shaker.net.client import Request, checked
from shaker.net.reply_types import array, blob

log = structlog.get_logger("shaker.verify")

LISTING: Final[Request] = ("FUNCTION", "LIST", "WITHCODE")
REPAIRS: Final = 3  # attempts; functions that moved from one library to another may need two

Libraries = dict[bytes, bytes]  # code by name


class LibrariesOutcome(NamedTuple):
    """Libraries that differ, how many of them were made equal, and how many were compared; None: none could be."""

    differing: list[Difference]
    repaired: int
    compared: int | None


class LibraryComparison:
    """Compares all libraries. `extra_too`: a library that only the target has is a difference."""

    def __init__(
        self,
        points: Points,
        sides: Sides,
        *,
        extra_too: bool,
        repair: bool,
        heartbeat: Callable[[], None] = lambda: None,
        delays: Sequence[float] = DELAYS,
    ) -> None:
        self._points = points
        self._sides = sides
        self._extra_too = extra_too
        self._repair = repair
        self._heartbeat = heartbeat
        self._delays = delays

    async def compare(self) -> LibrariesOutcome:
        """Compare; with `repair`, write the differing ones at the barrier that proves them. Raises LinkError.

        A difference counts when each look finds it. Servers before 7.0 have no functions.
        """
        if not self._sides.exact:
            return LibrariesOutcome([], 0, None)
        try:
            differing, compared = await self._look(repair=False)
            for delay in self._delays:
                if not differing:
                    break
                differing = await self._again(delay, differing, repair=False)
            proven = len(differing)
            for _ in range(REPAIRS if self._repair else 0):
                if not differing:
                    break
                await self._again(self._delays[0], differing, repair=True)
                differing = await self._again(self._delays[-1], differing, repair=False)
        except AccessError as error:
            log.warning("function libraries are not compared", error=error.what, hint=error.hint)
            return LibrariesOutcome([], 0, None)
        return LibrariesOutcome(differing, proven - len(differing), compared)

    async def _again(self, delay: float, differing: list[Difference], *, repair: bool) -> list[Difference]:
        """Return those of `differing` that still differ after `delay` seconds."""
        self._heartbeat()
        await anyio.sleep(delay)
        found, _ = await self._look(repair=repair)
        names = {each.key for each in differing}
        return [each for each in found if each.key in names]

    async def _look(self, *, repair: bool) -> tuple[list[Difference], int]:
        async with self._points.at(self._sides.source, [LISTING]) as held:
            (theirs,) = await self._sides.target.results([LISTING], DOING)
            mine, others = _libraries(checked("source", held.replies, DOING)[0]), _libraries(theirs)
            differing = [
                Difference(NO_DATABASE, name, Kind.FUNCTION, detail)
                for name in sorted(mine.keys() | others.keys())
                if (detail := self._detail(mine.get(name), others.get(name)))
            ]
            if repair and differing:
                held.apply(*(_mended(each.key, mine.get(each.key)) for each in _deletions_first(differing, mine)))
        return differing, len(mine.keys() | others.keys())

    def _detail(self, mine: bytes | None, theirs: bytes | None) -> str:
        if mine == theirs or (mine is None and not self._extra_too):
            return ""
        if mine is None:
            return "only on the target"
        return "not on the target" if theirs is None else "the code differs"


def _libraries(reply: Any) -> Libraries:
    found = (pairs(array(library)) for library in array(reply))
    return {blob(each[b"library_name"]): blob(each[b"library_code"]) for each in found}


def _deletions_first(differing: list[Difference], mine: Libraries) -> list[Difference]:
    """Return the deletions first: a function that moved to another library can only be loaded there afterwards."""
    return sorted(differing, key=lambda each: each.key in mine)


def _mended(name: bytes, code: bytes | None) -> CommandRun:
    """Return the request that makes a library on the target that of the source.

    It is labelled: one that the target refuses counts as a rejected command of the stream.
    """
    request = encode("FUNCTION", "DELETE", name) if code is None else encode("FUNCTION", "LOAD", "REPLACE", code)
    return CommandRun(0, request, 1, label=(b"FUNCTION", None))
