"""The interface of the rules that apply where keys and commands are received."""

from __future__ import annotations

from typing import NamedTuple

from shaker.codec.resp.command_events import Note
from shaker.model.entries import Entries, LargeEntry


class Received(NamedTuple):
    """A run of whole commands of one database on its way through the chain.

    `marks` are bits of what may be in it. `skipped` counts commands left out because they are not data;
    `rejected` are the names, in upper case, of commands left out that are. `unsupported` counts those left out, whole
    or in part, because the target cannot hold what they set.
    """

    data: bytes
    commands: int
    marks: int
    skipped: int = 0
    rejected: tuple[bytes, ...] = ()
    unsupported: int = 0


class Rule:
    """One rule; a method that a rule does not override changes nothing.

    A rule sees only the runs that have one of its `marks`: all others pass as the raw bytes that the source sent.
    `notes` are the commands that get a mark, by names in upper case.
    """

    marks: int = 0
    notes: dict[bytes, Note] = {}

    def entries(self, entries: Entries, skipped: list[bytes]) -> Entries:
        """Return what becomes of keys of a snapshot; keys left out are appended to `skipped`."""
        return entries

    def large(self, entry: LargeEntry) -> LargeEntry | None:
        """Return what becomes of a key of a snapshot whose value is too large to hold, None to leave it out."""
        return entry

    def commands(self, run: Received) -> Received:
        """Return what becomes of a run of commands."""
        return run

    def source_key(self, database: int, key: bytes) -> tuple[int, bytes] | None:
        """Return database and name on the source of a key on the target, None where it is not the source's."""
        return database, key
