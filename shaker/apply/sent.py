"""Requests sent inside a transaction, and commands of it that failed."""

from __future__ import annotations

from typing import NamedTuple

from shaker.model.batch import CommandRun
from shaker.model.items import StreamItem
from shaker.model.rejection import Rejection


class Sent(NamedTuple):
    """Requests sent inside a transaction: a run of commands of an item, or without one the worker's own.

    One request for a run of several commands is the MSET that they were joined to. `first` is the number of the
    run's first command in the window's count.
    """

    requests: int
    item: StreamItem | None = None
    part: CommandRun | None = None
    first: int = 0

    @property
    def joined(self) -> bool:
        """Whether the commands went as one."""
        return self.part is not None and self.requests < self.part.commands


class Failed(NamedTuple):
    """A command that the target rejected inside EXEC, which may be because its keys differ there.

    `missing`: it failed the way it fails without its key, which may have expired early. `keys` are those that it
    changes, by database. The SWAPDBs of its transaction have moved its own database to `database`.
    """

    database: int
    arguments: list[bytes]
    rejection: Rejection
    item: StreamItem
    keys: dict[int, set[bytes]]
    missing: bool


class Missed(NamedTuple):
    """A command that failed because of the server's state: its keys by database, none where they are not known.

    Without a `rejection` it is one of the worker's own.
    """

    keys: dict[int, set[bytes]]
    rejection: Rejection | None
