"""DUMP payloads and RDB values, fed in chunks of any size, to their elements in batches of bounded size.

`receive` bytes, then call `next_element` until it returns None: it needs more bytes, or the value has ended. Memory
is bounded by the longest string of the value plus a batch; what a length claims is never allocated. CorruptError
means bytes that no server writes; UnfaithfulError a type that is not known, or a string above the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Final

from shaker.codec.rdb.crc64 import CRC64
from shaker.codec.rdb.field_expiries import CHECKSUM_SIZE, FOOTER_SIZE, VALKEY_VERSION
from shaker.codec.rdb.value_types import PATH_HASH
from shaker.codec.values.buffer import MAX_STRING, Buffer, Incomplete
from shaker.codec.values.elements import Element
from shaker.codec.values.expiry_readers import ExpiringFieldsReader, ListpackExpiryReader
from shaker.codec.values.opaque_reader import LibrariesReader, ModuleReader
from shaker.codec.values.packed import Intset, Listpack, Ziplist, Zipmap
from shaker.codec.values.path_hash_reader import PathHashReader
from shaker.codec.values.readers import (
    PackedReader,
    Reader,
    ScoresReader,
    StringReader,
    StringsReader,
    fields,
    items,
    members,
    scores,
)
from shaker.codec.values.stream_reader import StreamValueReader
from shaker.errors import CorruptError, ShakerError, UnfaithfulError

VERSION_SIZE: Final = FOOTER_SIZE - CHECKSUM_SIZE
# Types that Redis and Valkey give different meanings.
DIVERGENT: Final = frozenset((22, 23))


class Kind(Enum):
    """The kind of a value, in Redis's own words (TYPE), in any encoding."""

    STRING = "string"
    LIST = "list"
    SET = "set"
    ZSET = "zset"
    HASH = "hash"
    PATH_HASH = "path hash"
    STREAM = "stream"
    MODULE = "module"
    FUNCTIONS = "functions"


_READERS: Final[dict[int, tuple[Kind, Callable[[], Reader]]]] = {
    0: (Kind.STRING, lambda: StringReader()),
    1: (Kind.LIST, lambda: StringsReader(items, 1)),
    2: (Kind.SET, lambda: StringsReader(members, 1)),
    3: (Kind.ZSET, lambda: ScoresReader(binary=False)),
    4: (Kind.HASH, lambda: StringsReader(fields, 2)),
    5: (Kind.ZSET, lambda: ScoresReader(binary=True)),
    7: (Kind.MODULE, lambda: ModuleReader()),
    9: (Kind.HASH, lambda: PackedReader(Zipmap, fields, 2, one=True)),
    10: (Kind.LIST, lambda: PackedReader(Ziplist, items, 1, one=True)),
    11: (Kind.SET, lambda: PackedReader(Intset, members, 1, one=True)),
    12: (Kind.ZSET, lambda: PackedReader(Ziplist, scores, 2, one=True)),
    13: (Kind.HASH, lambda: PackedReader(Ziplist, fields, 2, one=True)),
    14: (Kind.LIST, lambda: PackedReader(Ziplist, items, 1, one=False)),
    15: (Kind.STREAM, lambda: StreamValueReader(1)),
    16: (Kind.HASH, lambda: PackedReader(Listpack, fields, 2, one=True)),
    17: (Kind.ZSET, lambda: PackedReader(Listpack, scores, 2, one=True)),
    18: (Kind.LIST, lambda: PackedReader(Listpack, items, 1, one=False, containers=True)),
    19: (Kind.STREAM, lambda: StreamValueReader(2)),
    20: (Kind.SET, lambda: PackedReader(Listpack, members, 1, one=True)),
    21: (Kind.STREAM, lambda: StreamValueReader(3)),
}
_READERS_REDIS: Final[dict[int, tuple[Kind, Callable[[], Reader]]]] = _READERS | {
    22: (Kind.HASH, lambda: ExpiringFieldsReader()),
    23: (Kind.HASH, lambda: ListpackExpiryReader(Listpack, first=False)),
    24: (Kind.HASH, lambda: ExpiringFieldsReader(first=True)),
    25: (Kind.HASH, lambda: ListpackExpiryReader(Listpack, first=True)),
    26: (Kind.STREAM, lambda: StreamValueReader(4)),
    27: (Kind.STREAM, lambda: StreamValueReader(5)),
}
_READERS_VALKEY: Final[dict[int, tuple[Kind, Callable[[], Reader]]]] = _READERS | {
    22: (Kind.HASH, lambda: ExpiringFieldsReader(valkey=True)),
    PATH_HASH: (Kind.PATH_HASH, lambda: PathHashReader()),
}
_REFUSED: Final[dict[int, str]] = {
    6: "a module value of a pre-release of Redis 4.0",
    28: "an array of Redis 8.8",
    29: "a hash with a template of Redis 8.8",
    30: "a hash with a template of Redis 8.8",
    31: "a hash with a template of Redis 8.8",
    32: "a hash with a template of Redis 8.8",
    33: "a rate limiter of Redis 8.8",
    246: "a function of a release candidate of Redis 7.0",
}


def find_reader(number: int, *, valkey: bool) -> tuple[Kind, Callable[[], Reader]]:
    """Return what an RDB type is, and what makes a reader of it; UnfaithfulError for one that is not known."""
    found = (_READERS_VALKEY if valkey else _READERS_REDIS).get(number)
    if found is None:
        why = _REFUSED.get(number, "unknown to this version of shaker")
        raise UnfaithfulError(f"a value of RDB type {number} cannot be decoded: {why}")
    return found


