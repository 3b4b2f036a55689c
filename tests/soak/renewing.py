"""Sliding sessions on a source: strings renewed by GETEX, hashes by HSET and EXPIRE, many in their last moment."""

from __future__ import annotations

import heapq
import random
import time
from typing import Any, Final, NamedTuple

import redis

from tests.support.servers import Server

DATABASES: Final = (0, 3)
TTL: Final = 4.0  # seconds
LATEST: Final = 0.5  # seconds before their end in which half of the renewals are due
# Seconds before the end that no renewal is due in: the source would expire more than it renews on a busy machine.
SPARED: Final = 0.03
ENDING: Final = 0.01  # share of the renewals that do not come: somebody went away
TICK: Final = 0.005
FIELDS: Final = {"user": "u" * 40, "token": "t" * 40, "language": "en", "renewals": 0}


class Due(NamedTuple):
    """A renewal: the moment of the monotonic clock, and the number of the session."""

    at: float
    number: int


class Sessions:
    """`count` sessions of TTL seconds, half of them strings and half hashes, spread over DATABASES.

    The counters say what `keep_alive` has done. `missed` are sessions that the source itself had expired when the
    renewal came: they begin again.
    """

    def __init__(self, source: Server, count: int, seed: int) -> None:
        self.renewals = self.by_getex = self.late = self.later = self.ended = self.missed = 0
        self._draw = random.Random(seed)
        self._clients = [source.client(db=database) for database in DATABASES]
        self._next = count
        self._ends: dict[int, float] = {}  # number of each living session -> when it expires, by our clock
        self._due: list[Due] = []
        self._start(list(range(count)), spread=TTL)

    def keep_alive(self, seconds: float) -> None:
        """Renew each session when its time comes, for so long."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            due = []
            while self._due and self._due[0].at <= now:
                due.append(heapq.heappop(self._due).number)
            if due:
                self._renew(due)
            else:
                time.sleep(TICK)

    def renew_all(self, ttl: int) -> None:
        """Renew every living session for `ttl` seconds: a session that the target has lost stays lost."""
        self._exchange(sorted(self._ends), round(ttl * 1000))

    def _renew(self, numbers: list[int]) -> None:
        leaving = [number for number in numbers if self._draw.random() < ENDING]
        for number in leaving:
            del self._ends[number]
        self.ended += len(leaving)
        going_on = [number for number in numbers if number in self._ends]
        began = time.monotonic()
        missed = self._exchange(going_on, round(TTL * 1000))
        for number in going_on:
            if number in missed:
                continue
            left = self._ends[number] - began
            self.renewals += 1
            self.by_getex += _is_string(number)
            self.late += left < 1.0
            self.later += left < LATEST
            self._schedule(number, began)
        self.missed += len(missed)
        self._start([*missed, *range(self._next, self._next + len(leaving))])
        self._next += len(leaving)

    def _start(self, numbers: list[int], spread: float = 0.0) -> None:
        """Begin sessions; with `spread` their first renewals are spread over so many seconds."""
        began = time.monotonic()
        for place, client in enumerate(self._clients):
            pipeline = client.pipeline(transaction=False)
            for number in numbers:
                if number % len(DATABASES) != place:
                    continue
                if _is_string(number):
                    pipeline.set(key(number), f"value of session {number}", px=round(TTL * 1000))
                else:
                    pipeline.delete(key(number))
                    pipeline.hset(key(number), mapping=FIELDS)
                    pipeline.pexpire(key(number), round(TTL * 1000))
            pipeline.execute()
        for number in numbers:
            self._schedule(number, began, spread)

    def _schedule(self, number: int, now: float, spread: float = 0.0) -> None:
        """Draw the moment of the next renewal; half of them come in the last moment."""
        self._ends[number] = now + TTL
        if self._draw.random() < 0.5 and not spread:
            at = now + TTL - self._draw.uniform(SPARED, LATEST)
        else:
            at = now + self._draw.uniform(0.05, (spread or TTL) - LATEST)
        heapq.heappush(self._due, Due(at, number))

    def _exchange(self, numbers: list[int], ttl: int) -> list[int]:
        """Renew these sessions for `ttl` milliseconds; return those that the source had expired."""
        missed: list[int] = []
        for place, client in enumerate(self._clients):
            chosen = [number for number in numbers if number % len(DATABASES) == place]
            pipeline = client.pipeline(transaction=False)
            for number in chosen:
                _add_renewal(pipeline, number, ttl, self.renewals)
            replies = iter(pipeline.execute())
            for number in chosen:
                if _is_string(number):
                    gone = next(replies) is None
                else:
                    gone = next(replies) == 1  # the field was there unless the session had expired
                    next(replies)
                    next(replies)
                if gone:
                    missed.append(number)
        return missed


def key(number: int) -> str:
    """Return the key of a session."""
    return f"{'string' if _is_string(number) else 'hash'}:{number}"


def _is_string(number: int) -> bool:
    return number // len(DATABASES) % 2 == 0


def _add_renewal(pipeline: redis.client.Pipeline, number: int, ttl: int, seen: int) -> None:
    if _is_string(number):
        pipeline.getex(key(number), px=ttl)
        return
    values: dict[Any, Any] = {"language": f"en-{seen}"}
    pipeline.hset(key(number), mapping=values)
    pipeline.hincrby(key(number), "renewals", 1)
    pipeline.pexpire(key(number), ttl)
