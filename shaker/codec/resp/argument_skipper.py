"""Following the arguments of one huge command without holding them."""

from __future__ import annotations

from typing import Final

# The longest `*<count>` or `$<length>` line: one byte, 19 digits, CRLF.
MAX_HEADER: Final = 22


# Arguments are looked at up to this length, for whether they are marked.
MAX_MARKED: Final = 128


class ArgumentSkipper:
    """Knows where a command ends from the lengths of its arguments; any split of the bytes gives the same end.

    `left` arguments of `count` are still to come. Of what the last `skip` passed, `longest` is the length of the
    longest argument begun, in bytes, and `marked` has those that ended and begin with `marker`, up to a length of
    MAX_MARKED, each with its index (0 is the command's name).
    """

    def __init__(self, count: int, left: int, marker: bytes) -> None:
        self._count = count
        self._left = left
        self._marker = marker
        self._raw = 0  # bytes of the argument under way that are still to come, its CRLF included
        self._header = b""
        self._short = False  # the argument under way can be marked
        self._begun = b""  # its bytes in earlier chunks
        self.longest = 0
        self.marked: list[tuple[int, bytes]] = []

    @property
    def finished(self) -> bool:
        """Whether the last byte of the command was passed."""
        return self._left == 0 and self._raw == 0

    def skip(self, data: bytes) -> int:
        """Pass what `data` holds of the command; return its length, or -1 for bytes that are no argument."""
        size = len(data)
        position = 0
        self.longest = 0
        if self.marked:
            self.marked = []
        while True:
            if self._raw:
                taken = min(self._raw, size - position)
                if self._short:
                    self._look(data, position, taken)
                position += taken
                self._raw -= taken
            if self._raw or self._left == 0 or position == size:
                return position
            end = data.find(b"\n", position, position + MAX_HEADER)
            behind = size if end < 0 else end + 1
            header = self._header + data[position:behind]
            position = behind
            if end < 0:
                if len(header) >= MAX_HEADER:
                    return -1
                self._header = header
                return position
            if (
                header[:1] != b"$"
                or header[-2:] != b"\r\n"
                or len(header) > MAX_HEADER
                or not header[1:-2].isdigit()
            ):
                return -1
            self._header = b""
            self._left -= 1
            length = int(header[1:-2])
            self._raw = length + 2
            self._short = length <= MAX_MARKED
            if length > self.longest:
                self.longest = length

    def _look(self, data: bytes, position: int, taken: int) -> None:
        """Look at so many bytes of a short argument for the marker."""
        if not self._begun and taken == self._raw:
            if data.startswith(self._marker, position):
                self.marked.append((self._count - self._left - 1, data[position : position + taken - 2]))
            return
        self._begun += data[position : position + taken]
        if taken == self._raw:
            if self._begun.startswith(self._marker):
                self.marked.append((self._count - self._left - 1, self._begun[:-2]))
            self._begun = b""
