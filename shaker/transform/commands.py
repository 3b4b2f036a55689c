"""Which arguments of a command are keys, by the table that the server's own COMMAND answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

# The workers' own records in a target begin so. A source that is itself a target has them, too.
RESERVED: Final = b"shaker:"
# Their keys, each with the name of a worker, as the settings allow it; all other keys are data.
_RECORD: Final = re.compile(
    rb"shaker:(?:fence|checkpoint|stale|expiring|copying|doubtful):[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
)
# Where in a row of COMMAND the subcommands are.
SUBCOMMANDS = 9


def is_record(key: bytes) -> bool:
    """Return whether `key` is a record of a worker, whatever its name: not data."""
    return key.startswith(RESERVED) and _RECORD.fullmatch(key) is not None


class KeyPositions(NamedTuple):
    """Where a command's keys are: first and last argument (last < 0 counts from the end), and the step between.

    `movable`: the positions depend on the arguments, so that this table cannot tell them all.
    """

    first: int
    last: int
    step: int
    movable: bool


class CommandTable:
    """Key positions of every command of a server, from the reply to COMMAND (redis.io/commands/command)."""

    def __init__(self, rows: Mapping[str, KeyPositions]) -> None:
        self._rows = dict(rows)

    @classmethod
    def from_reply(cls, reply: Iterable[object]) -> CommandTable:
        """Build the table from the raw reply of COMMAND: rows of name, arity, flags, first, last, step.

        From Redis 7.0 on a row ends with the rows of its subcommands, named like `xgroup|create`.
        """
        rows: dict[str, KeyPositions] = {}
        _add_rows(rows, reply)
        return cls(rows)

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._rows

    def key_indexes(self, arguments: list[bytes]) -> list[int] | None:
        """Return the indexes of the keys among `arguments` (name first), None when the table cannot tell."""
        name = arguments[0].decode("latin-1").lower()
        row = self._rows.get(name)
        if row is not None and row.first <= 0 and len(arguments) > 1:
            # A command that only holds subcommands has no keys of its own (Redis 7.0 and later).
            row = self._rows.get(f"{name}|{arguments[1].decode('latin-1').lower()}", row)
        if row is None or row.movable:
            return None
        if row.first <= 0 or row.step <= 0:
            return []
        last = row.last if row.last >= 0 else len(arguments) + row.last
        return [index for index in range(row.first, last + 1, row.step) if index < len(arguments)]

    def first_key(self, arguments: list[bytes]) -> bytes | None:
        """Return the first key of a command, for a log line; None when it has none or the table cannot tell."""
        indexes = self.key_indexes(arguments)
        return arguments[indexes[0]] if indexes else None


def _add_rows(rows: dict[str, KeyPositions], reply: Iterable[object]) -> None:
    for row in reply:
        if isinstance(row, list) and len(row) >= 6:
            name, _, flags, first, last, step = row[:6]
            # A row of another shape tells nothing, as one that is missing.
            if isinstance(flags, Iterable) and all(isinstance(each, int) for each in (first, last, step)):
                movable = any(_text(flag) == "movablekeys" for flag in flags)
                rows[_text(name).lower()] = KeyPositions(int(first), int(last), int(step), movable)
            if len(row) > SUBCOMMANDS and isinstance(row[SUBCOMMANDS], Iterable):
                _add_rows(rows, row[SUBCOMMANDS])


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
