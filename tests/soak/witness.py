"""Counters and lists written apart from the load, which tell what was lost and what was doubled, and how often."""

from __future__ import annotations

import threading
from collections import Counter
from typing import NamedTuple, Self

import redis

from tests.support.servers import Server

DATABASES = (0, 2)
LISTS = 4
INTERVAL = 0.005  # seconds between writes: a list of an hour still fits


class Verdict(NamedTuple):
    """What the target has of what was written: entries written, of them lost, entries too many."""

    written: int
    lost: int
    doubled: int


class Witness:
    """A thread that numbers its writes and remembers which were answered. A context manager.

    Each write is one transaction: INCR of a counter, and RPUSH of the write's own number to a list. A write whose
    answer was lost may or may not have happened: it may be on the target once, but not twice.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="witness", daemon=True)
        self._answered: dict[tuple[int, int], list[int]] = {(db, n): [] for db in DATABASES for n in range(LISTS)}
        self.failure: BaseException | None = None

    @property
    def written(self) -> int:
        """How many writes were answered."""
        return sum(len(numbers) for numbers in self._answered.values())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Write no more; raises what ended the thread early."""
        self._stopped.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        number = 0
        try:
            clients = {db: self._server.client(db=db, retry=None) for db in DATABASES}
            while not self._stopped.is_set():
                number += 1
                place = DATABASES[number % len(DATABASES)], number // len(DATABASES) % LISTS
                try:
                    pipeline = clients[place[0]].pipeline(transaction=True)
                    pipeline.incr(f"witness:counter:{place[1]}")
                    pipeline.rpush(f"witness:list:{place[1]}", number)
                    pipeline.execute()
                    self._answered[place].append(number)
                except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError):
                    self._stopped.wait(0.2)
                self._stopped.wait(INTERVAL)
        except BaseException as error:
            self.failure = error

    def verdict(self, target: Server) -> Verdict:
        """Read `target`, which has applied everything, and say what is missing and what is too much."""
        lost = doubled = 0
        for (db, index), answered in self._answered.items():
            client = target.client(db=db)
            entries = [int(entry) for entry in client.lrange(f"witness:list:{index}", 0, -1)]
            found = Counter(entries)
            lost += sum(1 for number in answered if number not in found)
            doubled += sum(count - 1 for count in found.values())
            # The counter tells it once more, in a way of its own: with the list it is always the same transaction.
            counter = int(client.get(f"witness:counter:{index}") or 0)
            lost += max(0, len(found) - counter)
            doubled += max(0, counter - len(found))
            if entries != sorted(entries):
                doubled += 1  # order is part of exactly once
        return Verdict(self.written, lost, doubled)
