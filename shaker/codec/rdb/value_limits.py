"""Sizes above which a value of a snapshot is refused, or comes in chunks."""

from __future__ import annotations

from typing import Final

from shaker.codec.rdb.value_types import LISTS, MODULE_VALUE, PLAIN_STRING, STREAMS, Dialect

# Collections up to this size are built from their whole payload.
BUILT_WHOLE: Final = 1024 * 1024
# One RESTORE of more bytes blocks a server for over 50 ms, unless it is of a string or a list: one of a sorted set of
# 25 MiB, a million elements, for 0.7 s.
QUICKLY_RESTORED: Final = 2 * 1024 * 1024
EVERY_VERSION: Final = bytes([1]) * 256


def restored_up_to(number: int, limit: int) -> int:
    """Return the bytes up to which a value of the RDB type `number` goes in one RESTORE, where `limit` bytes may."""
    return limit if number == PLAIN_STRING or number in LISTS else min(limit, QUICKLY_RESTORED)


class ValueLimits:
    """Limits in bytes: `max_value` for values that are held, `large_above` for strings, `build_above` for collections.

    None: such values never come in chunks. Collections other than lists are built above QUICKLY_RESTORED as well.
    `taken` has a 0 for each RDB version that the target does not take.
    """

    def __init__(self, max_value: int, large_above: int | None, build_above: int | None, taken: bytes) -> None:
        self.max_value = max_value
        self.large_above = large_above
        self.build_above = build_above
        self.taken = taken

    def know_version(self, version: int) -> None:
        """Lower the limit of collections where the target does not take payloads of the snapshot's version."""
        if self.build_above is not None and not self.taken[version]:
            self.build_above = min(self.build_above, BUILT_WHOLE)

    def is_large(self, dialect: Dialect, opcode: int, size: int, remaining: int) -> bool:
        """Return whether a value of `size` bytes so far comes in chunks, `remaining` of them still to be read."""
        if not dialect.is_type[opcode]:
            return False
        if dialect.is_string[opcode]:
            return self.large_above is not None and size > self.large_above and remaining > 0
        if self.build_above is None or opcode == MODULE_VALUE:
            return False
        return size > (self.max_value if opcode in STREAMS else restored_up_to(opcode, self.build_above))

    def is_large_stream(self, opcode: int, size: int) -> bool:
        """Return whether a whole stream of `size` bytes is built from commands."""
        limit = self.build_above
        return opcode in STREAMS and limit is not None and size > restored_up_to(opcode, limit)
