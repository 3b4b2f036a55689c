"""The number of commands that the target has rejected, as the checkpoint counts them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from shaker.apply.records import Checkpoint
from shaker.apply.window import RejectionsAt
from shaker.model.position import Position
from shaker.model.rejection import Rejection


class Tally:
    """Counts from `count` on, `last` is one line about the last of those.

    `on_rejected` is called for each rejection before the checkpoint that counts it is written.
    """

    def __init__(self, count: int, last: str, on_rejected: Callable[[Rejection], None]) -> None:
        self.count, self.last = count, last
        self._on_rejected = on_rejected

    def add(self, rejections: Iterable[Rejection]) -> None:
        """Count rejections."""
        for rejection in rejections:
            self.count += 1
            self.last = rejection.summary
            self._on_rejected(rejection)

    def counted_in(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the checkpoint with the present count."""
        return checkpoint._replace(rejected=self.count, rejected_last=self.last)

    def at(self, position: Position | None) -> RejectionsAt:
        """Return the count up to a position, replies included."""
        return RejectionsAt(position, self.count, self.last)

    def clear(self) -> None:
        """Begin again: a snapshot replaces all keys."""
        self.count, self.last = 0, ""
