"""The elements of an RDB: for each opcode and value type, the pattern of lengths by which it is skipped.

Source: server files src/rdb.h and src/rdb.c (rdbLoadRioWithLoadingCtx, rdbLoadObject, rdbLoadCheckModuleValue).
Redis and Valkey give the same numbers different meanings, so each has its own `Dialect`, chosen by the header.

A pattern is a tuple of elements that follow each other. A positive element is that many raw bytes; the others are
the names below; an element of GROUP or less is a count and then so many times the pattern GROUPS[GROUP - element].
"""

from __future__ import annotations

from typing import Final, NamedTuple

from shaker.errors import CorruptError, UnfaithfulError

Pattern = tuple[int, ...]

STRING: Final = 0  # length and bytes, or an integer of 1, 2 or 4 bytes, or LZF with two lengths
LENGTH: Final = -1  # a length as such: a count, an id, a number
TEXT_DOUBLE: Final = -2  # one byte of length and decimal text; 253 to 255 mean NaN and the infinities
MODULE: Final = -3  # parts of a module value, each behind its own opcode, up to opcode 0
GROUP: Final = -10

# The first two bits of a length choose its form, and the low six of 0xC0 to 0xC3 the encoding of a string.
LENGTH_32: Final = 0x80
LENGTH_64: Final = 0x81
ENCODED: Final = 0xC0
ENCODED_LZF: Final = 0xC3

PLAIN_STRING: Final = 0
MODULE_VALUE: Final = 7
STREAMS: Final = frozenset((15, 19, 21, 26, 27))
LISTS: Final = frozenset((1, 10, 14, 18))
# From here on types need a closer look: hashes whose fields have expiries, and the types of the newest servers.
NEWER_TYPES: Final = 22
FIELDS_EXPIRE: Final = frozenset((22, 24, 25))
PATH_HASH: Final = 23
# Numbers from here on are opcodes, never types: no key follows an unknown one.
FIRST_OPCODE: Final = 128
SLOT_INFO: Final = 244
FUNCTION2: Final = 245
MODULE_AUX: Final = 247
IDLE: Final = 248
FREQ: Final = 249
AUX: Final = 250
RESIZEDB: Final = 251
EXPIRETIME_MS: Final = 252
EXPIRETIME: Final = 253
SELECTDB: Final = 254
EOF: Final = 255

_STRINGS: Final = -10
_PAIRS: Final = -11
_TEXT_SCORES: Final = -12
_SCORES: Final = -13
_QUICKLIST_2_NODES: Final = -14
_FIELDS_WITH_EXPIRY: Final = -15
_FIELDS_WITH_EXPIRY_VALKEY: Final = -16
_GROUPS_1: Final = -17
_GROUPS_2: Final = -18
_GROUPS_3: Final = -19
_PENDING: Final = -20
_CONSUMERS: Final = -21
_CONSUMERS_3: Final = -22
_PENDING_IDS: Final = -23
_GROUPS_5: Final = -24
_PRODUCERS: Final = -25
_MESSAGES: Final = -26
_PATHS: Final = -27

GROUPS: Final[tuple[Pattern, ...]] = (
    (STRING,),
    (STRING, STRING),
    (STRING, TEXT_DOUBLE),
    (STRING, 8),
    (LENGTH, STRING),  # container, then a listpack or one big element
    (LENGTH, STRING, STRING),  # expiry relative to the first one, field, value
    (STRING, STRING, 8),  # field, value, absolute expiry
    # A consumer group: name, last id; since v2 entries read; all pending entries; consumers.
    (STRING, LENGTH, LENGTH, _PENDING, _CONSUMERS),
    (STRING, LENGTH, LENGTH, LENGTH, _PENDING, _CONSUMERS),
    (STRING, LENGTH, LENGTH, LENGTH, _PENDING, _CONSUMERS_3),
    (16, 8, LENGTH),  # id, delivery time, delivery count
    (STRING, 8, _PENDING_IDS),  # name, seen time; v3 also the active time
    (STRING, 16, _PENDING_IDS),
    (16,),
    (STRING, LENGTH, LENGTH, LENGTH, _PENDING, _CONSUMERS_3, _PENDING_IDS),  # entries that no consumer holds
    (STRING, _MESSAGES),  # a producer of idempotent messages
    (STRING, LENGTH, LENGTH),  # a message, the id of its entry
    (STRING, _PAIRS),  # a path, its fields and values
)

