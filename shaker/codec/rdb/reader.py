"""An RDB as it comes from a source → its keys: plain strings as they are, all other values as DUMP payloads.

Values are skipped by their lengths and copied raw, not decoded. Formats: server files src/rdb.c and src/rdb.h;
what the numbers mean is in value_types.py.

`KeyRecords` handles keys that lie whole in the buffer. Everything else - a record cut by the end of the buffer, a
nested value, a rare opcode - goes through `_collect` and the skipper, whose state outlives the buffer. Passed bytes
are kept in a list of parts, so no byte is read twice, and only a length's header (at most 19 bytes) waits for more.
"""

from __future__ import annotations

from typing import Final

from shaker.codec.rdb.crc64 import CRC64
from shaker.codec.rdb.field_expiries import FOOTER_SIZE
from shaker.codec.rdb.open_record import OpenRecord
from shaker.codec.rdb.records import KeyRecords, value_payload
from shaker.codec.rdb.skipper import Skipper
from shaker.codec.rdb.strings import RAISE_LIMIT, module_name, read_length, read_string
from shaker.codec.rdb.value_limits import EVERY_VERSION, ValueLimits
from shaker.codec.rdb.value_types import (
    AUX,
    EOF,
    EXPIRETIME,
    EXPIRETIME_MS,
    FIRST_OPCODE,
    FREQ,
    FUNCTION2,
    HEADER_SIZE,
    IDLE,
    MODULE_AUX,
    REDIS,
    RESIZEDB,
    SELECTDB,
    STRING,
    Pattern,
    read_header,
)
from shaker.errors import CorruptError, ShakerError, UnfaithfulError
from shaker.model.entries import Aux, Event, LargeChunk, LargeEntry, Library, Resize

MAX_DATABASE: Final = 2**31 - 1  # redis.conf `databases` is an int
MAX_INT64: Final = 2**63 - 1
# The default proto-max-bulk-len: a server closes the connection of who sends a longer argument.
MAX_BULK: Final = 512 * 1024 * 1024


