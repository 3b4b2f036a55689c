"""The databases that one connection has proven: selected once, outside of transactions.

Inside a transaction a SELECT that fails does not keep the rest from being executed, in the wrong database.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from shaker.codec.resp import encode
from shaker.errors import LinkError
from shaker.target.steps import Probe, Step, Transaction
from shaker.target.window import Window

SELECT_0: Final = encode("SELECT", 0)


class Databases:
    """Which databases a connection may use. `expected` is what it was sent and has not answered."""

    def __init__(self, expected: deque[Step], window: Window) -> None:
        self._expected = expected
        self._window = window
        self._proven = {0}

    def proven(self, used: Iterable[int], out: list[bytes], *, within: Transaction | None = None) -> bool:
        """Return whether all databases `used` are proven; if not, ask for one as soon as that may be.

        `within` is the open transaction that would use them. Raises LinkError where no question fits into it.
        """
        unproven = next((database for database in used if database not in self._proven), None)
        if unproven is None:
            return True
        if within is None:
            if not any(isinstance(step, Probe) for step in self._expected):
                self._expected.append(Probe(unproven))
                out.append(encode("SELECT", unproven) + SELECT_0)
        elif within.unfinished:
            self.require(unproven)
        return False

    def require(self, database: int) -> None:
        """Raise LinkError unless `database` is proven: the next connection proves it before it begins."""
        if database not in self._proven:
            self._window.databases.add(database)
            raise LinkError(f"a transaction comes to use database {database}", kind="rejected")

    def answered(self, probe: Probe) -> None:
        """Take the answer to the question for a database."""
        self._proven.add(probe.database)
