"""Keys of a snapshot: those that lie whole in a buffer read at one go, all gathered by what becomes of them.

Of a million keys nearly all pass through `KeyRecords.read`. It leaves to its caller what it cannot take whole: a
record cut by the end of the buffer, a nested value, an opcode without a key.
"""

from __future__ import annotations

from typing import Final

from shaker.codec.rdb.crc64 import CRC64, crc64
from shaker.codec.rdb.skipped import (
    EMPTY_LISTPACK,
    EMPTY_ZIPLIST,
    LISTS_OF_LISTPACKS,
    LISTS_OF_ZIPLISTS,
    QUICKLISTS,
    SMALL,
    is_empty,
)
from shaker.codec.rdb.strings import collection_end, read_string, string_end
from shaker.codec.rdb.value_types import (
    ENCODED,
    ENCODED_LZF,
    EXPIRETIME_MS,
    FREQ,
    IDLE,
    LENGTH_32,
    MODULE_VALUE,
    NEWER_TYPES,
    PLAIN_STRING,
    Dialect,
)
from shaker.errors import CorruptError, UnfaithfulError
from shaker.model.entries import Entries, Entry, ExpiringString

# A value that came in one part and is smaller is joined before its checksum is computed, instead of after: one call
# of the library costs as much as joining so much.
WHOLE_PARTS: Final = 3
JOINED_BELOW: Final = 16 * 1024
# Lengths from here on are no list without elements, and counts from here on take more than one byte.
SHORTEST: Final = EMPTY_ZIPLIST + 1
LONG_COUNT: Final = 0x40


