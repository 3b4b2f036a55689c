"""Watches the stream for commands on one key."""

from __future__ import annotations

import re

from shaker.model.batch import Batch, CommandRun

# Commands that change keys without naming them.
_WHOLE = re.compile(rb"\r\n(FLUSHALL|FLUSHDB|SWAPDB)\r\n", re.IGNORECASE)


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
