"""Wake-ups: how the tasks of one flow wait for each other."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio


class Wakeup:
    """Wakes its one waiter; a `set` while nobody waits is kept for the next wait."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        """Wake the waiter."""
        self._event.set()

    async def wait(self) -> None:
        """Return after the next `set`, at once if one came since the last wait."""
        await self._event.wait()
        self._event = anyio.Event()


@dataclass(slots=True)
class Wakeups:
    """The wake-ups of one flow, each named for its reason."""

    work: Wakeup = field(default_factory=Wakeup)  # the window or a reply changed: for the writer
    space: Wakeup = field(default_factory=Wakeup)  # the window has room: for the reader
    barrier: Wakeup = field(default_factory=Wakeup)  # a barrier is requested: for the reader
    acknowledge: Wakeup = field(default_factory=Wakeup)  # the applied offset that the source asked for is reached
    sweep: Wakeup = field(default_factory=Wakeup)  # stale keys have to be removed before anything else is written
    deletions: Wakeup = field(default_factory=Wakeup)  # an operator lets held deletions continue
    restart_source: Wakeup = field(default_factory=Wakeup)  # the window does not reach where the target is
    restart_target: Wakeup = field(default_factory=Wakeup)  # what the connection has begun has to be dropped
    note: Wakeup = field(default_factory=Wakeup)  # the checkpoint has to keep a note at once
    records_gone: Wakeup = field(default_factory=Wakeup)  # the worker's records on the target were removed
