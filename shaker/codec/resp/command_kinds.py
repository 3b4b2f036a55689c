"""The kinds of the stream's commands, by name: how the scanner treats them, and the bits that a run notes."""

from __future__ import annotations

from typing import Final

from shaker.codec.resp.command_events import Note

# Kinds of commands.
ORDINARY: Final = 0
SPECIAL: Final = 1
BEGINS: Final = 2
ENDS: Final = 3
# Spellings of command names remembered, so that hostile names cannot grow the table without end.
MAX_NAMES: Final = 4096


class CommandKinds:
    """Looks up commands by their names in any case.

    `special`, `frame` and `noted` are those of `StreamReader`, by names in upper case.
    """

    def __init__(
        self, special: frozenset[bytes], frame: tuple[bytes, bytes] | None, noted: dict[bytes, Note]
    ) -> None:
        self._special = special
        self._frame = frame
        self._noted = noted
        self._names: dict[bytes, int] = {}  # kinds of commands by their names as spelled
        self._notes: dict[bytes, Note] = {}  # of noted commands, by the names as spelled

    def is_special(self, name: bytes) -> bool:
        """Return whether a command comes one by one."""
        return name.upper() in self._special

    def known(self, name: bytes, arguments: int) -> tuple[int, int]:
        """Return the kind of a command and the bits to note for it."""
        kind = self._names.get(name)
        if kind is None:
            kind = self._learn(name)
        if kind >= BEGINS and arguments > 1:
            return SPECIAL, 0  # for others to refuse
        if not self._notes:
            return kind, 0
        note = self._notes.get(name)
        return kind, note.bits if note is not None and arguments >= note.least else 0

    def _learn(self, name: bytes) -> int:
        upper = name.upper()
        kind = SPECIAL if upper in self._special else ORDINARY
        if self._frame is not None and upper in self._frame:
            kind = BEGINS if upper == self._frame[0] else ENDS
        if len(self._names) < MAX_NAMES:
            self._names[name] = kind
        if upper in self._noted:
            self._notes[name] = self._noted[upper]  # as many as a name has spellings by case
        return kind
