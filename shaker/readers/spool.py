"""A disk spool for received bytes while the target is behind: it keeps the source's output buffer small.

It holds the bytes in order, in files without a name: they are gone with the process, however it ends. Nothing in it is
acknowledged to the source, so losing it loses nothing.
"""

from __future__ import annotations

import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import anyio
import anyio.to_thread

from shaker.errors import LinkError

SEGMENT_BYTES: Final = 16 * 1024 * 1024


@dataclass(slots=True)
class _Segment:
    """One file, with the numbers of bytes written to it and read from it."""

    file: IO[bytes]
    written: int = 0
    read: int = 0


class Spool:
    """A first-in-first-out queue of bytes on disk, at most `limit` bytes long.

    Raises LinkError naming spool.dir where the disk fails to write or read: the caller's connection ends, and the next
    one begins with an empty spool.
    """

    def __init__(self, directory: Path, limit: int, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._directory = directory
        self._limit = limit
        self._segment_bytes = segment_bytes
        self._segments: deque[_Segment] = deque()
        self._lock = anyio.Lock()  # one file operation at a time: reading and writing share a file's position
        self.size = 0

    @property
    def full(self) -> bool:
        """Whether the source has to wait."""
        return self.size >= self._limit

    async def put(self, data: bytes) -> None:
        """Append `data`."""
        async with self._lock:
            await anyio.to_thread.run_sync(self._put, data)
        self.size += len(data)

    async def get(self, size: int) -> bytes:
        """Remove and return up to `size` bytes from the front; empty when there are none."""
        async with self._lock:
            data = await anyio.to_thread.run_sync(self._get, size)
        self.size -= len(data)
        return data

    def close(self) -> None:
        """Drop everything."""
        while self._segments:
            self._segments.pop().file.close()
        self.size = 0

    def _put(self, data: bytes) -> None:
        try:
            if not self._segments or self._segments[-1].written >= self._segment_bytes:
                file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115 - closed when read
                self._segments.append(_Segment(file))
            segment = self._segments[-1]
            segment.file.seek(segment.written)
            rest = memoryview(data)
            while rest:
                rest = rest[segment.file.write(rest) :]
        except OSError as error:
            raise self._broken(error) from error
        segment.written += len(data)

    def _get(self, size: int) -> bytes:
        if not self._segments:
            return b""
        segment = self._segments[0]
        try:
            segment.file.seek(segment.read)
            data = segment.file.read(min(size, segment.written - segment.read))
        except OSError as error:
            raise self._broken(error) from error
        segment.read += len(data)
        if segment.read == segment.written:
            self._segments.popleft()
            segment.file.close()
        return data

    def _broken(self, error: OSError) -> LinkError:
        return LinkError(
            f"the spool in {self._directory} failed: {error.strerror}",
            hint="check spool.dir (SHAKER_SPOOL__DIR), and that its disk has room for spool.limit bytes",
            kind="spool",
        )
