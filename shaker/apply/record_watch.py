"""Whether somebody else took the checkpoint: by the number of fields that each write adds to it."""

from __future__ import annotations

from shaker.errors import RecordsWipedError


class RecordWatch:
    """Watches the record of one connection; at its registration the record lacked `lacks` fields."""

    def __init__(self, lacks: int) -> None:
        self._lacks = lacks

    def written(self, new_fields: int, *, wiped: bool = False) -> None:
        """Raise RecordsWipedError where a write added fields that the record had; `wiped`: the worker took them."""
        lacks, self._lacks = self._lacks, 0
        if new_fields > lacks and not wiped:
            raise RecordsWipedError(
                f"the checkpoint on the target was removed or replaced: {new_fields} fields of it were gone",
                hint="who used FLUSHALL, FLUSHDB, SWAPDB or DEL there? what else is gone only a full resync brings",
            )
