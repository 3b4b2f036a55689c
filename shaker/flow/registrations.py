"""The registered connection that writes to the target now, for jobs that write through its session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from shaker.apply.session import TargetSession


class Registration:
    """One registered connection: its session, and the event of its loss."""

    def __init__(self, session: TargetSession) -> None:
        self.session = session
        self.ended = anyio.Event()


class Registrations:
    """At most one registration at a time. A job never continues on the next one."""

    def __init__(self) -> None:
        self._current: Registration | None = None
        self._begun = anyio.Event()

    @contextmanager
    def writing(self, session: TargetSession) -> Iterator[None]:
        """Offer `session` to jobs for the duration of the block."""
        current = self._current = Registration(session)
        self._begun.set()
        self._begun = anyio.Event()
        try:
            yield
        finally:
            self._current = None
            current.ended.set()

    async def current(self) -> Registration:
        """Return the present registration, and wait for one if there is none."""
        while self._current is None:
            await self._begun.wait()
        return self._current
