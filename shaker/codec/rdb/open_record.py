"""The record of a snapshot that the skipper is in."""

from __future__ import annotations


class OpenRecord:
    """One record, or the value of a key, that is read in steps.

    `opcode` is -1 outside records. `key` is None before it is read. `offset` is the record's place in the snapshot.
    `parts` are the bytes held of it, `collected` counts its bytes passed, those given out among them.
    `large`: its value is given out in chunks, with `checksum` over them.
    """

    def __init__(self) -> None:
        self.opcode = -1
        self.key: bytes | None = None
        self.offset = 0
        self.parts: list[bytes] = []
        self.collected = 0
        self.large = False
        self.checksum = 0

    def close(self) -> None:
        """Leave the record."""
        self.opcode = -1
        self.key = None
        self.parts = []
        self.large = False
