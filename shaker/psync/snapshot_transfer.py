"""A snapshot under way from the source: its bytes → events, and the checks that it ends as announced."""

from __future__ import annotations

from typing import Final

from shaker.codec.rdb.reader import SnapshotReader
from shaker.errors import CorruptError
from shaker.model.batch import Event
from shaker.psync.snapshot import SnapshotContents

MARK_SIZE: Final = 40  # bytes of the random mark that ends a diskless snapshot (CONFIG_RUN_ID_SIZE)


class SnapshotTransfer:
    """One snapshot, in either form: `size` bytes of an RDB, or with a `mark` an RDB that the mark follows."""

    def __init__(self, reader: SnapshotReader, contents: SnapshotContents, *, size: int, mark: bytes) -> None:
        self.mark = mark
        self._size = size
        self._fed = 0
        self._reader = reader
        self._contents = contents

    @property
    def consumed(self) -> int:
        """Bytes of the snapshot read so far."""
        return self._reader.consumed

    @property
    def done(self) -> bool:
        """Whether the end of the RDB was read."""
        return self._reader.done

    @property
    def database(self) -> int:
        """The database that the stream after the snapshot begins in."""
        return self._contents.database

    def feed(self, data: bytes, events: list[Event]) -> None:
        """Take bytes of the snapshot and of what follows it; raises CorruptError where it cannot end as announced."""
        reader = self._reader
        events += self._contents.translate(reader.feed(data))
        self._fed += len(data)
        if not reader.done:
            # A damaged length may ask for more: after the snapshot comes the stream, perhaps an idle one.
            if not self.mark and self._fed >= self._size:
                raise CorruptError(
                    f"the snapshot does not end within the {self._size} bytes that the source announced"
                )
        elif not self.mark and reader.consumed != self._size:
            raise CorruptError(
                f"the snapshot ends after {reader.consumed} bytes, the source announced {self._size} bytes"
            )

    def rest(self) -> bytes:
        """Return the bytes fed that lie behind the RDB: the mark, then the stream."""
        return self._reader.rest()

    def follows(self, data: bytes) -> bool:
        """Return whether the whole mark begins `data`; raises CorruptError for bytes that cannot become it."""
        have = data[:MARK_SIZE]
        if not self.mark.startswith(have):
            raise CorruptError("the snapshot is not followed by the mark that the source announced")
        return len(have) == MARK_SIZE