# A stream: its listpacks by id, length and last id; since v2 the first id, the greatest deleted id, entries added.
_STREAM_1: Final[Pattern] = (_PAIRS, LENGTH, LENGTH, LENGTH, _GROUPS_1)
_STREAM_2_HEAD: Final[Pattern] = (_PAIRS, *[LENGTH] * 8)
# Idempotent messages: how long and how many are kept, producers, two counters.
_IDEMPOTENCE: Final[Pattern] = (LENGTH, LENGTH, _PRODUCERS, LENGTH, LENGTH)

# The parts of a module value by their opcode 1 to 5: two integers, float, double, string.
MODULE_PARTS: Final[tuple[Pattern, ...]] = ((), (LENGTH,), (LENGTH,), (4,), (8,), (STRING,))

_OPCODES: Final[dict[int, Pattern]] = {
    SLOT_INFO: (LENGTH, LENGTH, LENGTH),
    FUNCTION2: (STRING,),
    MODULE_AUX: (LENGTH, LENGTH, LENGTH, MODULE),
    IDLE: (LENGTH,),
    FREQ: (1,),
    AUX: (STRING, STRING),
    RESIZEDB: (LENGTH, LENGTH),
    EXPIRETIME_MS: (8,),
    EXPIRETIME: (4,),
    SELECTDB: (LENGTH,),
    EOF: (8,),
}

# type: its pattern, and the lowest RDB version that has it. That version goes into the payloads: a server refuses
# a payload whose version is above its own, and Valkey 9 also those of 12 to 79, of any type.
_TYPES: Final[dict[int, tuple[Pattern, int]]] = {
    0: ((STRING,), 6),
    1: ((_STRINGS,), 6),
    2: ((_STRINGS,), 6),
    3: ((_TEXT_SCORES,), 6),
    4: ((_PAIRS,), 6),
    5: ((_SCORES,), 8),
    7: ((LENGTH, MODULE), 8),
    9: ((STRING,), 6),
    10: ((STRING,), 6),
    11: ((STRING,), 6),
    12: ((STRING,), 6),
    13: ((STRING,), 6),
    14: ((_STRINGS,), 7),
    15: (_STREAM_1, 9),
    16: ((STRING,), 10),
    17: ((STRING,), 10),
    18: ((_QUICKLIST_2_NODES,), 10),
    19: ((*_STREAM_2_HEAD, _GROUPS_2), 10),
    20: ((STRING,), 11),
    21: ((*_STREAM_2_HEAD, _GROUPS_3), 11),
}
_TYPES_REDIS: Final[dict[int, tuple[Pattern, int]]] = {
    24: ((8, _FIELDS_WITH_EXPIRY), 12),
    25: ((8, STRING), 12),
    26: ((*_STREAM_2_HEAD, _GROUPS_3, *_IDEMPOTENCE), 13),
    27: ((*_STREAM_2_HEAD, _GROUPS_5, *_IDEMPOTENCE), 14),
}
_TYPES_VALKEY: Final[dict[int, tuple[Pattern, int]]] = {
    22: ((_FIELDS_WITH_EXPIRY_VALKEY,), 80),
    PATH_HASH: ((_PATHS,), 81),
}

_REFUSED: Final[dict[int, str]] = {
    6: "a module value of a pre-release of Redis 4.0, which cannot be read without its module",
    246: "a function of a release candidate of Redis 7.0",
}
_REFUSED_REDIS: Final[dict[int, str]] = {
    22: "a hash with field expiry of a release candidate of Redis 7.4",
    23: "a hash with field expiry of a release candidate of Redis 7.4",
    243: "metadata that a module attached to a key",
}
_REFUSED_VALKEY: Final[dict[int, str]] = {
    242: "a command within a snapshot that was made without a fork",
    243: "an atomic slot migration under way on the source, whose keys are not its own yet",
}


