"""Points of replication: where the source resumes, and the position of the checkpoint on the target."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Phase(StrEnum):
    """Phase of a replication, as the checkpoint records it."""

    NONE = ""
    SNAPSHOT = "snapshot"
    STREAM = "stream"


class Sweep(StrEnum):
    """Progress of the removal of stale keys after a full synchronization, as the checkpoint records it.

    While LISTING, the keys of the target are being listed and no key of the snapshot is applied. Once LISTED, each
    key that the snapshot brings leaves the list; the keys that remain are removed after the snapshot.
    """

    NONE = ""
    LISTING = "listing"
    LISTED = "listed"


class Resume(NamedTuple):
    """Where the source is asked to continue: history, offset in bytes, database selected there."""

    replid: str
    offset: int
    database: int


class Position(NamedTuple):
    """A position of the checkpoint: replication id and offset in the stream, or id and batch number of a snapshot."""

    phase: Phase
    history: str
    number: int
