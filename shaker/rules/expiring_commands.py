"""Commands that change an expiry, or that a key which has expired early lets fail or differ."""

from __future__ import annotations

from typing import Final

from shaker.codec.resp.command_events import Note

# Bits of a command. SETS: it changes an expiry. NEEDS: it needs a key that may have expired early, to make another key
# of it or to succeed at all. SWAPS: it moves all keys of a database to another one, so that the keys before it have
# to be reported before it.
SETS: Final = 1
NEEDS: Final = 2
SWAPS: Final = 4
# Those that make a key of others without an expiry, or fail without the key: the argument that names what differs.
DIFFERING: Final[dict[bytes, int]] = {
    b"BITOP": 2,
    b"GEOSEARCHSTORE": 1,
    b"LMOVE": 2,
    b"LSET": 1,
    b"PFMERGE": 1,
    b"RPOPLPUSH": 2,
    b"SDIFFSTORE": 1,
    b"SINTERSTORE": 1,
    b"SMOVE": 2,
    b"SUNIONSTORE": 1,
    b"XCLAIM": 1,
    b"XGROUP": 2,
    b"XSETID": 1,
    b"ZDIFFSTORE": 1,
    b"ZINTERSTORE": 1,
    b"ZRANGESTORE": 1,
    b"ZUNIONSTORE": 1,
}
# Beginnings of errors that a missing key causes, or one that was created again.
MISSING: Final = (
    "ERR no such key",
    "ERR index out of range",
    "ERR The XGROUP subcommand requires the key to exist",
    "NOGROUP ",
)
# Commands by what they do, with the fewest arguments that it takes. SET without options leaves none.
NOTED: Final[dict[bytes, Note]] = {
    b"SET": Note(SETS, 4),
    b"GETEX": Note(SETS, 4),
    b"SETEX": Note(SETS, 4),
    b"PSETEX": Note(SETS, 4),
    b"EXPIRE": Note(SETS, 3),
    b"PEXPIRE": Note(SETS, 3),
    b"EXPIREAT": Note(SETS, 3),
    b"PEXPIREAT": Note(SETS, 3),
    b"PERSIST": Note(SETS, 2),
    b"RESTORE": Note(SETS, 4),
    b"MSETEX": Note(SETS, 5),
    b"HEXPIRE": Note(SETS, 6),
    b"HPEXPIRE": Note(SETS, 6),
    b"HEXPIREAT": Note(SETS, 6),
    b"HPEXPIREAT": Note(SETS, 6),
    b"HPERSIST": Note(SETS, 5),
    b"HSETEX": Note(SETS, 7),
    b"HGETEX": Note(SETS, 6),
    b"RENAME": Note(NEEDS, 3),
    b"RENAMENX": Note(NEEDS, 3),
    b"COPY": Note(NEEDS, 3),
    b"MOVE": Note(NEEDS, 3),
    b"SORT": Note(NEEDS, 4),
    b"GEORADIUS": Note(NEEDS, 8),
    b"GEORADIUSBYMEMBER": Note(NEEDS, 7),
    **dict.fromkeys(DIFFERING, Note(NEEDS, 3)),
    b"SWAPDB": Note(SWAPS, 3),
}
# Options that name a time: its unit in milliseconds, and whether it is absolute.
UNITS: Final[dict[bytes, tuple[int, bool]]] = {
    b"EX": (1000, False),
    b"PX": (1, False),
    b"EXAT": (1000, True),
    b"PXAT": (1, True),
}
COMMAND_UNITS: Final[dict[bytes, tuple[int, bool]]] = {
    b"SETEX": (1000, False),
    b"PSETEX": (1, False),
    b"EXPIRE": (1000, False),
    b"PEXPIRE": (1, False),
    b"EXPIREAT": (1000, True),
    b"PEXPIREAT": (1, True),
    b"HEXPIRE": (1000, False),
    b"HPEXPIRE": (1, False),
    b"HEXPIREAT": (1000, True),
    b"HPEXPIREAT": (1, True),
}
# The source propagates a command only when it took effect there. On a key whose expiry was deferred, or that has
# expired early, the condition could come out differently, so it goes.
CONDITIONS: Final = frozenset((b"NX", b"XX", b"GT", b"LT"))
SET_CONDITIONS: Final = frozenset((b"NX", b"XX", b"FNX", b"FXX"))
# Those that compare the value: Valkey 8.1 propagates the first, the others came with Redis 8.4.
COMPARISONS: Final = frozenset((b"IFEQ", b"IFNE", b"IFDEQ", b"IFDNE"))