class SnapshotReader:
    """Reads an RDB in chunks cut anywhere; the same keys come out wherever it is cut.

    `consumed` counts the bytes of the RDB that were read, `done` is true once its end and its CRC-64 were read and
    found right. `magic` (b"REDIS" or b"VALKEY") and `version` are known after the first 9 bytes.
    A value that is one string and above `large_above` bytes comes as a LargeEntry and LargeChunks, never held, and so
    does a collection above `build_above` bytes; above BUILT_WHOLE where `taken` has a 0 for the version of the RDB.
    A stream above that is held up to `max_value` bytes and comes in one chunk, as its commands need two passes; a
    larger one comes in chunks. A key, a value of a module, and without `build_above` any other value of more than
    `max_value` bytes raise UnfaithfulError; a value that is held takes twice its size.
    """

    def __init__(
        self,
        *,
        max_value: int = 256 * 1024 * 1024,
        large_above: int | None = None,
        build_above: int | None = None,
        taken: bytes = EVERY_VERSION,
    ) -> None:
        self.consumed = 0
        self.done = False
        self.magic = b""
        self.version = 0
        self._limits = ValueLimits(max_value, large_above, build_above, taken)
        self._dialect = REDIS
        self._failure: ShakerError | None = None
        self._buffer = b""  # fed and not consumed; once done, what lies behind the RDB
        self._checksum = 0  # CRC-64 of all consumed bytes, up to the EOF opcode
        self._unsummed = 0  # where in the buffer the bytes begin that are not in the checksum yet, -1 after EOF
        self._events: list[Event] = []
        self._records = KeyRecords(max_value)
        self._skipper = Skipper()
        self._record = OpenRecord()

    def feed(self, data: bytes) -> list[Event]:
        """Return everything that is complete with `data`, in order; nothing once done (see `rest`).

        Raises CorruptError or UnfaithfulError, naming type or opcode, key, database and byte offset. Keys that were
        complete in the same `data` before the bad byte are lost with it, and each later call raises it again: a
        snapshot fails as a whole.
        """
        if self._failure is not None:
            raise self._failure
        if self.done:
            self._buffer += data
            return []
        self._unsummed = len(self._buffer) if self._unsummed >= 0 else -1
        buffer = self._buffer + data if self._buffer else data
        try:
            position = self._read(buffer, len(buffer))
        except ShakerError as failure:
            self._failure = failure
            self._events, self._record.parts = [], []
            self._records.drop()
            raise
        if self._unsummed >= 0:
            self._checksum = CRC64.calc(data, self._checksum)
        self._buffer = buffer[position:]
        self.consumed += position
        self._flush()
        events, self._events = self._events, []
        return events

    def rest(self) -> bytes:
        """Return the bytes fed that lie behind the end of the RDB; empty until done."""
        return self._buffer if self.done else b""

    def _read(self, buffer: bytes, end: int) -> int:
        """Read the complete records in `buffer`; return the position of the first byte that must be kept."""
        record = self._record
        position = 0
        if not self.magic:
            if end < HEADER_SIZE:
                return 0
            self.magic, self.version, self._dialect = read_header(buffer[:HEADER_SIZE])
            self._records.version = self.version
            self._limits.know_version(self.version)
            position = HEADER_SIZE
        while not self.done:
            if record.opcode < 0:
                position = self._records.read(self._dialect, buffer, position, end)
                if position == end and self._records.key is None:
                    break
                position = self._begin_record(buffer, position)
            position = self._collect(buffer, position, end)
            if not self._skipper.finished:
                break
        return position

    def _begin_record(self, buffer: bytes, position: int) -> int:
        """Set the skipper on the record or the value at `position`; return where that continues."""
        record = self._record
        key = self._records.key
        if key is not None:
            opcode = self._records.opcode
            self._begin(opcode, self._dialect.patterns[opcode] or (), position)
            record.key = key
            return position
        opcode = buffer[position]
        if self._dialect.is_type[opcode]:
            self._begin(opcode, (STRING,), position)
        else:
            self._begin_opcode(opcode, buffer, position)
        return position + 1

    def _begin(self, opcode: int, pattern: Pattern, position: int) -> None:
        """Set the skipper on `pattern`, which is what follows `opcode` at `position` of the buffer."""
        record = self._record
        record.opcode = opcode
        record.key = None
        record.offset = self.consumed + position
        self._start(pattern)

    def _begin_opcode(self, opcode: int, buffer: bytes, position: int) -> None:
        if opcode == EOF:
            self._checksum = CRC64.calc(buffer[self._unsummed : position + 1], self._checksum)
            self._unsummed = -1
        pattern = self._dialect.patterns[opcode]
        if pattern is None:
            self._begin(opcode, (STRING,), position)  # an unknown type is named with the key that follows it
            if opcode >= FIRST_OPCODE:
                raise self._unknown()
        else:
            self._begin(opcode, pattern, position)

    def _start(self, pattern: Pattern) -> None:
        record = self._record
        self._skipper.start(pattern)
        record.parts = []
        record.collected = 0

    def _collect(self, buffer: bytes, position: int, end: int) -> int:
        """Continue with the record that was begun and keep the bytes passed; return where it stopped."""
        record = self._record
        start = position
        skipper = self._skipper
        try:
            position = skipper.skip(buffer, start, end)
        except CorruptError as error:
            raise self._corrupt(error.what, skipper.bad_position) from error
        record.collected += position - start
        if record.large or self._is_large():
            if skipper.remaining > self._limits.max_value and not self._dialect.is_string[record.opcode]:
                raise self._too_large(position)  # one element, which is held whole
            self._pass_on(buffer[start:position], position)
            return position
        if record.collected + skipper.remaining > self._limits.max_value:
            raise self._too_large(position)
        if position > start:
            record.parts.append(buffer[start:position])
        if skipper.finished:
            self._complete(position)
        return position

    def _is_large(self) -> bool:
        record = self._record
        if record.key is None:
            return False
        remaining = self._skipper.remaining
        return self._limits.is_large(self._dialect, record.opcode, record.collected + remaining, remaining)

    def _pass_on(self, data: bytes, position: int) -> None:
        """Give out the bytes of a large value instead of keeping them."""
        record = self._record
        assert record.key is not None  # only a value is large
        dialect, opcode = self._dialect, record.opcode
        if not record.large:
            size = 1 + record.collected + self._skipper.remaining + FOOTER_SIZE
            if not dialect.is_string[opcode]:
                size = -1
            elif size > MAX_BULK:
                raise self._too_large(position)
            self._begin_large(size)
            record.large = True
            record.checksum = 0
            parts, record.parts = [*record.parts, data], []
            parts[0] = dialect.heads[opcode] + parts[0]
            for part in parts[:-1]:
                self._give(part)
            data = parts[-1]
        self._give(data)
        if self._skipper.finished:
            footer = dialect.footers[opcode]
            checksum = CRC64.calc(footer, record.checksum)
            self._events.append(LargeChunk(footer + checksum.to_bytes(8, "little"), last=True))
            record.close()

    def _give(self, data: bytes) -> None:
        self._record.checksum = CRC64.calc(data, self._record.checksum)
        self._events.append(LargeChunk(data, last=False))

    def _begin_large(self, size: int) -> None:
        """Give out the key whose payload follows in chunks."""
        key, number = self._record.key, self._record.opcode
        assert key is not None  # only a value is large
        self._flush()
        of, version = self._records, int.from_bytes(self._dialect.footers[number], "little")
        self._events.append(
            LargeEntry(of.database, key, size, of.expires_at_ms, of.idle_seconds, of.frequency, number, version)
        )
        of.forget_use()

    def _complete(self, position: int) -> None:
        """Make of the collected parts what the record is; `position` is the end of it in the buffer."""
        record = self._record
        opcode, parts = record.opcode, record.parts
        if self._dialect.is_type[opcode]:
            if record.key is None:
                record.key = self._string(b"".join(parts), position)[0]
                self._start(self._dialect.patterns[opcode] or ())
                return
            if self._limits.is_large_stream(opcode, record.collected):
                self._begin_large(1 + record.collected + FOOTER_SIZE)
                self._events.append(LargeChunk(value_payload(self._dialect, opcode, parts), last=True))
            else:
                self._records.add(self._dialect, opcode, record.key, parts)
        else:
            self._complete_opcode(opcode, b"".join(parts), position)
        record.close()

    def _complete_opcode(self, opcode: int, data: bytes, position: int) -> None:
        record = self._record
        records = self._records
        if self._dialect.patterns[opcode] is None:
            record.key = self._string(data, position)[0]
            raise self._unknown()
        if opcode == EOF:
            stored = int.from_bytes(data, "little")
            # 0 means `rdbchecksum no`: the server itself checks nothing then.
            if stored not in (0, self._checksum):
                raise self._corrupt(f"the CRC-64 is {stored:016x} but should be {self._checksum:016x}", position)
            self.done = True
        elif opcode == SELECTDB:
            self._flush()
            records.database = read_length(data, 0, len(data))[0]
            if records.database > MAX_DATABASE:
                raise self._corrupt("the database number is impossible", position)
        elif opcode in (EXPIRETIME_MS, EXPIRETIME):
            records.expires_at_ms = int.from_bytes(data, "little", signed=True)
            if opcode == EXPIRETIME:
                records.expires_at_ms *= 1000
            if records.expires_at_ms < 0:
                raise self._corrupt("the expiry is negative", position)
        elif opcode == FREQ:
            records.frequency = data[0]
        elif opcode == IDLE:
            records.idle_seconds = read_length(data, 0, len(data))[0]
            if records.idle_seconds > MAX_INT64:
                raise self._corrupt("the idle time is impossible", position)
        elif opcode == RESIZEDB:
            keys, at = read_length(data, 0, len(data))
            self._add(Resize(records.database, keys, read_length(data, at, len(data))[0]))
        elif opcode == AUX:
            name, at = self._string(data, position)
            self._add(Aux(name, self._string(data[at:], position)[0]))
        elif opcode == FUNCTION2:
            self._add(Library(self._string(data, position)[0]))
        elif opcode == MODULE_AUX:
            self._add(Aux(b"module-aux", module_name(read_length(data, 0, len(data))[0])))
        # SLOT_INFO remains: sizes of hash tables, without meaning for anyone but the server's own loading.

    def _add(self, event: Event) -> None:
        self._flush()
        self._events.append(event)

    def _flush(self) -> None:
        entries = self._records.take()
        if entries is not None:
            self._events.append(entries)

    def _string(self, data: bytes, position: int) -> tuple[bytes, int]:
        """Return the whole string that `data` begins with, and its end in `data`; `position` is for errors."""
        try:
            return read_string(data, 0, self._limits.max_value)
        except CorruptError as error:
            raise self._corrupt(error.what, position) from error
        except UnfaithfulError as error:
            raise UnfaithfulError(f"{error.what}: {self._where(position)}", hint=error.hint) from error

    def _where(self, position: int) -> str:
        return self._record.place(self._records.database, self.consumed + position)

    def _corrupt(self, what: str, position: int) -> ShakerError:
        if self._dialect.patterns[self._record.opcode] is None:
            return self._unknown()
        return CorruptError(f"{what}: {self._where(position)}")

    def _unknown(self) -> UnfaithfulError:
        why = self._dialect.refused.get(self._record.opcode, "unknown to this version of shaker")
        return UnfaithfulError(f"{self._where(self._record.offset - self.consumed)}: {why}")

    def _too_large(self, position: int) -> UnfaithfulError:
        record = self._record
        if self._dialect.patterns[record.opcode] is None:
            return self._unknown()
        part = "key" if record.in_key else "value"
        return UnfaithfulError(
            f"a {part} of at least {record.collected + self._skipper.remaining} bytes, {record.collected} read, "
            f"is above snapshot.max_value, {self._limits.max_value} bytes: {self._where(position)}",
            hint=RAISE_LIMIT,
        )
