"""Data of a snapshot that the target cannot hold: refused by name before they are sent, or left out and counted."""

from __future__ import annotations

from typing import Final

import structlog

from shaker.errors import UnfaithfulError, quoted
from shaker.model.entries import Entries, Entry, LargeEntry
from shaker.rules.built_values import lacking
from shaker.rules.target_form import TargetForm
from shaker.watch.status import FlowStatus

log = structlog.get_logger("shaker.source")

SHOWN_KEYS: Final = 10  # left-out keys that the log names one by one


class Unsupported:
    """Judges by the `form` of the target, which says whether it is an error."""

    def __init__(self, form: TargetForm, status: FlowStatus) -> None:
        self._form = form
        self._status = status

    def without(self, entries: Entries) -> Entries:
        """Return the entries that the target can hold; of hashes, it is their expiries alone that it may lack.

        Raises UnfaithfulError for the first of the others, unless the settings allow to leave them out.
        """
        if not entries.rare:
            return entries
        values: list[bytes] = []
        others: list[Entry] = []
        for index in range(0, len(entries.values), 2):
            key, payload = entries.values[index : index + 2]
            if self._holds(key, entries.database, payload):
                values += (key, payload)
        for entry in entries.entries:
            if self._holds(entry.key, entries.database, entry.payload):
                others.append(entry)
        return entries._replace(values=values, entries=others)

    def note_large(self, entry: LargeEntry) -> None:
        """Count a value whose payload follows and whose expiries of fields are left out, or raise UnfaithfulError."""
        self._left_out(entry.key, entry.database, self._form.lacking_large(entry))

    def leaves_out_library(self) -> bool:
        """Return whether a function library is left out; raises UnfaithfulError where it must not be."""
        if self._form.able.functions:
            return False
        if not self._form.skips:
            raise UnfaithfulError(
                "the source has function libraries, the target knows no functions",
                hint="take a target of Redis 7.0 or newer, delete the libraries on the source, or leave them out by "
                "target.on_unsupported=skip",
                kind="function",
            )
        self._status.keys.unsupported_skipped += 1
        return True

    def _holds(self, key: bytes, database: int, payload: bytes) -> bool:
        what = self._form.lacking(payload)
        self._left_out(key, database, what)
        return not what or self._form.holds_without(payload)

    def _left_out(self, key: bytes, database: int, what: str) -> None:
        if not what:
            return
        if not self._form.skips:
            raise lacking(key, what)
        self._status.keys.unsupported_skipped += 1
        if self._status.keys.unsupported_skipped <= SHOWN_KEYS:
            log.warning("unsupported data left out", key=quoted(key), database=database, lacking=what)
