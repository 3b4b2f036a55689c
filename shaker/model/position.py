"""Points of a replication stream."""

from __future__ import annotations

from typing import NamedTuple


class Resume(NamedTuple):
    """Where the source is asked to go on: history, offset in bytes, database selected there."""

    replid: str
    offset: int
    database: int
