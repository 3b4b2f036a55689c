"""Keys of a snapshot → requests that give them to the target, at most once over each key.

Plain strings go by MSET, many keys in one request: to the target one costs two thirds of what its RESTORE would, to
the worker a third. Those that expire go by SET, all other keys by RESTORE, each in a request of its own.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from shaker.codec.rdb.crc64 import crc64
from shaker.codec.rdb.field_expiries import CHECKSUM_SIZE, FOOTER_SIZE, VALKEY_VERSION, deferred
from shaker.codec.rdb.value_types import NEWER_TYPES, REDIS, VALKEY
from shaker.model.entries import Entries, Entry, ExpiringString, LargeEntry
from shaker.rules.built_values import built
from shaker.rules.mset import mset_begin
from shaker.rules.target_form import EVERYTHING, TargetForm

# Keys in one MSET, and bytes after which it takes no more: the target does nothing else while it carries it out.
MSET_KEYS: Final = 64
MSET_BYTES: Final = 64 * 1024
# The bytes before a key and before a value or payload, by its length: looked up, because most are short.
TABLE_SIZE: Final = 1024
ARGUMENT: Final = tuple(b"\r\n$%d\r\n" % size for size in range(TABLE_SIZE))
RESTORE_KEY: Final = tuple(b"*5\r\n$7\r\nRESTORE\r\n$%d\r\n" % size for size in range(TABLE_SIZE))
RESTORE_VALUE: Final = tuple(b"\r\n$1\r\n0\r\n$%d\r\n" % size for size in range(TABLE_SIZE))
REPLACE: Final = b"\r\n$7\r\nREPLACE\r\n"


class Restored(NamedTuple):
    """Requests, how many they are, and how many keys they are for; those that build no value are answered by +OK.

    `waiting` are the keys whose expiry was deferred, `copying` those with deferred expiries of fields.
    """

    data: bytes
    requests: int
    keys: int
    waiting: list[bytes]
    copying: list[bytes]


class LargeRestored(NamedTuple):
    """One RESTORE request without its payload: the bytes before and after it. `waits`: its expiry was deferred."""

    before: bytes
    after: bytes
    waits: bool


def restore_requests(
    entries: Entries, near: int = 0, until: int = 0, margin: int = 0, form: TargetForm = EVERYTHING
) -> Restored:
    """Return the requests for keys of a snapshot; the database is selected.

    An expiry of a key or a field, an absolute Unix time in milliseconds, that is below `near` is deferred to `until`;
    all others get `margin` milliseconds more. Values in payloads that are not of the target's `form` are built.
    """
    out: list[bytes] = []
    keys, requests = _strings(entries.strings, out)
    values, others = entries.values, entries.entries
    building: list[Entry] = []
    if not form.taken[entries.version]:
        values, others = _apart(values, others, building, form)
    count = _values(values, out)
    waiting: list[bytes] = []
    copying: list[bytes] = []
    before = len(out)
    _expiring(entries.expiring, near, until, margin, out, waiting)
    _entries(others, near, until, margin, out, waiting, copying)
    count += len(out) - before
    before = len(out)
    for key, payload, expires_at_ms, *_ in building:
        expiry, payload = _times(key, payload, expires_at_ms, near, until, margin, waiting, copying)
        out += built(key, payload, expiry, form)
    requests += len(out) - before
    return Restored(b"".join(out), requests + count, keys + count + len(building), waiting, copying)


def _apart(
    values: list[bytes], entries: list[Entry], building: list[Entry], form: TargetForm
) -> tuple[list[bytes], list[Entry]]:
    """Append to `building` the keys that the target takes in no payload; return the others."""
    kept: list[bytes] = []
    for index in range(0, len(values), 2):
        if form.takes(values[index + 1]):
            kept += values[index : index + 2]
        else:
            building.append(Entry(values[index], values[index + 1], -1, -1, -1))
    others: list[Entry] = []
    for entry in entries:
        (others if form.takes(entry.payload) else building).append(entry)
    return kept, others


def _times(
    key: bytes,
    payload: bytes,
    expires_at_ms: int,
    near: int,
    until: int,
    margin: int,
    waiting: list[bytes],
    copying: list[bytes],
) -> tuple[bytes, bytes]:
    """Return the expiry of a key, 0 for none, and its payload with the expiries of its fields, as they are written."""
    if expires_at_ms < 0:
        expiry = b"0"
    elif expires_at_ms < near:
        waiting.append(key)
        expiry = b"%d" % until
    else:
        # A time of 0 would mean "no expiry"; such a key is long expired.
        expiry = b"%d" % (expires_at_ms + margin or 1)
    if payload[0] >= NEWER_TYPES and (margin or near > 0):
        payload, put_off, _ = deferred(payload, near, until, margin)
        if put_off:
            copying.append(key)
    return expiry, payload


def names(entries: Entries) -> list[bytes]:
    """Return the names of the keys."""
    expiring = [key for key, _, _ in entries.expiring]
    return [*entries.strings[::2], *entries.values[::2], *expiring, *(entry.key for entry in entries.entries)]


def _strings(strings: list[bytes], out: list[bytes]) -> tuple[int, int]:
    """Append the MSET requests; return how many keys and requests they are."""
    arguments: list[bytes] = []
    table = ARGUMENT
    keys = requests = size = 0
    for index in range(0, len(strings), 2):
        key, value = strings[index], strings[index + 1]
        key_size, value_size = len(key), len(value)
        arguments.append(table[key_size] if key_size < TABLE_SIZE else b"\r\n$%d\r\n" % key_size)
        arguments.append(key)
        arguments.append(table[value_size] if value_size < TABLE_SIZE else b"\r\n$%d\r\n" % value_size)
        arguments.append(value)
        size += key_size + value_size
        if len(arguments) == 4 * MSET_KEYS or size > MSET_BYTES:
            keys += _mset(arguments, out)
            requests += 1
            size = 0
    if arguments:
        keys += _mset(arguments, out)
        requests += 1
    return keys, requests


def _mset(arguments: list[bytes], out: list[bytes]) -> int:
    """Append one MSET of `arguments` with their lengths, which are emptied; return of how many keys."""
    keys = len(arguments) // 4
    out.append(mset_begin(keys))
    out += arguments
    out.append(b"\r\n")
    arguments.clear()
    return keys


def _values(values: list[bytes], out: list[bytes]) -> int:
    """Append a `RESTORE key 0 payload REPLACE` for each; return how many."""
    for_key, for_value = RESTORE_KEY, RESTORE_VALUE
    keys = 0
    for index in range(0, len(values), 2):
        key, payload = values[index], values[index + 1]
        size = len(key)
        out.append(for_key[size] if size < TABLE_SIZE else b"*5\r\n$7\r\nRESTORE\r\n$%d\r\n" % size)
        out.append(key)
        size = len(payload)
        out.append(for_value[size] if size < TABLE_SIZE else b"\r\n$1\r\n0\r\n$%d\r\n" % size)
        out.append(payload)
        out.append(REPLACE)
        keys += 1
    return keys


def _expiring(
    strings: list[ExpiringString],
    near: int,
    until: int,
    margin: int,
    out: list[bytes],
    waiting: list[bytes],
) -> None:
    """Append a `SET key value PXAT expiry` for each."""
    for key, value, expires_at_ms in strings:
        at = expires_at_ms + margin
        if expires_at_ms < near:
            waiting.append(key)
            at = until
        expiry = b"%d" % (at or 1)  # which no server takes for a time when it is 0
        out.append(
            b"*5\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$4\r\nPXAT\r\n$%d\r\n%b\r\n"
            % (len(key), key, len(value), value, len(expiry), expiry)
        )


def _entries(
    entries: list[Entry],
    near: int,
    until: int,
    margin: int,
    out: list[bytes],
    waiting: list[bytes],
    copying: list[bytes],
) -> None:
    """Append a request for each, and to the other lists the keys that belong there.

    `RESTORE key expiry payload REPLACE ABSTTL` with IDLETIME (seconds) or FREQ where the snapshot has them; the
    expiry is an absolute Unix time in milliseconds, 0 for none (redis.io/commands/restore).
    """
    for key, payload, expires_at_ms, idle_seconds, frequency in entries:
        expiry, payload = _times(key, payload, expires_at_ms, near, until, margin, waiting, copying)
        if idle_seconds < 0 and frequency < 0:
            out.append(
                b"*6\r\n$7\r\nRESTORE\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n"
                % (len(key), key, len(expiry), expiry, len(payload), payload)
            )
        else:
            name, value = (b"IDLETIME", idle_seconds) if idle_seconds >= 0 else (b"FREQ", frequency)
            number = b"%d" % value
            out.append(
                b"*8\r\n$7\r\nRESTORE\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n"
                b"$%d\r\n%b\r\n$%d\r\n%b\r\n"
                % (
                    len(key), key, len(expiry), expiry, len(payload), payload,
                    len(name), name, len(number), number,
                )
            )  # fmt: skip


def portable(payload: bytes) -> bytes:
    """Return a reply of DUMP with the lowest RDB version that has its type: a server takes none above its own."""
    version = payload[-FOOTER_SIZE:-CHECKSUM_SIZE]
    footer = portable_footer(payload[:1], version)
    if footer == version:
        return payload
    body = payload[:-FOOTER_SIZE] + footer
    return body + crc64(body)


def is_whole(payload: bytes) -> bool:
    """Return whether the checksum of a DUMP payload is right: one that is wrong must not become a right one."""
    end = len(payload) - CHECKSUM_SIZE
    return len(payload) >= FOOTER_SIZE and crc64(payload[:end]) == payload[end:]


def portable_footer(kind: bytes, version: bytes) -> bytes:
    """Return the lowest RDB version, in two bytes, that has the type `kind`, one byte, of the version `version`.

    `version` itself where it does not know the type: the target judges it.
    """
    dialect = VALKEY if int.from_bytes(version, "little") >= VALKEY_VERSION else REDIS
    return (dialect.footers[kind[0]] if kind else b"") or version


def large_restore(entry: LargeEntry, until: int = 0) -> tuple[bytes, bytes]:
    """Return the bytes before and after the payload of a value that passes in chunks: one RESTORE request.

    Its expiry is deferred to `until`, if that is not 0.
    """
    number = b"%d" % (until or max(entry.expires_at_ms, 0))
    if entry.expires_at_ms == 0 and not until:
        number = b"1"
    arguments = [b"REPLACE", b"ABSTTL"]
    if entry.idle_seconds >= 0:
        arguments += [b"IDLETIME", b"%d" % entry.idle_seconds]
    elif entry.frequency >= 0:
        arguments += [b"FREQ", b"%d" % entry.frequency]
    head = b"*%d\r\n$7\r\nRESTORE\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n" % (
        4 + len(arguments),
        len(entry.key),
        entry.key,
        len(number),
        number,
        entry.size,
    )
    return head, b"\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(text), text) for text in arguments)


def large_restored(entry: LargeEntry, near: int = 0, until: int = 0, margin: int = 0) -> LargeRestored:
    """Return the RESTORE of a value that passes in chunks, its expiry as in `restore_requests`."""
    at = entry.expires_at_ms
    waits = 0 <= at < near
    before, after = large_restore(entry, until if waits else at + margin if at > 0 else 0)
    return LargeRestored(before, after, waits)


def functions_payload(libraries: list[bytes]) -> bytes:
    """Return the payload of FUNCTION RESTORE for the code of `libraries`, empty for none.

    The format of FUNCTION DUMP (server file src/functions.c): opcode 245 and the code for each, then the RDB
    version, 10, in which functions came, and the CRC-64.
    """
    if not libraries:
        return b""
    parts = [b"\xf5\x81" + len(code).to_bytes(8, "big") + code for code in libraries]
    body = b"".join(parts) + (10).to_bytes(2, "little")
    return body + crc64(body)
