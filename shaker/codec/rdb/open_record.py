"""The record of a snapshot that the skipper is in."""

from __future__ import annotations

from typing import Final

from shaker.codec.rdb.value_types import FIRST_OPCODE
from shaker.errors import quoted

SHOWN_KEY: Final = 128  # bytes of a key that an error shows


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

    @property
    def in_key(self) -> bool:
        """Whether the key of a value is being read."""
        return self.key is None and self.opcode < FIRST_OPCODE

    def place(self, database: int, offset: int) -> str:
        """Return where the record is, for errors: type or opcode, key, database, and `offset` in the snapshot."""
        name = "type" if self.opcode < FIRST_OPCODE else "opcode"
        key = ""
        if self.key is not None:
            more = "" if len(self.key) <= SHOWN_KEY else f"... ({len(self.key)} bytes)"
            key = f" of key {quoted(self.key, SHOWN_KEY)}{more}"
        return f"{name} {self.opcode}{key} in database {database}, byte {offset} of the snapshot"
