"""RDBs written by hand, for what no server at hand writes."""

from __future__ import annotations

import anycrc

from shaker.codec.rdb import Entries, Entry, Event, SnapshotReader

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
            merged[-1] = Entries(last.database, last.entries + event.entries)
        else:
            merged.append(event)
    return merged


def keys(events: list[Event]) -> dict[tuple[int, bytes], Entry]:
    """The entries by database and key; each key comes once."""
    found = [(event.database, entry) for event in events if isinstance(event, Entries) for entry in event.entries]
    by_key = {(database, entry.key): entry for database, entry in found}
    assert len(by_key) == len(found)
    return by_key
