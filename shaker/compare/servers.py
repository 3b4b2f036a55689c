"""Comparison of two servers without writers, key by key in both directions, in chunks of bounded size.

Values are compared by what they mean, not by their bytes: encodings, versions and the order of sets and hashes do
not count. No value is kept or shown.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import StrEnum

import redis.asyncio

from shaker.compare.reading import Database, databases
from shaker.compare.values import CHECKS, Answer, Check, Subject, opaque

CHUNK = 500  # keys compared at once: with the largest of small values 32 MiB on each side
EXPIRY_TOLERANCE = 50  # milliseconds; only for servers older than 7.0, which do not give the time of an expiry
# Milliseconds: a differing key that expires this soon, after the margin, is read again before it counts.
EXPIRING = 3000
AGAIN = 200  # milliseconds between two reads


class Kind(StrEnum):
    """The kinds of difference of a key."""

    MISSING = "missing"  # on the target
    EXTRA = "extra"  # only on the target
    TYPE = "type"
    VALUE = "value"
    EXPIRY = "expiry"


@dataclass(frozen=True, slots=True)
class Difference:
    """One key that differs; `expires` is the earlier expiry of the two sides in Unix milliseconds, or below 0."""

    database: int
    key: bytes
    kind: Kind
    expires: int = -1


@dataclass(slots=True)
class Comparison:
    """The outcome: counts of keys, and the first differences as examples. Holds keys, never values."""

    compared: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    libraries_differ: bool = False
    examples: list[Difference] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether no difference was found."""
        return not (self.missing or self.extra or self.different or self.libraries_differ)

    def count(self, difference: Difference, *, examples: int) -> None:
        """Count one difference and keep it if fewer than `examples` are kept."""
        match difference.kind:
            case Kind.MISSING:
                self.missing += 1
            case Kind.EXTRA:
                self.extra += 1
            case _:
                self.different += 1
        if len(self.examples) < examples:
            self.examples.append(difference)


async def compare(
    source: redis.asyncio.Redis,
    target: redis.asyncio.Redis,
    *,
    later_ms: int = 0,
    examples: int = 10,
    chunk: int = CHUNK,
    progress: Callable[[int], None] | None = None,
) -> Comparison:
    """Compare all databases of two servers that have no writers.

    Records of workers are left out. Keys, types, values, expiries, stream groups with pending entries, expiries
    of hash fields and libraries of functions are compared; an expiry may lie up to `later_ms` milliseconds later on
    the target. `progress` receives the number of compared keys.
    Raises LinkError where a server does not answer.
    """
    outcome = Comparison()
    for number in sorted(await databases(source) | await databases(target)):
        async with AsyncExitStack() as stack:
            pair = _Pair(
                await stack.enter_async_context(Database(source, number)),
                await stack.enter_async_context(Database(target, number)),
                later_ms,
            )
            async for keys in pair.source.keys(chunk):
                for start in range(0, len(keys), chunk):  # SCAN may return more than COUNT
                    for difference in await pair.differing(keys[start : start + chunk]):
                        outcome.count(difference, examples=examples)
                outcome.compared += len(keys)
                if progress is not None:
                    progress(outcome.compared)
            async for keys in pair.target.keys(chunk):
                for difference in await pair.differing(await pair.absent(keys)):
                    outcome.count(difference, examples=examples)
    async with Database(source, 0) as one, Database(target, 0) as other:
        outcome.libraries_differ = await _libraries(one) != await _libraries(other)
    return outcome


async def _libraries(database: Database) -> list[tuple[bytes, bytes]]:
    if not database.has_functions:
        return []
    (libraries,) = await database.ask([("FUNCTION", "LIST", "WITHCODE")])
    return sorted((library[1], library[-1]) for library in libraries)


class _Pair:
    """One database of both sides."""

    def __init__(self, source: Database, target: Database, later_ms: int) -> None:
        self.source = source
        self.target = target
        self._later = later_ms
        self._tolerance = 0 if source.expires_exactly and target.expires_exactly else EXPIRY_TOLERANCE
        self._fields = source.expires_fields and target.expires_fields

    async def absent(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return those of `keys` that the source does not have."""
        if (await self.source.ask([("EXISTS", *keys)]))[0] == len(keys):
            return []
        there = await self.source.ask([("EXISTS", key) for key in keys])
        return [key for key, exists in zip(keys, there, strict=True) if not exists]

    async def differing(self, keys: Sequence[bytes]) -> list[Difference]:
        """Return the differences among `keys`, which are read twice: a key that expires meanwhile is none."""
        found = await self._differing(keys)
        tries = 0
        while found and tries < EXPIRING // AGAIN + 1:
            found = await self._differing([difference.key for difference in found])
            if not any(0 <= difference.expires < time.time() * 1000 + EXPIRING for difference in found):
                break
            tries += 1
            await asyncio.sleep(AGAIN / 1000)
        return found

    async def _differing(self, keys: Sequence[bytes]) -> list[Difference]:
        if not keys:
            return []
        mine, theirs = await asyncio.gather(self.source.heads(keys), self.target.heads(keys))
        found: list[Difference] = []
        small: dict[bytes, Check] = {}
        large: dict[bytes, Check] = {}
        expiries: dict[bytes, int] = {}

        def note(key: bytes, kind: Kind) -> None:
            found.append(Difference(self.source.number, key, kind, expiries[key]))

        for key, (kind, expiry, size), (other_kind, other_expiry, other_size) in zip(
            keys, mine, theirs, strict=True
        ):
            expiries[key] = min((at for at in (expiry, other_expiry) if at >= 0), default=-1)
            if kind == other_kind == b"none":
                continue
            if other_kind == b"none":
                note(key, Kind.MISSING)
            elif kind == b"none":
                note(key, Kind.EXTRA)
            elif kind != other_kind:
                note(key, Kind.TYPE)
            elif not self._same_expiry(expiry, other_expiry):
                note(key, Kind.EXPIRY)
            else:
                subject = Subject(key, max(size, other_size), self._fields, self._later)
                (small if subject.small else large)[key] = CHECKS.get(kind, opaque)(subject)
        for checks in (small, *({key: check} for key, check in large.items())):
            for key in await self._run(checks):
                note(key, Kind.VALUE)
        return found

    def _same_expiry(self, one: int, other: int) -> bool:
        if one < 0 or other < 0:
            return one == other
        return -self._tolerance <= other - one <= self._later + self._tolerance

    async def _run(self, checks: dict[bytes, Check]) -> list[bytes]:
        """Run the checks side by side, with one round trip for the questions of all; return the keys that differ."""
        differing = []
        answers: dict[bytes, Answer | None] = dict.fromkeys(checks)
        while answers:
            questions = {}
            for key, answer in answers.items():
                try:
                    questions[key] = next(checks[key]) if answer is None else checks[key].send(answer)
                except StopIteration as verdict:
                    if not verdict.value:
                        differing.append(key)
            asked = [[command for question in questions.values() for command in question[side]] for side in (0, 1)]
            mine, theirs = await asyncio.gather(self.source.ask(asked[0]), self.target.ask(asked[1]))
            answers, ends = {}, [0, 0]
            for key, question in questions.items():
                starts, ends = ends, [ends[0] + len(question[0]), ends[1] + len(question[1])]
                answer = mine[starts[0] : ends[0]], theirs[starts[1] : ends[1]]
                if any(isinstance(reply, Exception) for side in answer for reply in side):
                    differing.append(key)
                else:
                    answers[key] = answer
        return differing
