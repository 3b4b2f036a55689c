"""Readers of values that are kept as they are: modules' own types, and function libraries."""

from __future__ import annotations

from typing import Final

from shaker.codec.rdb.strings import module_name
from shaker.codec.rdb.value_types import FUNCTION2, MODULE_PARTS
from shaker.codec.values.buffer import Buffer
from shaker.codec.values.elements import Element, Libraries, ModuleParts, ModuleStart
from shaker.codec.values.readers import Reader
from shaker.errors import CorruptError

BATCH_PARTS: Final = 1024
BATCH_BYTES: Final = 64 * 1024
# Parts of a module's value by their opcode (server file src/rdb.h).
_SIGNED, _UNSIGNED, _FLOAT, _DOUBLE, _STRING = 1, 2, 3, 4, 5
_RAW_SIZES: Final[dict[int, int]] = {_FLOAT: 4, _DOUBLE: 8}
# The low bits of a module type's id are the version of its encoding.
VERSION_MASK: Final = 1023


class ModuleReader(Reader):
    """A value of a module's own type: its parts as the module saved them."""

    def __init__(self) -> None:
        super().__init__()
        self._begun = False
        self._bytes = 0
        self._parts: list[tuple[int, bytes]] = []
        self._start: ModuleStart | None = None

    def read(self, buffer: Buffer) -> None:
        """Take parts up to a full batch."""
        if not self._begun:
            identifier = buffer.length()
            self._start = ModuleStart(module_name(identifier), identifier & VERSION_MASK)
            self._begun = True
            buffer.commit()
            return
        while len(self._parts) < BATCH_PARTS and self._bytes < BATCH_BYTES:
            opcode = buffer.length()
            if opcode >= len(MODULE_PARTS):
                raise CorruptError(f"module opcode {opcode} is unknown")
            if not opcode:
                buffer.commit()
                self.finished = True
                return
            part = self._part(opcode, buffer)
            self._bytes += len(part)
            self._parts.append((opcode, part))
            buffer.commit()

    def _part(self, opcode: int, buffer: Buffer) -> bytes:
        if opcode in _RAW_SIZES:
            return buffer.raw(_RAW_SIZES[opcode])
        return buffer.string() if opcode == _STRING else b"%d" % buffer.length()

    def take(self) -> Element | None:
        """Return what begins the value, then its parts in batches."""
        if self._start is not None:
            start, self._start = self._start, None
            return start
        parts, self._parts = self._parts, []
        self._bytes = 0
        return ModuleParts(parts) if parts else None


class LibrariesReader(Reader):
    """A payload of FUNCTION DUMP: the code of each library after its opcode; none where the footer comes at once."""

    def __init__(self) -> None:
        super().__init__()
        self._codes: list[bytes] = []

    def read(self, buffer: Buffer) -> None:
        """Take one library."""
        if buffer.position >= buffer.end:
            raise buffer.need(buffer.position + 1)
        if buffer.data[buffer.position] != FUNCTION2:
            self.finished = True
            return
        buffer.byte()
        self._codes.append(buffer.string())
        buffer.commit()

    def take(self) -> Element | None:
        """Return the libraries read."""
        codes, self._codes = self._codes, []
        return Libraries(codes) if codes else None
