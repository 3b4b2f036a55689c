"""Keys of a snapshot → RESTORE requests, at most once over each key."""

from __future__ import annotations

from shaker.codec.crc64 import crc64
from shaker.codec.rdb_events import Entry, LargeEntry
from shaker.transform.commands import RESERVED


def restore_requests(entries: list[Entry]) -> tuple[bytes, int, list[bytes]]:
    """Return the RESTORE requests for `entries`, how many they are, and the reserved keys that were left out.

    `RESTORE key expiry payload REPLACE ABSTTL` with IDLETIME (seconds) or FREQ where the snapshot has them; the
    expiry is an absolute Unix time in milliseconds, 0 for none (redis.io/commands/restore).
    """
    out: list[bytes] = []
    skipped: list[bytes] = []
    append = out.append
    for key, payload, expires_at_ms, idle_seconds, frequency in entries:
        if key.startswith(RESERVED):
            skipped.append(key)
            continue
        if expires_at_ms < 0:
            expiry = b"0"
        else:
            # A time of 0 would mean "no expiry"; such a key is long expired.
            expiry = b"%d" % (expires_at_ms or 1)
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
    return b"".join(out), len(out), skipped


def large_restore(entry: LargeEntry) -> tuple[bytes, bytes]:
    """Return what comes before and behind the payload of a value that passes in pieces: one RESTORE request."""
    number = b"%d" % max(entry.expires_at_ms, 0)
    if entry.expires_at_ms == 0:
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
