"""Requests of bounded size: one command with as many arguments as its limits allow."""

from __future__ import annotations

from collections.abc import Sequence

from shaker.codec.resp.replies import encode
from shaker.codec.values.target import Limits


class Gatherer:
    """Gathers elements of `group` arguments each, and makes commands of them that begin with `prefix`.

    `counted`: the number of elements follows the prefix.
    """

    def __init__(self, prefix: Sequence[bytes], group: int, limits: Limits, *, counted: bool = False) -> None:
        self.requests: list[bytes] = []
        self._prefix = list(prefix)
        self._group = group
        self._counted = counted
        self._most = limits.elements * group
        self._limit = limits.bytes
        self._arguments: list[bytes] = []
        self._size = 0

    def extend(self, arguments: Sequence[bytes]) -> None:
        """Add whole elements, as a flat sequence of arguments."""
        group = self._group
        gathered = self._arguments
        for index in range(0, len(arguments), group):
            size = 0
            for offset in range(group):
                size += len(arguments[index + offset])
            if gathered and (self._size + size > self._limit or len(gathered) >= self._most):
                self.flush()
                gathered = self._arguments
            for offset in range(group):
                gathered.append(arguments[index + offset])
            self._size += size

    def flush(self) -> None:
        """Make a command of the gathered elements."""
        if self._arguments:
            count = [b"%d" % (len(self._arguments) // self._group)] if self._counted else []
            self.requests.append(encode(*self._prefix, *count, *self._arguments))
            self._arguments = []
            self._size = 0

    def take(self) -> list[bytes]:
        """Return the commands made since the last call."""
        made, self.requests = self.requests, []
        return made
