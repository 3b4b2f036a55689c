"""Keys of a snapshot on their way to the target: pipelined, outside of transactions, huge ones in pieces."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from shaker.apply.databases import SELECT_0, Databases
from shaker.apply.in_flight import Requests, Step, Transaction
from shaker.apply.rejections import check_lengths
from shaker.apply.window import Window
from shaker.codec.resp.replies import encode
from shaker.model.items import SnapshotKeys

# Bytes of requests on the wire unanswered: enough to keep the target busy over a long round trip.
PIPELINE_BYTES: Final = 8 * 1024 * 1024


class KeySender:
    """Sends items with keys. The target takes no argument of more than `max_bulk` bytes.

    `conclude` returns the request that writes the checkpoint behind the batch of that number.
    """

    def __init__(
        self,
        expected: deque[Step],
        window: Window,
        databases: Databases,
        conclude: Callable[[int], bytes],
        *,
        max_bulk: int,
    ) -> None:
        self._expected = expected
        self._window = window
        self._databases = databases
        self._conclude = conclude
        self._max_bulk = max_bulk
        self._cut: Requests | None = None
        self.pipelined = 0  # bytes on the wire unanswered

    @property
    def cut(self) -> bool:
        """Whether a huge request is not whole yet."""
        return self._cut is not None

    def send(self, item: SnapshotKeys, out: list[bytes]) -> bool:
        """Send the window's next item; False when that may not be now."""
        step = self._cut
        if step is None:
            step = self._begin(item, out)
            if step is None:
                return False
        self._window.take()
        step.items.append(item)
        out.append(item.data)
        if item.label is not None:
            self._window.release([item])
        step.unfinished = item.more
        self._cut = step if item.more else None
        if not item.more:
            step.left += item.beside + 1
            if item.database:
                step.left += 1
                out.append(SELECT_0)
            out.append(self._conclude(item.number))
            self.pipelined += item.size
        return True

    def answered(self, step: Requests) -> None:
        """Take what has been answered off what is pipelined."""
        self.pipelined -= sum(item.size for item in step.items)

    def _begin(self, item: SnapshotKeys, out: list[bytes]) -> Requests | None:
        if any(isinstance(step, Transaction) for step in self._expected):
            return None
        if self.pipelined and self.pipelined + item.size > PIPELINE_BYTES:
            return None
        if not self._databases.proven([item.database], out):
            return None
        if item.label is not None or item.size > self._max_bulk:
            check_lengths(item, self._max_bulk)
        step = Requests([], item.requests if not item.more else 1)
        self._expected.append(step)
        if item.database:
            step.left += 1
            out.append(encode("SELECT", item.database))
        return step