class KeyRecords:
    """Gathers keys until they are taken. `database` is the one that they are in.

    `expires_at_ms`, `idle_seconds` and `frequency` belong to the next key, -1 for none. Where `read` has stopped
    at the value of a key, `key` is its name and `opcode` the value's type; else `key` is None.
    """

    def __init__(self, max_value: int) -> None:
        self.database = 0
        self.version = 0  # of the RDB
        self.expires_at_ms = -1
        self.idle_seconds = -1
        self.frequency = -1
        self.key: bytes | None = None
        self.opcode = -1
        self._max_value = max_value
        self._strings: list[bytes] = []
        self._values: list[bytes] = []
        self._expiring: list[ExpiringString] = []
        self._entries: list[Entry] = []
        self._empty: list[bytes] = []
        self._rare = False

    def take(self) -> Entries | None:
        """Return the keys gathered since the last call, None if there are none."""
        if not (self._strings or self._values or self._expiring or self._entries or self._empty):
            return None
        taken = Entries(
            self.database,
            self._strings,
            self._values,
            self._expiring,
            self._entries,
            tuple(self._empty),
            version=self.version,
            rare=self._rare,
        )
        self.drop()
        return taken

    def drop(self) -> None:
        """Forget the keys gathered since they were taken last."""
        self._strings, self._values, self._expiring, self._entries, self._empty = [], [], [], [], []
        self._rare = False

    def forget_use(self) -> None:
        """Note that what belonged to a key has been used for it."""
        self.expires_at_ms = self.idle_seconds = self.frequency = -1

    def add(self, dialect: Dialect, opcode: int, key: bytes, parts: list[bytes]) -> None:
        """Gather a key whose value came in `parts`, which are emptied."""
        told = self.idle_seconds >= 0 or self.frequency >= 0
        if opcode == PLAIN_STRING and not told and parts[0][0] != ENCODED_LZF:
            saved = b"".join(parts)
            parts.clear()
            value = read_string(saved, 0, self._max_value)[0]
            if self.expires_at_ms < 0:
                self._strings += (key, value)
            else:
                self._expiring.append(ExpiringString(key, value, self.expires_at_ms))
        elif _is_empty(opcode, parts):
            parts.clear()
            self._empty.append(key)
        else:
            payload = value_payload(dialect, opcode, parts)
            self._rare = self._rare or opcode >= NEWER_TYPES or opcode == MODULE_VALUE
            if told or self.expires_at_ms >= 0 or opcode >= NEWER_TYPES:
                self._entries.append(Entry(key, payload, self.expires_at_ms, self.idle_seconds, self.frequency))
            else:
                self._values += (key, payload)
        self.forget_use()

    def read(self, dialect: Dialect, buffer: bytes, position: int, end: int) -> int:
        """Gather the keys from `position` on; return where the first one is, or its value, that is not whole there.

        Whole are keys with a value of one string or a flat collection, and the opcodes of a key before it.
        """
        _, is_type, is_string, shapes, heads, footers, _ = dialect
        expires_at_ms, idle_seconds, frequency = self.expires_at_ms, self.idle_seconds, self.frequency
        used = expires_at_ms >= 0 or idle_seconds >= 0 or frequency >= 0
        max_value = self._max_value
        calc = CRC64.calc
        new = tuple.__new__  # a NamedTuple without the Python-level call of its constructor
        strings, values, expiring = self._strings, self._values, self._expiring
        self.key = None
        while position < end:
            opcode = buffer[position]
            if is_type[opcode]:
                start = position + 1
                head = buffer[start] if start < end else 0xFF
                stop = start + 1 + head if head < 0x40 else string_end(buffer, start, end)
                # Only the empty string is a value of one byte; where it ends the buffer, it counts as cut.
                if stop + 1 >= end or stop - start > max_value:
                    break
                if head < 0x40:
                    key = buffer[start + 1 : stop]
                else:
                    name = _name(buffer, start, max_value)
                    if name is None:
                        break
                    key = name
                head = buffer[stop]
                first = stop  # where the bytes of a string begin, behind its length
                if not is_string[opcode]:
                    shape = shapes[opcode]
                    behind = end + 1 if shape is None else collection_end(buffer, stop, end, shape)
                elif head < 0x40:
                    first = stop + 1
                    behind = first + head
                elif head < 0x80:
                    first = stop + 2
                    behind = first + ((head & 0x3F) << 8 | buffer[stop + 1])
                else:
                    behind = string_end(buffer, stop, end)
                    if head < ENCODED:
                        first = stop + (5 if head == LENGTH_32 else 9)
                if behind > end or behind - stop > max_value:
                    self.key, self.opcode = key, opcode
                    position = stop
                    break
                position = behind
                if opcode == PLAIN_STRING and head != ENCODED_LZF and idle_seconds < 0 and frequency < 0:
                    value = buffer[first:behind] if head < ENCODED else read_string(buffer, stop, max_value)[0]
                    if used:
                        expiring.append(new(ExpiringString, (key, value, expires_at_ms)))
                        expires_at_ms = -1
                        used = False
                    else:
                        strings.append(key)
                        strings.append(value)
                    continue
                # One look, without a call, shows that most keys are not empty.
                if (
                    (head < SHORTEST or (opcode and head == ENCODED_LZF and behind - stop <= SMALL))
                    if is_string[opcode]
                    else (
                        head == 0
                        or head >= LONG_COUNT
                        or (opcode == LISTS_OF_LISTPACKS and buffer[stop + 2] == EMPTY_LISTPACK)
                        or (opcode == LISTS_OF_ZIPLISTS and buffer[stop + 1] == EMPTY_ZIPLIST)
                    )
                ) and is_empty(opcode, buffer, stop, behind):
                    self._empty.append(key)
                    expires_at_ms = idle_seconds = frequency = -1
                    used = False
                    continue
                body = heads[opcode] + buffer[stop:behind] + footers[opcode]
                payload = body + calc(body).to_bytes(8, "little")
                if used:
                    self._entries.append(new(Entry, (key, payload, expires_at_ms, idle_seconds, frequency)))
                    expires_at_ms = idle_seconds = frequency = -1
                    used = False
                else:
                    values.append(key)
                    values.append(payload)
            elif opcode == EXPIRETIME_MS and position + 9 <= end and buffer[position + 8] < 0x80:
                expires_at_ms = int.from_bytes(buffer[position + 1 : position + 9], "little")
                used = True
                position += 9
            elif opcode == FREQ and position + 2 <= end:
                frequency = buffer[position + 1]
                used = True
                position += 2
            elif opcode == IDLE and position + 2 <= end and buffer[position + 1] < 0x40:
                idle_seconds = buffer[position + 1]
                used = True
                position += 2
            else:
                break
        self.expires_at_ms, self.idle_seconds, self.frequency = expires_at_ms, idle_seconds, frequency
        return position


def _name(buffer: bytes, start: int, limit: int) -> bytes | None:
    """Return the whole key at `start`, None for one that cannot be read: the reader that reads it again says why."""
    try:
        return read_string(buffer, start, limit)[0]
    except (CorruptError, UnfaithfulError):
        return None


def _is_empty(opcode: int, parts: list[bytes]) -> bool:
    """Return whether a value that came in `parts` is an aggregate without elements."""
    size = sum([len(part) for part in parts])
    if size > (JOINED_BELOW if opcode in QUICKLISTS else SMALL):
        return False
    return is_empty(opcode, b"".join(parts), 0, size)


def value_payload(dialect: Dialect, opcode: int, parts: list[bytes]) -> bytes:
    """Return the DUMP payload of a value that came in `parts`, which are emptied."""
    parts.insert(0, dialect.heads[opcode])
    parts.append(dialect.footers[opcode])
    if len(parts) == WHOLE_PARTS and len(parts[1]) < JOINED_BELOW:
        body = b"".join(parts)
        parts.clear()
        return body + crc64(body)
    checksum = 0
    for part in parts:
        checksum = CRC64.calc(part, checksum)
    parts.append(checksum.to_bytes(8, "little"))
    payload = b"".join(parts)
    parts.clear()
    return payload
