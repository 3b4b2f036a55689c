"""RDBs written by hand, for what no server at hand writes."""

from __future__ import annotations

import anycrc

from shaker.codec.rdb.reader import SnapshotReader
from shaker.model.entries import Entries, Entry, Event

CRC64 = anycrc.Model("CRC64-REDIS")


def length(value: int) -> bytes:
    """A length in its shortest form."""
    if value < 1 << 6:
        return bytes([value])
    if value < 1 << 14:
        return (0x4000 | value).to_bytes(2, "big")
    if value < 1 << 32:
        return b"\x80" + value.to_bytes(4, "big")
    return b"\x81" + value.to_bytes(8, "big")


def string(data: bytes) -> bytes:
    """A string as it is."""
    return length(len(data)) + data


def payload(number: int, value: bytes, version: int) -> bytes:
    """A DUMP payload."""
    body = bytes([number]) + value + version.to_bytes(2, "little")
    return body + CRC64.calc(body).to_bytes(8, "little")


def saved_string(value: bytes) -> bytes:
    """A string as a server saves it, but for compression."""
    number = int(value) if len(value) <= 11 and value.removeprefix(b"-").isdigit() else 1 << 40
    for kind, size in enumerate((1, 2, 4)):
        if b"%d" % number == value and -(1 << 8 * size - 1) <= number < 1 << 8 * size - 1:
            return bytes([0xC0 + kind]) + number.to_bytes(size, "little", signed=True)
    return string(value)


def rdb(body: bytes, header: bytes = b"REDIS0011") -> bytes:
    """A whole RDB around `body`."""
    data = header + body + b"\xff"
    return data + CRC64.calc(data).to_bytes(8, "little")


def read(data: bytes, step: int = 0, reader: SnapshotReader | None = None) -> list[Event]:
    """Feed `data` in steps of so many bytes (0: at once); neighbouring Entries are made one again."""
    reader = reader or SnapshotReader()
    chunks = [data[at : at + step] for at in range(0, len(data), step)] if step else [data]
    return merge([event for chunk in chunks for event in reader.feed(chunk)])


def merge(events: list[Event]) -> list[Event]:
    """Join the Entries of one database that were only cut by a chunk's end."""
    merged: list[Event] = []
    for event in events:
        last = merged[-1] if merged else None
        if isinstance(event, Entries) and isinstance(last, Entries) and last.database == event.database:
            # Lists, tuples, and counts are added.
            sums = [mine + others for mine, others in zip(last[1:7], event[1:7], strict=True)]
            merged[-1] = Entries(last.database, *sums, event.version, last.rare or event.rare)
        else:
            merged.append(event)
    return merged


def entries_of(*entries: Entry, database: int = 0) -> Entries:
    """What a snapshot tells of keys that all have an expiry or tell of their use."""
    return Entries(database, [], [], [], list(entries))


def listed(event: Entries) -> list[Entry]:
    """All keys of an event as entries with payloads, whichever list they came in."""
    strings = zip(event.strings[::2], event.strings[1::2], strict=True)
    values = zip(event.values[::2], event.values[1::2], strict=True)
    return [
        *(Entry(key, payload(0, saved_string(value), 6), -1, -1, -1) for key, value in strings),
        *(Entry(key, value, -1, -1, -1) for key, value in values),
        *(Entry(key, payload(0, saved_string(value), 6), at, -1, -1) for key, value, at in event.expiring),
        *event.entries,
    ]


def keys(events: list[Event]) -> dict[tuple[int, bytes], Entry]:
    """The keys as entries by database and name; each key comes once."""
    found = [(event.database, entry) for event in events if isinstance(event, Entries) for entry in listed(event)]
    by_key = {(database, entry.key): entry for database, entry in found}
    assert len(by_key) == len(found)
    return by_key