class ValueDecoder:
    """Decodes the value of RDB type `number`, without the type byte and without a footer, as it lies in an RDB."""

    def __init__(self, number: int, *, valkey: bool = False, max_string: int = MAX_STRING) -> None:
        self.kind, make = find_reader(number, valkey=valkey)
        self.finished = False
        self._reader = make()
        self._buffer = Buffer(max_string)
        self._failure: ShakerError | None = None

    def receive(self, data: bytes) -> None:
        """Append bytes of the value, or after it."""
        self._buffer.add(data)

    def next_element(self) -> Element | None:
        """Return the next element; None where more bytes are needed, or the value has ended (`finished`)."""
        if self._failure is not None:
            raise self._failure
        reader = self._reader
        try:
            while True:
                element = reader.take()
                if element is not None:
                    return element
                if self.finished or not self._buffer.ready():
                    return None
                try:
                    reader.read(self._buffer)
                except Incomplete:
                    self._buffer.position = self._buffer.safe
                    return reader.take()
                self.finished = reader.finished
        except ShakerError as failure:
            self._failure = failure
            raise

    def rest(self) -> bytes:
        """Return the bytes received that lie after the value; empty until it is finished."""
        if not self.finished:
            return b""
        self._buffer.ready()
        return self._buffer.data[self._buffer.safe :]


class LibrariesDecoder(ValueDecoder):
    """Decodes what FUNCTION DUMP gives."""

    def __init__(self, max_string: int) -> None:
        super().__init__(0, max_string=max_string)
        self.kind = Kind.FUNCTIONS
        self._reader = LibrariesReader()


class PayloadDecoder:
    """Decodes a DUMP payload: type, value, RDB version and CRC-64; or one of FUNCTION DUMP if `functions`.

    `version` is the RDB version of the server that wrote it, so what the payload says only at its end: it must be
    given for types 22 and 23, which Redis and Valkey use differently. Before the first byte, `kind` is None and
    `number`, the RDB type, is -1.
    """

    def __init__(self, *, version: int = 0, functions: bool = False, max_string: int = MAX_STRING) -> None:
        self.kind: Kind | None = None
        self.version = 0  # as the payload says, once `finish` was called
        self._expected = version
        self.number = -1
        self._functions = functions
        self._max_string = max_string
        self._value: ValueDecoder | None = None
        self._checksum = 0
        self._tail = b""  # the last bytes received, which may be the checksum

    def receive(self, data: bytes) -> None:
        """Append bytes of the payload."""
        if not data:
            return
        self._sum(data)
        if self._value is None:
            if not self._functions:
                self._open(data[0])
                data = data[1:]
            else:
                self._value = LibrariesDecoder(self._max_string)
                self.kind = Kind.FUNCTIONS
        assert self._value is not None
        self._value.receive(data)

    def _open(self, number: int) -> None:
        if number in DIVERGENT and not self._expected:
            raise UnfaithfulError(f"RDB type {number} has two meanings, and the payload's version is not known yet")
        self.number = number
        self._value = ValueDecoder(number, valkey=self._expected >= VALKEY_VERSION, max_string=self._max_string)
        self.kind = self._value.kind

    def _sum(self, data: bytes) -> None:
        """Add to the checksum all but the last bytes."""
        data = self._tail + data if self._tail else data
        keep = max(0, len(data) - CHECKSUM_SIZE)
        if keep:
            self._checksum = CRC64.calc(data[:keep], self._checksum)
        self._tail = data[keep:]

    def next_element(self) -> Element | None:
        """Return the next element; None where more bytes are needed, or the value has ended."""
        return self._value.next_element() if self._value is not None else None

    def finish(self) -> None:
        """Check the end of the payload, after the last element: CorruptError if it is cut, damaged, or too long."""
        value = self._value
        if value is None or not value.finished:
            raise CorruptError("a DUMP payload ends in the middle of its value")
        footer = value.rest()
        if len(footer) != FOOTER_SIZE:
            raise CorruptError(f"a DUMP payload has {len(footer)} bytes after its value, not {FOOTER_SIZE}")
        stored = int.from_bytes(self._tail, "little")
        if stored != self._checksum:
            raise CorruptError(f"the CRC-64 of a DUMP payload is {stored:016x} but should be {self._checksum:016x}")
        self.version = int.from_bytes(footer[:VERSION_SIZE], "little")
        if self.number in DIVERGENT and (self.version >= VALKEY_VERSION) != (self._expected >= VALKEY_VERSION):
            raise CorruptError(f"a DUMP payload is of RDB version {self.version}, not {self._expected}")


def decode(
    chunks: Iterable[bytes], *, version: int = 0, functions: bool = False, max_string: int = MAX_STRING
) -> Iterator[Element]:
    """Yield the elements of a DUMP payload that comes in chunks; see `PayloadDecoder`."""
    decoder = PayloadDecoder(version=version, functions=functions, max_string=max_string)
    for chunk in chunks:
        decoder.receive(chunk)
        while (element := decoder.next_element()) is not None:
            yield element
    decoder.finish()


def payload_version(payload: bytes) -> int:
    """Return the RDB version that a whole DUMP payload names; CorruptError if it is too short to name one."""
    if len(payload) < FOOTER_SIZE:
        raise CorruptError("a DUMP payload is shorter than its footer")
    return int.from_bytes(payload[-FOOTER_SIZE:-CHECKSUM_SIZE], "little")
