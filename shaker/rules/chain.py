"""The ordered list of rules through which every key of a snapshot and every command of the stream passes.

Nothing else changes a key or a command. Rules apply in two places, each in the order of its list:

1. where they are received, before the window. `RECEIVED` rules depend on the key or command alone: which of them
   are data, and in which form a client may send them. What waits in the window is what takes effect.
2. where requests are written, after the window. The rules of `Chain.written`, `Chain.restored` and
   `Chain.large_restored` depend on the time and on the target: expiries, the form of RESTORE, MSET.

A command that no rule changes stays in the run of raw bytes in which it came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from shaker.codec.resp.command_events import Note
from shaker.model.batch import CommandRun
from shaker.model.entries import Entries, LargeEntry
from shaker.rules.client_forms import ClientForms, HugeForm
from shaker.rules.command_table import CommandTable
from shaker.rules.expiring_commands import NOTED
from shaker.rules.expiry import Rewritten, Times, rewrite
from shaker.rules.mset import mset
from shaker.rules.older_target import OlderTarget
from shaker.rules.reserved import ReservedKeys
from shaker.rules.restore import LargeRestored, Restored, large_restored, restore_requests
from shaker.rules.rule import Received, Rule
from shaker.rules.sentinel_hello import SentinelHello
from shaker.rules.target_form import EVERYTHING, TargetForm

# Records go first: the rules after them see data only.
RECEIVED: Final[tuple[Callable[[CommandTable, TargetForm], Rule], ...]] = (
    lambda table, form: ReservedKeys(table),
    lambda table, form: SentinelHello(),
    lambda table, form: ClientForms(),
    OlderTarget,
)


class Written(NamedTuple):
    """Requests for a run of commands, and the keys in it to remember, None for none.

    One request for several commands is their MSET.
    """

    pieces: tuple[bytes, ...]
    requests: int
    found: Rewritten | None = None


class Chain:
    """The rules for one stream. `table` has the commands of the target, `form` the values that it takes."""

    def __init__(self, table: CommandTable, form: TargetForm = EVERYTHING) -> None:
        self.table = table
        self.form = form
        self._reserved = ReservedKeys(table)
        self._rules = tuple(make(table, form) for make in RECEIVED)
        # A run with none of these marks is of no rule where it is received.
        self.received_marks = 0
        # Commands that get marks: for rules of both places, by names in upper case.
        self.notes: dict[bytes, Note] = dict(NOTED)
        for rule in self._rules:
            self.received_marks |= rule.marks
            for name, note in rule.notes.items():
                known = self.notes.get(name)
                self.notes[name] = Note(note.bits | known.bits, min(note.least, known.least)) if known else note

    # Where they are received.

    def marks(self, name: bytes, arguments: int) -> int:
        """Return the marks of a command, name in upper case, of so many arguments with its name."""
        note = self.notes.get(name)
        return note.bits if note is not None and arguments >= note.least else 0

    def commands(self, run: Received) -> Received:
        """Return what becomes of a run of commands."""
        for rule in self._rules:
            if run.marks & rule.marks:
                run = rule.commands(run)
        if run.marks & self.received_marks:
            run = run._replace(marks=run.marks & ~self.received_marks)
        return run

    def entries(self, entries: Entries, skipped: list[bytes]) -> Entries:
        """Return what becomes of keys of a snapshot; keys left out are appended to `skipped`."""
        for rule in self._rules:
            entries = rule.entries(entries, skipped)
        return entries

    def large(self, entry: LargeEntry) -> LargeEntry | None:
        """Return what becomes of a key whose value is too large to hold, None to leave it out."""
        for rule in self._rules:
            changed = rule.large(entry)
            if changed is None:
                return None
            entry = changed
        return entry

    def huge_form(self, arguments: list[bytes]) -> HugeForm:
        """Return what changes a huge command on its way; `arguments` are those that its first fragment holds."""
        return HugeForm(arguments)

    def huge_is_reserved(self, begun: list[bytes], marked: tuple[tuple[int, bytes], ...], count: int) -> bool:
        """Return whether a huge command would write a record (see `ReservedKeys.huge`)."""
        return self._reserved.huge(begun, marked, count)

    def source_key(self, database: int, key: bytes) -> tuple[int, bytes] | None:
        """Return database and name on the source of a key on the target, None where it is not the source's."""
        for rule in reversed(self._rules):
            found = rule.source_key(database, key)
            if found is None:
                return None
            database, key = found
        return database, key

    # Where requests are written.

    def written(self, run: CommandRun, times: Times | None, *, any_waiting: bool) -> Written:
        """Return the requests for a run of commands; without `times` no expiry in it is changed."""
        if run.prefix:
            return Written(mset(run.data, run.commands), 1)
        if times is None:
            return Written((run.data,), run.commands)
        found = rewrite(run.data, times, any_waiting=any_waiting)
        return Written((found.data,), run.commands, found)

    def restored(self, entries: Entries, times: Times) -> Restored:
        """Return the requests for keys of a snapshot."""
        return restore_requests(entries, times.near, times.until, times.margin, self.form)

    def large_restored(self, entry: LargeEntry, times: Times) -> LargeRestored:
        """Return the request for a value that passes in chunks, without the value."""
        return large_restored(entry, times.near, times.until, times.margin)
