"""Readers of hashes whose fields expire: Redis 7.4, its release candidates, Valkey 9."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from shaker.codec.values.buffer import Buffer
from shaker.codec.values.elements import NEVER, Element, ExpiringFields
from shaker.codec.values.packed import Packed
from shaker.codec.values.readers import BATCH, PackedReader, Reader
from shaker.errors import CorruptError

# The latest expiry of a field that Redis takes (server file src/ebuckets.h, EB_EXPIRE_TIME_MAX).
LAST_EXPIRY: Final = (1 << 48) - 2


def expiring_fields(batch: list[bytes]) -> Element:
    """Give out fields, values and expiries in decimal, 0 for none."""
    return ExpiringFields(
        [(batch[index], batch[index + 1], _expiry(batch[index + 2])) for index in range(0, len(batch), 3)]
    )


def checked_expiry(at: int) -> int:
    """Return the expiry of a field, above 0."""
    if not 0 < at <= LAST_EXPIRY:
        raise CorruptError("the expiry of a field is impossible")
    return at


def _expiry(text: bytes) -> int:
    if text == b"0":
        return NEVER
    if not text.isdigit():
        raise CorruptError("the expiry of a field is no number")
    return checked_expiry(int(text))


class ExpiringFieldsReader(Reader):
    """A count and so many fields with expiries, by the four layouts that servers have written.

    `valkey`: field, value, absolute time. Else a length, the field, the value: the length is absolute in release
    candidates of Redis 7.4; since then it counts from the millisecond before `first`, a time before the count.
    """

    def __init__(self, *, valkey: bool = False, first: bool = False) -> None:
        super().__init__()
        self._valkey = valkey
        self._has_first = first
        self._base = 0
        self._left = -1
        self._batch: list[tuple[bytes, bytes, int]] = []

    def read(self, buffer: Buffer) -> None:
        """Take fields up to a full batch."""
        if self._left < 0:
            if self._has_first:
                self._base = buffer.milliseconds() - 1
            self._left = buffer.length()
            buffer.commit()
        batch = self._batch
        while self._left and len(batch) < BATCH:
            batch.append(self._field_valkey(buffer) if self._valkey else self._field(buffer))
            self._left -= 1
            buffer.commit()
        self.finished = not self._left

    def _field(self, buffer: Buffer) -> tuple[bytes, bytes, int]:
        relative = buffer.length()
        field = buffer.string()
        value = buffer.string()
        return field, value, checked_expiry(relative + self._base) if relative else NEVER

    def _field_valkey(self, buffer: Buffer) -> tuple[bytes, bytes, int]:
        field = buffer.string()
        value = buffer.string()
        at = buffer.milliseconds()
        if at < NEVER:
            raise CorruptError("the expiry of a field is impossible")
        return field, value, at

    def take(self) -> Element | None:
        """Return the next batch."""
        batch, self._batch = self._batch, []
        return ExpiringFields(batch) if batch else None


class ListpackExpiryReader(PackedReader):
    """A listpack of field, value and expiry; since Redis 7.4 after the soonest expiry."""

    def __init__(self, open_packed: Callable[[bytes], Packed], *, first: bool) -> None:
        super().__init__(open_packed, expiring_fields, 3, one=True)
        self._has_first = first

    def read(self, buffer: Buffer) -> None:
        """Take fields up to a full batch."""
        if self._has_first:
            buffer.milliseconds()
            buffer.commit()
            self._has_first = False
        super().read(buffer)
