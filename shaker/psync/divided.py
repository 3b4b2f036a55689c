"""The stream, divided exactly at an offset: that of a barrier, or the end of batches that took effect before."""

from __future__ import annotations

from typing import Final

from shaker.codec.resp.replies import encode
from shaker.errors import CorruptError
from shaker.model.batch import BarrierReached, Batch, Event, Reviewed, ReviewEnd
from shaker.psync.batches import StreamAssembler

# The bytes that may follow a reading transaction in the stream until its end.
LONGEST_END: Final = len(encode("SELECT", 2**31)) + len(encode("EXEC"))


class DividedStream:
    """A `StreamAssembler` whose stream can be cut.

    With `review`, an offset and the database selected there, the batches before it have already taken effect: they are
    given out as `Reviewed`, then `ReviewEnd`.
    """

    def __init__(self, assembler: StreamAssembler, review: tuple[int, int] | None) -> None:
        self._assembler = assembler
        self._review = review
        self._cut: int | None = None
        self._wanted = 0  # where it was asked for

    @property
    def offset(self) -> int:
        """Replication offset behind the last whole command received."""
        return self._assembler.offset

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes of the stream; return what they mean, in order."""
        if self._review is not None:
            return self._feed_again(data, *self._review)
        assembler, cut = self._assembler, self._cut
        if cut is None or assembler.received + len(data) < cut:
            return [*assembler.feed(data)]
        here = cut - assembler.received
        events: list[Event] = [*assembler.feed(data[:here])]
        if assembler.inside if cut == self._wanted else not assembler.between and cut - self._wanted < LONGEST_END:
            self._cut = cut + 1
        else:
            self._cut = None
            events.append(BarrierReached(cut, self._wanted, clean=assembler.between))
        return [*events, *self.feed(data[here:])]

    def cut(self, offset: int) -> list[Event]:
        """Give out `BarrierReached` where the stream is at `offset`, at once if it is; one barrier at a time.

        With an offset that was passed already, it comes at once and is not clean. With one inside a transaction the
        cut is behind the EXEC that has to follow, perhaps behind a SELECT.
        """
        if self._assembler.received > offset:
            return [BarrierReached(offset, offset, clean=False)]
        self._cut = self._wanted = offset
        return self.feed(b"")

    def _feed_again(self, data: bytes, end: int, database: int) -> list[Event]:
        assembler = self._assembler
        here = end - assembler.received
        again = assembler.feed(data[:here])
        events: list[Event] = [Reviewed(event) for event in again if isinstance(event, Batch)]
        if assembler.received < end:
            return events
        if not assembler.between:
            raise CorruptError(f"in the stream of the source no command ends at offset {end}")
        events.append(ReviewEnd(assembler.database))
        assembler.database = database
        self._review = None
        return [*events, *self.feed(data[here:])]
