"""Which arguments of a command are keys, by the table that the server's own COMMAND answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

# Where in a row of COMMAND the subcommands are.
SUBCOMMANDS = 9


class KeyPositions(NamedTuple):
    """Where a command's keys are: first and last argument (last < 0 counts from the end), and the step between.

    `movable`: the positions depend on the arguments, so that this table does not have them all. `frees`: it writes, and
    the server takes it when its memory is full.
    """

    first: int
    last: int
    step: int
    movable: bool
    frees: bool = False


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
        """Return the indexes of the keys among `arguments` (name first), None when the table does not have them."""
        keys = self._keys(arguments, len(arguments))
        return None if keys is None else list(keys)

    def frees(self, name: bytes) -> bool:
        """Return whether a server that is out of memory takes a command that writes."""
        row = self._rows.get(name.decode("latin-1").lower())
        return row is not None and row.frees

    def may_be_key(self, begun: list[bytes], index: int, count: int) -> bool:
        """Return whether the argument `index` of `count` can be a key of the command that `begun` begins."""
        keys = self._keys(begun, count)
        return keys is None or index in keys

    def _keys(self, begun: list[bytes], count: int) -> range | None:
        row = self._row(begun)
        if row is None or row.movable:
            return None
        if row.first <= 0 or row.step <= 0:
            return range(0)
        last = row.last if row.last >= 0 else count + row.last
        return range(row.first, min(last + 1, count), row.step)

    def _row(self, begun: list[bytes]) -> KeyPositions | None:
        row = self._rows.get(begun[0].decode("latin-1").lower())
        if row is not None and row.first <= 0 and len(begun) > 1:
            # A command that only holds subcommands has no keys of its own (Redis 7.0 and later).
            subcommand = begun[1].decode("latin-1").lower()
            return self._rows.get(f"{begun[0].decode('latin-1').lower()}|{subcommand}", row)
        return row

    def has_one_key(self, name: bytes) -> bool:
        """Whether a command has exactly one key."""
        row = self._rows.get(name.decode("latin-1").lower())
        return row is not None and 0 < row.first == row.last and not row.movable

    def first_key(self, arguments: list[bytes]) -> bytes | None:
        """Return the first key of a command, for a log line; None when it has none or the table does not have it."""
        indexes = self.key_indexes(arguments)
        return arguments[indexes[0]] if indexes else None


def _add_rows(rows: dict[str, KeyPositions], reply: Iterable[object]) -> None:
    for row in reply:
        if isinstance(row, list) and len(row) >= 6:
            name, _, flags, first, last, step = row[:6]
            # A row of another shape counts as missing.
            if isinstance(flags, Iterable) and all(isinstance(each, int) for each in (first, last, step)):
                said = {_text(flag) for flag in flags}
                movable = "movablekeys" in said
                frees = "write" in said and not movable and not said & {"denyoom", "noscript"}
                rows[_text(name).lower()] = KeyPositions(int(first), int(last), int(step), movable, frees)
            if len(row) > SUBCOMMANDS and isinstance(row[SUBCOMMANDS], Iterable):
                _add_rows(rows, row[SUBCOMMANDS])


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
