"""State of the scanner between two chunks of the stream."""

from __future__ import annotations

from shaker.codec.resp.command_kinds import ORDINARY


class OpenCommand:
    """The first command that is not whole. `left` are its unread arguments, -1 before its header.

    `unnamed`: these include its name. `marked`: an argument begins with the marker.
    """

    def __init__(self) -> None:
        self.left = -1
        self.unnamed = False
        self.kind = ORDINARY
        self.marked = False
        self.bits = 0


class LastCommand:
    """The last ordinary command with arguments: `prefix` is count and name as sent, `left` its further arguments."""

    def __init__(self) -> None:
        self.prefix = b""
        self.left = 0
        self.bits = 0
