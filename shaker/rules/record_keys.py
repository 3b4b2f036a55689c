"""Keys of workers' records: they are never data of the source."""

from __future__ import annotations

import re
from typing import Final

from shaker.model.entries import Entries

# Every record begins with this. A source that is itself a target holds records, too.
RESERVED: Final = b"shaker:"
KINDS: Final = (
    *("fence", "checkpoint", "stale", "expiring", "copying", "doubtful", "unconfirmed", "building", "rebuilding"),
)
# The records' keys, each with a worker's name as the settings allow it. All other keys are data.
_RECORD: Final = re.compile(b"shaker:(?:%b):[A-Za-z0-9][A-Za-z0-9._-]{0,63}" % "|".join(KINDS).encode())


def is_record(key: bytes) -> bool:
    """Return whether `key` is a record of a worker of any name."""
    return key.startswith(RESERVED) and _RECORD.fullmatch(key) is not None


def records_of(name: str) -> list[str]:
    """Return the keys of all records that the worker `name` may have in a database."""
    return [f"{RESERVED.decode()}{kind}:{name}" for kind in KINDS]


def without_records(entries: Entries, skipped: list[bytes]) -> Entries:
    """Return `entries` without records, whose keys are appended to `skipped`."""
    _, strings, values, expiring, others, *_ = entries
    for pairs in (strings, values):
        for index in range(0, len(pairs), 2):
            if pairs[index].startswith(RESERVED):
                return _filtered(entries, skipped)
    for string in expiring:
        if string.key.startswith(RESERVED):
            return _filtered(entries, skipped)
    for entry in others:
        if entry.key.startswith(RESERVED):
            return _filtered(entries, skipped)
    return entries


def _filtered(entries: Entries, skipped: list[bytes]) -> Entries:
    expiring, others = [], []
    strings = _pairs_filtered(entries.strings, skipped)
    values = _pairs_filtered(entries.values, skipped)
    for string in entries.expiring:
        if is_record(string.key):
            skipped.append(string.key)
        else:
            expiring.append(string)
    for entry in entries.entries:
        if is_record(entry.key):
            skipped.append(entry.key)
        else:
            others.append(entry)
    return entries._replace(strings=strings, values=values, expiring=expiring, entries=others)


def _pairs_filtered(pairs: list[bytes], skipped: list[bytes]) -> list[bytes]:
    kept: list[bytes] = []
    for index in range(0, len(pairs), 2):
        if is_record(pairs[index]):
            skipped.append(pairs[index])
        else:
            kept += pairs[index : index + 2]
    return kept
