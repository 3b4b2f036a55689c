"""The parts of a snapshot that are no applied keys: libraries, scripts, losses, and keys left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import structlog

from shaker.errors import UnfaithfulError
from shaker.model.batch import SnapshotLibrary, SnapshotLoss, SnapshotScript
from shaker.model.entries import Entries
from shaker.model.rejection import Rejection
from shaker.rules.scripts import Scripts
from shaker.watch.status import FlowStatus

log = structlog.get_logger("shaker.source")

MAX_LOSSES: Final = 1000  # a server has a handful of modules, and each writes its data at most twice
SHOWN_KEYS: Final = 10  # left-out keys that the log names one by one
SHOWN_CHARACTERS: Final = 128
SCRIPT_BYTES: Final = 1024 * 1024  # of scripts that are sent at once


class SnapshotExtras:
    """Keeps the libraries and scripts of one snapshot, at most `limit` bytes, and logs the keys left out."""

    def __init__(self, status: FlowStatus, limit: int) -> None:
        self.losses: list[Rejection] = []
        self._status = status
        self._limit = limit
        self._libraries: list[bytes] = []
        self._scripts: list[bytes] = []
        self._bytes = 0
        self._empty = self._expired = 0

    def keep(self, event: SnapshotLibrary | SnapshotLoss | SnapshotScript) -> None:
        """Keep a library, script or loss: they are applied after the keys."""
        if isinstance(event, SnapshotLibrary):
            self._libraries.append(event.code)
            self._bytes += len(event.code)
        elif isinstance(event, SnapshotScript):
            self._scripts.append(event.body)
            self._bytes += len(event.body)
        else:
            self.losses.append(Rejection(event.kind, event.name, "no command carries module data outside of keys"))
        if len(self.losses) > MAX_LOSSES or self._bytes > self._limit:
            raise UnfaithfulError(
                "libraries, scripts or data of modules beyond memory_limit (SHAKER_MEMORY_LIMIT): raise it"
            )

    def left_out(self, event: Entries) -> None:
        """Log and count empty and expired keys: a server that loads a snapshot leaves them out, too."""
        for key in event.empty:
            self._empty += 1
            if self._empty <= SHOWN_KEYS:
                shown = key[:SHOWN_CHARACTERS].decode("utf-8", "backslashreplace")
                log.warning("empty key skipped", key=shown, database=event.database)
        self._expired += event.expired
        self._status.keys.empty_skipped += len(event.empty)
        self._status.keys.expired_skipped += event.expired

    def libraries(self) -> tuple[bytes, ...]:
        """Return the code of the function libraries."""
        if self._empty or self._expired:
            log.info("keys of the snapshot skipped", empty=self._empty, expired=self._expired)
        return tuple(self._libraries)

    def scripts(self, known: Scripts) -> Iterator[tuple[bytes, ...]]:
        """Yield the scripts in groups, and add them to `known`."""
        bodies: list[bytes] = []
        size = 0
        for body in self._scripts:
            known.add(body)
            bodies.append(body)
            size += len(body)
            if size >= SCRIPT_BYTES:
                yield tuple(bodies)
                bodies, size = [], 0
        if bodies:
            yield tuple(bodies)
