"""Writes lines to standard output from a thread, so that a slow or missing reader never blocks the event loop."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

# Bytes of lines that wait for the reader, some thousands of events. Above that, lines are dropped until half of it
# is free again, because one reported gap is easier to read than many.
BACKLOG: Final = 1024 * 1024
CLEAR_LINE: Final = "\r\x1b[K"  # ECMA-48: erase to the end of the line
# Seconds that `close` waits for the last lines: a stuck reader must not delay the exit.
LAST_LINES_SECONDS: Final = 1.0


class LineWriter:
    """A text stream for a log handler: `write` takes whole lines and never blocks.

    Once writing works again, `report` is called with the number of lines dropped since its last call; it may write.
    Bytes go to the file `descriptor` directly, because an exiting interpreter waits for buffered streams.
    """

    def __init__(self, descriptor: int, report: Callable[[int], None], *, backlog: int = BACKLOG) -> None:
        self._descriptor = descriptor
        self._report = report
        self._backlog = backlog
        self._lines: deque[bytes] = deque()
        self._size = 0  # bytes of `_lines`
        self._full = False  # lines are dropped until there is room
        self._unreported = 0
        self._torn = False  # the last line was written in part
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0  # lines, since the start
        threading.Thread(target=self._run, name="log writer", daemon=True).start()

    def write(self, text: str) -> int:
        """Queue `text`, or drop it if the reader is too far behind."""
        line = text.encode("utf-8", "backslashreplace")
        with self._changed:
            if self._full or self._closed or self._size + len(line) > self._backlog:
                self._full = True
                self._drop()
            else:
                self._lines.append(line)
                self._size += len(line)
                self._changed.notify_all()
        return len(text)

    def flush(self) -> None:
        """Do nothing: the thread writes each line as soon as it is queued."""

    def close(self, seconds: float = LAST_LINES_SECONDS) -> None:
        """Return once every line is written, or after `seconds`; later lines are dropped."""
        end = time.monotonic() + seconds
        with self._changed:
            while self._lines and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)
            self._closed = True
            self._changed.notify_all()

    @property
    def waiting(self) -> bool:
        """Whether lines wait for the reader."""
        return self._size > 0

    def _drop(self) -> None:
        self.dropped += 1
        self._unreported += 1

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._closed:
                    self._changed.wait()
                if not self._lines:
                    return
                line = self._lines[0]
            whole, due = self._write(line), 0
            with self._changed:
                self._lines.popleft()
                self._size -= len(line)
                self._full = self._full and self._size > self._backlog // 2
                if not whole:
                    self._drop()
                elif not self._full:
                    due, self._unreported = self._unreported, 0
                self._changed.notify_all()
            if due:
                self._report(due)

    def _write(self, line: bytes) -> bool:
        """Write a line; return False if the reader is gone or the disk is full."""
        data = memoryview(b"\n" + line if self._torn else line)
        written = 0
        try:
            while written < len(data):
                try:
                    written += os.write(self._descriptor, data[written:])
                except BlockingIOError:  # the descriptor was non-blocking when we got it
                    poll = select.poll()
                    poll.register(self._descriptor, select.POLLOUT)
                    poll.poll()
        except OSError:
            self._torn = self._torn if not written else True
            return False
        self._torn = False
        return True


class Footer:
    """A last line of the terminal that is redrawn in place; log lines go above it."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer
        self._line = ""

    def draw(self, line: str) -> None:
        """Draw `line`, which has no newline and fits the terminal, unless the terminal is behind."""
        if line != self._line and not self._writer.waiting:
            self._line = line
            self._writer.write(CLEAR_LINE + line)

    def write(self, text: str) -> int:
        """Write whole lines above."""
        self._writer.write(CLEAR_LINE + text + self._line)
        return len(text)

    def flush(self) -> None:
        """Do nothing, like `LineWriter`."""

    def end(self, text: str) -> None:
        """Write the last lines in place of the drawn one."""
        self._line = ""
        self.write(text)