# Versions that are read. Redis 13 to 15 (8.4 and later) add types and opcodes only; those that are not in the tables
# are refused one by one. So does Valkey 81 (9.2).
_VERSIONS: Final[dict[bytes, tuple[int, int]]] = {b"REDIS": (6, 15), b"VALKEY": (80, 81)}
HEADER_SIZE: Final = 9


class Shape(NamedTuple):
    """A flat collection: a count, then so many items of short lengths, strings and raw bytes, in this order."""

    lengths: int
    strings: int
    raw: int


# The collections that `collection_end` can skip at one go where they lie whole in the buffer.
_SHAPES: Final[dict[int, Shape]] = {
    1: Shape(0, 1, 0),
    2: Shape(0, 1, 0),
    4: Shape(0, 2, 0),
    5: Shape(0, 1, 8),
    14: Shape(0, 1, 0),
    18: Shape(1, 1, 0),
}


class Dialect(NamedTuple):
    """The meaning of the numbers in the RDBs of one server family, each table indexed by opcode or type.

    `patterns`: None where the number is unknown or refused; `refused` says why, empty when just unknown.
    `is_string` marks value types of one string, `shapes` has the flat collections. `heads` and `footers` are the
    bytes of a DUMP payload before and behind the value: the type, and the RDB version in two bytes.
    """

    patterns: tuple[Pattern | None, ...]
    is_type: tuple[bool, ...]
    is_string: tuple[bool, ...]
    shapes: tuple[Shape | None, ...]
    heads: tuple[bytes, ...]
    footers: tuple[bytes, ...]
    refused: dict[int, str]


def _dialect(types: dict[int, tuple[Pattern, int]], refused: dict[int, str]) -> Dialect:
    patterns: list[Pattern | None] = [None] * 256
    footers = [b""] * 256
    for opcode, pattern in _OPCODES.items():
        patterns[opcode] = pattern
    for number, (pattern, version) in types.items():
        patterns[number] = pattern
        footers[number] = version.to_bytes(2, "little")
    return Dialect(
        patterns=tuple(patterns),
        is_type=tuple(number in types for number in range(256)),
        is_string=tuple(number in types and types[number][0] == (STRING,) for number in range(256)),
        shapes=tuple(_SHAPES.get(number) if number in types else None for number in range(256)),
        heads=tuple(bytes([number]) for number in range(256)),
        footers=tuple(footers),
        refused=refused,
    )


REDIS: Final = _dialect(_TYPES | _TYPES_REDIS, _REFUSED | _REFUSED_REDIS)
VALKEY: Final = _dialect(_TYPES | _TYPES_VALKEY, _REFUSED | _REFUSED_VALKEY)


def read_header(header: bytes) -> tuple[bytes, int, Dialect]:
    """Return magic, RDB version and dialect of the first HEADER_SIZE bytes.

    Raises CorruptError if they are none, UnfaithfulError if the version is not known. Valkey up to 8 writes version
    11 of Redis, Valkey 9 writes version 80 or 81 with a magic of its own.
    """
    magic = b"VALKEY" if header.startswith(b"VALKEY") else b"REDIS"
    digits = header[len(magic) :]
    if not header.startswith(magic) or not digits.isdigit():
        raise CorruptError("the snapshot does not begin with REDIS or VALKEY and a version")
    version = int(digits)
    lowest, highest = _VERSIONS[magic]
    if not lowest <= version <= highest:
        raise UnfaithfulError(
            f"RDB version {version} of {magic.decode()} is not known, only {lowest} to {highest}",
            hint="use a version of shaker that knows the source's version",
        )
    return magic, version, VALKEY if magic == b"VALKEY" else REDIS
