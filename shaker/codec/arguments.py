"""Following the arguments of one huge command without holding them."""

from __future__ import annotations

from typing import Final

# The longest `*<count>` or `$<length>` line: one byte, 19 digits, CRLF.
MAX_HEADER: Final = 22


class ArgumentSkipper:
    """Knows where a command ends from the lengths of its arguments; any split of the bytes gives the same end.

    `left` arguments are still to come, besides `raw` bytes of the one under way (its CRLF included).
    """

    def __init__(self, left: int, raw: int) -> None:
        self._left = left
        self._raw = raw
        self._header = b""

    @property
    def finished(self) -> bool:
        """Whether the last byte of the command was passed."""
        return self._left == 0 and self._raw == 0

    def skip(self, data: bytes) -> int:
        """Pass what `data` holds of the command; return its length, or -1 for bytes that are no argument."""
        size = len(data)
        position = 0
        while True:
            if self._raw:
                taken = min(self._raw, size - position)
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
            self._raw = int(header[1:-2]) + 2
