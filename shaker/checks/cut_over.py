"""After a cutover the target has writers of its own: a later worker must not apply the old source's stream to it."""

from __future__ import annotations

from shaker.apply.records import Checkpoint
from shaker.errors import RefusedError
from shaker.model.cutover import CutoverNote


def refuse_after_cutover(checkpoint: Checkpoint) -> None:
    """Raise RefusedError where the checkpoint has the note of a cutover that is done."""
    note = CutoverNote.parse(checkpoint.cutover)
    if note is not None and note.done:
        raise RefusedError(
            f"this replication was cut over at offset {note.offset}: the target has taken the source's place",
            hint="`shaker abort` with the same settings undoes the fence on the source and lets the worker resume",
        )
