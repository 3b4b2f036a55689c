"""Watches of the stream: for commands on one key, or for all keys that commands may change."""

from __future__ import annotations

import re
from typing import Final, Protocol

from shaker.apply.unconfirmed import add
from shaker.model.batch import Batch, CommandRun
from shaker.rules.command_table import CommandTable
from shaker.rules.touched_keys import Touched

# Commands that change keys without naming them.
_WHOLE = re.compile(rb"\r\n(FLUSHALL|FLUSHDB|SWAPDB)\r\n", re.IGNORECASE)


# Keys that a ChangedKeys remembers: beyond them any key of the databases may have changed.
MOST_KEYS: Final = 200_000


class StreamWatch(Protocol):
    """Sees every batch of the stream before it is applied."""

    def see(self, batch: Batch) -> None:
        """Look at a batch of the stream."""


class KeyWatch:
    """`touched` becomes true when a command may have changed the key: it occurs anywhere in the command's bytes.

    A value that contains the key counts, too: the comparison then starts again, at no other cost.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.touched = False

    def see(self, batch: Batch) -> None:
        """Look at a batch of the stream."""
        if not self.touched:
            self.touched = batch.records is not None or any(map(self._may_touch, batch.parts))

    def _may_touch(self, run: CommandRun) -> bool:
        return run.label is not None or self._key in run.data or _WHOLE.search(run.data) is not None


class ChangedKeys:
    """Collects the keys that the stream may have changed, by database.

    `complete` is false once any key may have changed: commands that name no keys, or too many keys.
    """

    def __init__(self, table: CommandTable) -> None:
        self._table = table
        self._touched = Touched(table)
        self.complete = True

    def see(self, batch: Batch) -> None:
        """Look at a batch of the stream."""
        if not self.complete:
            return
        touched = self._touched
        add(touched, batch.parts)
        if batch.records is not None or touched.everything or touched.whole or len(self) > MOST_KEYS:
            self.complete = False
            self._touched = Touched(self._table)

    def __len__(self) -> int:
        return sum(map(len, self._touched.keys.values()))

    def take(self) -> dict[int, set[bytes]]:
        """Return the keys collected so far, and begin again with none."""
        keys = self._touched.keys
        self._touched = Touched(self._table)
        return keys
