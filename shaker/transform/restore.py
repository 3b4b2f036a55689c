"""Keys of a snapshot → RESTORE requests, at most once over each key."""

from __future__ import annotations

from typing import Final, NamedTuple

from shaker.codec.crc64 import crc64
from shaker.codec.rdb_events import Entry, LargeEntry
from shaker.codec.rdb_types import REDIS, VALKEY
from shaker.transform.commands import RESERVED

# Types of hashes whose fields have expiries (server files src/rdb.h of Redis and of Valkey). The last two begin
# with the soonest one, Unix time in milliseconds, little endian (src/rdb.c of Redis, rdbSaveObject).
FIRST_FIELD_EXPIRIES: Final = 22
FIRST_WITH_SOONEST: Final = 24
LAST_FIELD_EXPIRIES: Final = 25
# Behind the value of a DUMP payload stand the RDB version and the checksum. Valkey's own versions begin at 80.
CHECKSUM_SIZE: Final = 8
FOOTER_SIZE: Final = 2 + CHECKSUM_SIZE
VALKEY_VERSION: Final = 80
LAST: Final = (1 << 63) - 1  # later than any expiry


class Restored(NamedTuple):
    """RESTORE requests and how many they are.

    `skipped` are the reserved keys that were left out, `waiting` those whose expiry was put off; `copying` are
    hashes with expiries of fields that are too near, and that cannot be put off. `soonest` is the soonest other
    expiry of a key or a field, LAST for none.
    """

    data: bytes
    requests: int
    skipped: list[bytes]
    waiting: list[bytes]
    copying: list[bytes]
    soonest: int


def restore_requests(entries: list[Entry], near: int = 0, until: int = 0) -> Restored:
    """Return the RESTORE requests for `entries`.

    `RESTORE key expiry payload REPLACE ABSTTL` with IDLETIME (seconds) or FREQ where the snapshot has them; the
    expiry is an absolute Unix time in milliseconds, 0 for none (redis.io/commands/restore). One below `near` is put
    off to `until`.
    """
    out: list[bytes] = []
    skipped: list[bytes] = []
    waiting: list[bytes] = []
    copying: list[bytes] = []
    soonest = LAST
    append = out.append
    for key, payload, expires_at_ms, idle_seconds, frequency in entries:
        if key.startswith(RESERVED):
            skipped.append(key)
            continue
        if expires_at_ms < 0:
            expiry = b"0"
        elif expires_at_ms < near:
            waiting.append(key)
            expiry = b"%d" % until
        else:
            # A time of 0 would mean "no expiry"; such a key is long expired.
            expiry = b"%d" % (expires_at_ms or 1)
            if expires_at_ms < soonest:
                soonest = expires_at_ms
        if payload[0] >= FIRST_FIELD_EXPIRIES and near > 0:
            field = soonest_field(payload)
            if 0 <= field < near:
                copying.append(key)
            elif 0 <= field < soonest:
                soonest = field
        if idle_seconds < 0 and frequency < 0:
            append(
                b"*6\r\n$7\r\nRESTORE\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n"
                % (len(key), key, len(expiry), expiry, len(payload), payload)
            )
        else:
            name, value = (b"IDLETIME", idle_seconds) if idle_seconds >= 0 else (b"FREQ", frequency)
            number = b"%d" % value
            append(
                b"*8\r\n$7\r\nRESTORE\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n"
                b"$%d\r\n%b\r\n$%d\r\n%b\r\n"
                % (
                    len(key), key, len(expiry), expiry, len(payload), payload,
                    len(name), name, len(number), number,
                )
            )  # fmt: skip
    return Restored(b"".join(out), len(out), skipped, waiting, copying, soonest)


def soonest_field(payload: bytes) -> int:
    """Return when the first field of a hash expires, in Unix milliseconds.

    0 where its type does not tell, -1 for a value whose fields have no expiries.
    """
    if not FIRST_FIELD_EXPIRIES <= payload[0] <= LAST_FIELD_EXPIRIES:
        return -1
    return 0 if payload[0] < FIRST_WITH_SOONEST else int.from_bytes(payload[1:9], "little")


def portable(payload: bytes) -> bytes:
    """Return a reply of DUMP with the lowest RDB version that has its type: a server takes none above its own."""
    version = int.from_bytes(payload[-FOOTER_SIZE:-CHECKSUM_SIZE], "little")
    footer = (VALKEY if version >= VALKEY_VERSION else REDIS).footers[payload[0]]
    if not footer:
        return payload  # the target judges it
    body = payload[:-FOOTER_SIZE] + footer
    return body + crc64(body)


def large_restore(entry: LargeEntry, until: int = 0) -> tuple[bytes, bytes]:
    """Return what comes before and behind the payload of a value that passes in pieces: one RESTORE request.

    Its expiry is put off to `until`, if that is not 0.
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
