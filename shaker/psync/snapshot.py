"""Records of a snapshot → what they mean for the target: keys, libraries, scripts, and data that stay behind."""

from __future__ import annotations

from typing import Final

from shaker.codec.rdb.skipped import without_expired
from shaker.errors import CorruptError
from shaker.model.batch import Event, KeyCount, SnapshotLibrary, SnapshotLoss, SnapshotScript
from shaker.model.entries import Aux, Entries, LargeChunk, LargeEntry, Library, Resize
from shaker.model.entries import Event as Found

# The time of a snapshot comes in whole seconds, and is looked up by the process that writes it: behind the fork,
# before which the source may have renewed a key. What expired so shortly before is left to the stream.
SLACK_MS: Final = 5000
MAX_DIGITS: Final = 12


class SnapshotContents:
    """Gives events their meaning. `database` is the one that the stream begins in.

    `exact`: the source is a primary, whose own clock decides which keys have expired; a replica keeps a key until its
    primary deletes it, and its primary may still renew it.
    """

    def __init__(self, *, exact: bool) -> None:
        self.database = 0
        self._exact = exact
        self._expired_before = -1
        self._expired = False  # the large value under way is left out

    def translate(self, found: list[Found]) -> list[Event]:
        """Return the events for `found`, in order. Raises CorruptError for records that no server writes."""
        events: list[Event] = []
        for each in found:
            if isinstance(each, Entries):
                events.append(without_expired(each, self._expired_before) if self._expired_before > 0 else each)
            elif isinstance(each, LargeEntry):
                self._expired = 0 <= each.expires_at_ms < self._expired_before
                events.append(Entries(each.database, [], [], [], [], expired=1) if self._expired else each)
            elif isinstance(each, LargeChunk):
                if not self._expired:
                    events.append(each)
            elif isinstance(each, Library):
                events.append(SnapshotLibrary(each.code))
            elif isinstance(each, Resize):
                events.append(KeyCount(each.keys))
            else:
                self._aux(each, events)
        return events

    def _aux(self, field: Aux, events: list[Event]) -> None:
        if field.name == b"repl-stream-db":
            if not field.value.isdigit() or len(field.value) > 9:
                raise CorruptError("the snapshot's field repl-stream-db is no database number")
            self.database = int(field.value)
        elif field.name == b"lua":
            events.append(SnapshotScript(field.value))
        elif field.name == b"ctime" and field.value.isdigit() and len(field.value) <= MAX_DIGITS and self._exact:
            self._expired_before = int(field.value) * 1000 - SLACK_MS
        elif field.name == b"module-aux":
            events.append(SnapshotLoss("MODULE AUX", field.value.decode("ascii", "backslashreplace")))
