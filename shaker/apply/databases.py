"""The databases that one connection has proven: selected once, outside of transactions.

Inside a transaction a SELECT that fails does not keep the rest from being executed, in the wrong database.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from typing import Final

from shaker.apply.in_flight import Probe, Step, Transaction
from shaker.apply.window import Window
from shaker.codec.resp.replies import encode
from shaker.errors import PlannedReconnectError
from shaker.model.items import Item, SnapshotBatch, StreamItem

SELECT_0: Final = encode("SELECT", 0)
# Databases tried before a transaction that is too large to know what it uses, and how many times as many as it was
# seen to use: a question costs 24 bytes.
AHEAD: Final = 1024
AHEAD_FACTOR: Final = 8


class Databases:
    """Which databases a connection may use. `expected` is what it was sent and has not answered."""

    def __init__(self, expected: deque[Step], window: Window) -> None:
        self._expected = expected
        self._window = window
        self._proven = {0}
        self._tried = {0}  # asked for, answered or not

    def proven(self, used: Iterable[int], out: list[bytes], *, within: Transaction | None = None) -> bool:
        """Return whether all databases `used` are proven; if not, ask for them as soon as that may be.

        Databases of waiting items and of earlier connections are asked for in the same round trip. `within` is the open
        transaction that would use them. Raises LinkError where no question fits into it.
        """
        if self._proven.issuperset(used):
            return True
        unproven = set(used) - self._proven
        if within is not None:
            if within.unfinished:
                self._refuse(unproven)
        elif not self._asking:
            known = self._window.databases
            known |= unproven | self._waiting()
            self._ask(unproven, known - self._tried, out)
        return False

    def proven_ahead(self, out: list[bytes], *, within: Transaction | None) -> bool:
        """Return whether so many are proven, or not there, that a transaction may begin that uses any number.

        If not, ask for them as soon as that may be. `within` is the open transaction, which has to end before.
        """
        highest = max(self._window.databases, default=0)
        ahead = AHEAD if highest < AHEAD else AHEAD_FACTOR * highest
        untried = [database for database in range(ahead) if database not in self._tried]
        if within is None and untried and not self._asking:
            self._ask((), untried, out)
        return not untried and not self._asking

    def begin(self, others: Collection[int], out: list[bytes]) -> bool:
        """Return whether `others` are proven and those that transactions came to use unforeseen; if not, ask."""
        required = self._window.required
        return not (required or others) or self.proven(required.union(others), out)

    def require(self, database: int) -> None:
        """Raise LinkError unless `database` is proven: the next connection proves it before it begins."""
        if database not in self._proven:
            self._refuse({database})

    def answered(self, probe: Probe) -> None:
        """Take the answer to the question for databases."""
        self._proven.update(set(probe.databases) - probe.missing)

    @property
    def _asking(self) -> bool:
        return any(isinstance(step, Probe) for step in self._expected)

    def _ask(self, needed: Iterable[int], others: Iterable[int], out: list[bytes]) -> None:
        needed = frozenset(needed)
        databases = sorted(needed.union(others))
        self._tried.update(databases)
        self._expected.append(Probe(databases, needed))
        out += [encode("SELECT", database) for database in databases]
        out.append(SELECT_0)

    def _waiting(self) -> set[int]:
        """Return the databases that all items use that wait to be sent."""
        return {database for item in self._window.waiting() for database in _used(item)}

    def _refuse(self, databases: set[int]) -> None:
        self._window.databases |= databases | self._waiting()
        self._window.required |= databases
        shown = ", ".join(map(str, sorted(databases)[:3]))
        raise PlannedReconnectError(f"a transaction comes to use database {shown}")


def used_by(item: StreamItem) -> list[int]:
    """Return the databases that an item of the stream uses."""
    batch = item.batch
    used = [part.database for part in batch.parts]
    if batch.records is not None and batch.records.moved_to is not None:
        used.append(batch.records.moved_to)
    return used


def _used(item: Item) -> Iterable[int]:
    if isinstance(item, StreamItem):
        return [part.database for part in item.batch.parts]
    return (item.database,) if isinstance(item, SnapshotBatch) else ()
