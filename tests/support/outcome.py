"""What a stream comes to, whatever its cuts: the commands applied in order and where it stands behind them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import hiredis

from shaker.codec.resp.requests import whole
from shaker.model.batch import AckRequested, Batch, Event, held_bytes
from shaker.model.entries import Entries, Entry
from shaker.rules.expiring_commands import SWAPS
from tests.support.rdb_bytes import listed


class Applied(NamedTuple):
    """All batches of a run as one: (database, arguments) of each command, and the position in the end."""

    commands: list[tuple[int, list[bytes]]]
    offset: int | None
    database: int | None
    acks: list[int]


def requests(data: bytes) -> list[list[bytes]]:
    """Return the requests in `data`, read by hiredis; all of it must be requests."""
    reader = hiredis.Reader(notEnoughData=Ellipsis)
    reader.feed(data)
    found = []
    while (request := reader.gets()) is not Ellipsis:
        found.append(request)
    assert not reader.has_data()
    return found


def commands_of(batch: Batch) -> list[tuple[int, list[bytes]]]:
    """Return (database, arguments) of each command, after checking that the batch counts them right."""
    found = []
    for part in batch.parts:
        inside = requests(whole(part.data, part.prefix))
        assert part.commands == len(inside) > 0
        found += [(part.database, arguments) for arguments in inside]
    assert batch.commands == len(found)
    assert batch.size == held_bytes(batch.parts, len(batch.rejected))
    # Neighbouring parts are of different databases, or lack different beginnings, or one of them swaps databases,
    # which is a part of its own.
    for part, following in pairwise(batch.parts):
        alike = part.database == following.database and part.prefix == following.prefix
        assert not alike or (part.expiries | following.expiries) & SWAPS
    assert all(part.commands == 1 for part in batch.parts if part.expiries & SWAPS)
    return found


def applied(events: Iterable[Event]) -> Applied:
    """Return what the batches among `events` come to; offsets must rise from one to the next."""
    commands: list[tuple[int, list[bytes]]] = []
    acks = []
    offset = database = None
    for event in events:
        if isinstance(event, Batch):
            assert offset is None or event.end_offset > offset
            commands += commands_of(event)
            offset, database = event.end_offset, event.database
        elif isinstance(event, AckRequested):
            acks.append(event.offset)
    return Applied(commands, offset, database, acks)


def keys_of(events: Iterable[Event]) -> dict[tuple[int, bytes], Entry]:
    """Return the snapshot's keys by database and name; each comes once."""
    found = [(event.database, entry) for event in events if isinstance(event, Entries) for entry in listed(event)]
    keys = {(database, entry.key): entry for database, entry in found}
    assert len(keys) == len(found)
    return keys


def others(events: Iterable[Event]) -> list[Event]:
    """Return the events that do not depend on where the bytes are cut."""
    return [event for event in events if not isinstance(event, Batch | AckRequested | Entries)]
