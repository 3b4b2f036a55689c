"""Checkpoints that other workers write on the source: reported once for each change of who they are."""

from __future__ import annotations

from typing import Final

from shaker.model.batch import RecordWritten

CHECKPOINT: Final = b"shaker:checkpoint:"
# Fields of a checkpoint that identify the worker; each of its transactions writes all fields, with another offset.
WHO: Final = frozenset((b"source", b"source_run_id", b"replid", b"origins", b"phase", b"turned"))
MAX_RECORDS: Final = 256  # more workers than write to any one server


class RecordsSeen:
    """Remembers what each record said last."""

    def __init__(self) -> None:
        self._seen: dict[bytes, tuple[bytes, ...]] = {}

    def note(self, arguments: list[bytes]) -> RecordWritten | None:
        """Return what a command writes to a checkpoint, None where that is no news."""
        if arguments[0].upper() != b"HSET" or not arguments[1].startswith(CHECKPOINT):
            return None
        key, names, values = arguments[1], arguments[2::2], arguments[3::2]
        who = tuple(value for name, value in zip(names, values, strict=False) if name in WHO)
        if not who or self._seen.get(key) == who or (key not in self._seen and len(self._seen) >= MAX_RECORDS):
            return None
        self._seen[key] = who
        return RecordWritten(key, tuple(arguments[2:]))
