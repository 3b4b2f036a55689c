"""Rule: records of workers on the source are not data. No command that would write one reaches the target.

A source that is the target of another worker carries that worker's records in its stream. Forwarded, they would
overwrite the records of this worker.
"""

from __future__ import annotations

from typing import Final

from shaker.codec.resp.replies import encode
from shaker.codec.resp.requests import split
from shaker.model.entries import Entries, LargeEntry
from shaker.rules.command_table import CommandTable
from shaker.rules.record_keys import is_record, without_records
from shaker.rules.rule import Received, Rule

# The run is one command with an argument that begins like a record's key.
MENTIONS: Final = 1 << 11


class ReservedKeys(Rule):
    """Leaves out records. `table` has which arguments of a command are keys."""

    marks = MENTIONS

    def __init__(self, table: CommandTable) -> None:
        self._table = table

    def entries(self, entries: Entries, skipped: list[bytes]) -> Entries:
        """Leave out records."""
        return without_records(entries, skipped)

    def large(self, entry: LargeEntry) -> LargeEntry | None:
        """Leave out a record."""
        return None if is_record(entry.key) else entry

    def commands(self, run: Received) -> Received:
        """Forward a command without records, drop one of records only, reject one that mixes records and data.

        From DEL and UNLINK the records are left out instead.
        """
        arguments = split(run.data)
        indexes = self._table.key_indexes(arguments)
        if indexes is None:
            return self._rejected(run, arguments) if any(map(is_record, arguments[1:])) else run
        records = {index for index in indexes if is_record(arguments[index])}
        if not records:
            return run
        if len(records) == len(indexes):
            return Received(b"", 0, 0, run.skipped + 1, run.rejected)
        if arguments[0].upper() in (b"DEL", b"UNLINK"):
            kept = [argument for index, argument in enumerate(arguments) if index not in records]
            return Received(encode(*kept), 1, 0, run.skipped + 1, run.rejected)
        return self._rejected(run, arguments)

    def huge(self, begun: list[bytes], marked: tuple[tuple[int, bytes], ...], count: int) -> bool:
        """Return whether a huge command has a record among its keys.

        `begun` are its name and next argument, `count` is how many arguments it has, and `marked` are those that
        begin like a record's key, with their indexes.
        """
        return any(
            is_record(argument) and self._table.may_be_key(begun, index, count) for index, argument in marked
        )

    def source_key(self, database: int, key: bytes) -> tuple[int, bytes] | None:
        """Return None for a record."""
        return None if is_record(key) else (database, key)

    def _rejected(self, run: Received, arguments: list[bytes]) -> Received:
        return Received(b"", 0, 0, run.skipped, (*run.rejected, arguments[0].upper()))
