"""After a cutover the target has writers of its own: the old source's stream must not be applied to it.

A cutover with `--reverse` turns the replication round. Each server then has a checkpoint of this name, and exactly one
of them counts: the later one, once the note in the other says that the replication was turned. A checkpoint that was
written for a turn that did not take place is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping

from shaker.apply.records import Checkpoint, checkpoint_key
from shaker.errors import RefusedError
from shaker.model.cutover import CutoverNote, Turn
from shaker.net.client import open_client
from shaker.net.reply_types import record
from shaker.settings.endpoints import Endpoint
from shaker.settings.schema import Settings
from shaker.settings.turned import turned_round


class OtherDirection(Exception):
    """The replication runs in the other direction. `shut` are rules of users that are to be restored on the target."""

    def __init__(self, shut: Mapping[str, str]) -> None:
        super().__init__("the replication runs in the other direction")
        self.shut = shut


def refuse_after_cutover(checkpoint: Checkpoint) -> None:
    """Raise RefusedError where the checkpoint has the note of a cutover that is done, OtherDirection if it turned."""
    note = CutoverNote.parse(checkpoint.cutover)
    if note is None or not note.done:
        return
    turn = Turn.parse(checkpoint.turned)
    if note.turned:
        raise OtherDirection(turn.shut)
    users = ", ".join(turn.shut)
    lacking = f"; give back the rights of the users of the target: {users}" if users else ""
    raise RefusedError(
        f"this replication was cut over at offset {note.offset}: the target has taken the source's place",
        hint="`shaker abort` with the same settings undoes the fence on the source and lets the worker resume"
        f"{lacking}",
    )


async def check_direction(settings: Settings, checkpoint: Checkpoint) -> None:
    """Raise OtherDirection where the checkpoint of the source counts instead of the target's; raises LinkError.

    Raises RefusedError where the replication was turned and the source has no checkpoint of the turn.
    """
    turn = Turn.parse(checkpoint.turned)
    note = CutoverNote.parse(checkpoint.cutover)
    turned = note is not None and note.done and note.turned
    if not turned and not turn.number:
        return
    other = await read_checkpoint(settings.source, settings.name)
    number = -1 if other is None else Turn.parse(other.turned).number
    if turned:
        if number != turn.number + 1:
            raise RefusedError(
                f"this replication was turned round, and {settings.source.address.text} has no checkpoint of that",
                hint="was it flushed or replaced? a new replication from the other server needs an empty target and a "
                f"name of its own, or DEL {checkpoint_key(settings.name)} on both",
            )
        raise OtherDirection(turn.shut)
    if other is not None and number == turn.number - 1:
        before = CutoverNote.parse(other.cutover)
        if before is None or not (before.done and before.turned):
            raise OtherDirection({})


async def read_checkpoint(endpoint: Endpoint, name: str) -> Checkpoint | None:
    """Return the checkpoint of `name` on a server; raises LinkError."""
    async with open_client(endpoint) as client:
        (reply,) = await client.results([("HGETALL", checkpoint_key(name))], "reading the checkpoint")
        return Checkpoint.parse(record(reply))


async def present_direction(settings: Settings) -> tuple[Settings, Checkpoint | None]:
    """Return the settings of the direction in which the replication runs, and its checkpoint; raises LinkError."""
    checkpoint = await read_checkpoint(settings.target, settings.name)
    if checkpoint is not None:
        try:
            await check_direction(settings, checkpoint)
        except OtherDirection:
            other = turned_round(settings)
            return other, await read_checkpoint(other.target, settings.name)
    return settings, checkpoint
