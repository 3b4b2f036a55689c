"""Keys of a snapshot on their way to the target: pipelined, outside of transactions, huge ones in pieces."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from shaker.apply.building import AT_ONCE, Building
from shaker.apply.databases import SELECT_0, Databases
from shaker.apply.in_flight import Requests, Step, Transaction
from shaker.apply.rejections import check_lengths
from shaker.apply.snapshot_requests import SnapshotEncoder, SnapshotRequests
from shaker.apply.window import Window
from shaker.codec.resp.replies import encode
from shaker.model.items import SnapshotChunk, SnapshotItem

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
        encoder: SnapshotEncoder,
        conclude: Callable[[int], bytes],
        *,
        max_bulk: int,
    ) -> None:
        self._expected = expected
        self._window = window
        self._databases = databases
        self._encoder = encoder
        self._conclude = conclude
        self._max_bulk = max_bulk
        self._cut: Requests | None = None
        self._building: Building | None = None
        self.pipelined = 0  # bytes on the wire unanswered

    @property
    def cut(self) -> bool:
        """Whether a huge request is not whole yet."""
        return self._cut is not None

    def send(self, item: SnapshotItem, out: list[bytes]) -> bool:
        """Send the window's next item; False when that may not be now."""
        step = self._cut
        if step is None and not self._may_begin(item, out):
            return False
        if isinstance(item, SnapshotChunk) and (self._building is not None or self._encoder.builds(item.entry)):
            return self._build(item, out)
        made = self._encoder.requests(item)
        if step is None:
            step = self._begin(item, made, out)
        self._window.take()
        step.items.append(item)
        out += made.pieces
        if isinstance(item, SnapshotChunk):
            self._window.release([item])
            if item.more:
                self._cut, step.unfinished = step, True
                return True
            self._cut, step.unfinished = None, False
        else:
            step.size = sum(map(len, made.pieces))
            self.pipelined += step.size
        step.left += made.extra + 1
        if item.database:
            step.left += 1
            out.append(SELECT_0)
        out.append(self._conclude(item.number))
        return True

    @property
    def busy(self) -> bool:
        """Whether there are more commands to send of the chunk taken last."""
        return self._building is not None and not self._building.hungry

    def _build(self, item: SnapshotChunk, out: list[bytes]) -> bool:
        """Take a chunk of a value that is built by commands."""
        step, building = self._cut, self._building
        if building is None:
            building = self._building = self._encoder.build(item, self._max_bulk)
        if step is None:
            # One reply more than there are requests is expected, so that the step stays open.
            step = self._cut = Requests([], left=1, unfinished=True, size=AT_ONCE)
            self.pipelined += step.size
            self._expected.append(step)
            if item.database:
                step.left += 1
                out.append(encode("SELECT", item.database))
        self._window.take()
        step.items.append(item)
        building.receive(item.data, last=not item.more)
        self._window.release([item])
        return self.go_on(out)

    def go_on(self, out: list[bytes]) -> bool:
        """Send some of these commands; False where they go out before others are made.

        The rest of a chunk may make no command: then the next chunk is due at once. Nothing else asks for it.
        """
        step, building = self._cut, self._building
        assert step is not None
        assert building is not None
        made: list[bytes] = []
        step.left += building.take(made)
        if building.finished:
            item = step.items[-1]
            assert isinstance(item, SnapshotChunk)
            self._cut = self._building = None
            self._conclude_with(step, item, self._encoder.built(building, listed=item.listed), made)
        out += made
        return not (self.busy or any(made))

    def _conclude_with(self, step: Requests, item: SnapshotChunk, made: SnapshotRequests, out: list[bytes]) -> None:
        out += made.pieces
        step.unfinished = False
        step.left += made.requests + made.extra  # and the one expected more is the checkpoint's
        if item.database:
            step.left += 1
            out.append(SELECT_0)
        out.append(self._conclude(item.number))

    def answered(self, step: Requests) -> None:
        """Subtract the answered bytes from those pipelined."""
        self.pipelined -= step.size

    def _may_begin(self, item: SnapshotItem, out: list[bytes]) -> bool:
        if any(isinstance(step, Transaction) for step in self._expected):
            return False
        if self.pipelined and self.pipelined + item.size > PIPELINE_BYTES:
            return False
        return self._databases.proven([item.database], out)

    def _begin(self, item: SnapshotItem, made: SnapshotRequests, out: list[bytes]) -> Requests:
        check_lengths(item, made.pieces[0], self._max_bulk)
        step = Requests([], left=1 if isinstance(item, SnapshotChunk) else made.requests)
        self._expected.append(step)
        if item.database:
            step.left += 1
            out.append(encode("SELECT", item.database))
        return step
