"""Reader of path hashes: paths, each with fields and values (Valkey 9.2, server file src/rdb.c)."""

from __future__ import annotations

from shaker.codec.values.buffer import Buffer
from shaker.codec.values.elements import Element, PathFields
from shaker.codec.values.readers import BATCH, Reader


class PathHashReader(Reader):
    """A count, then so many paths with a count of fields and these. A batch is of one path."""

    def __init__(self) -> None:
        super().__init__()
        self._paths = -1  # still to be read, -1 before the count
        self._fields = 0  # of the path that is being read
        self._path = b""
        self._flat: list[bytes] = []
        self._out: list[Element] = []

    def read(self, buffer: Buffer) -> None:
        """Take fields up to the end of a path, or a full batch."""
        if self._paths < 0:
            self._paths = buffer.length()
            buffer.commit()
        while not self._out and (self._fields or self._paths):
            if not self._fields:
                path = buffer.string()
                self._fields = buffer.length()
                self._path = path
                self._paths -= 1
            else:
                field = buffer.string()
                self._flat += (field, buffer.string())
                self._fields -= 1
            buffer.commit()
            if not self._fields or len(self._flat) >= BATCH:
                self._flush()
        self.finished = not self._fields and not self._paths

    def take(self) -> Element | None:
        """Return the fields that were read."""
        if not self._out:
            self._flush()
        return self._out.pop(0) if self._out else None

    def _flush(self) -> None:
        if self._flat:
            self._out.append(PathFields(self._path, self._flat))
            self._flat = []
