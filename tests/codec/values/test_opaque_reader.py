"""Values that are kept as they are: parts of modules' own types, and function libraries."""

from __future__ import annotations

import struct

import pytest

from shaker.codec.values import elements as of
from shaker.codec.values.opaque_reader import BATCH_BYTES, BATCH_PARTS, LibrariesReader, ModuleReader
from shaker.errors import CorruptError
from tests.support.rdb_bytes import length, string
from tests.support.value_reading import content, read

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def identifier(name: str, version: int) -> bytes:
    """The id of a module type: nine characters of six bits, and ten bits of version."""
    number = 0
    for character in name:
        number = number << 6 | ALPHABET.index(character)
    return length(number << 10 | version)


VALUE = identifier("vectorset", 3)
VALUE += length(1) + length(7) + length(2) + length(1 << 40)
VALUE += length(3) + struct.pack("<f", 1.5) + length(4) + struct.pack("<d", 2.5) + length(5) + string(b"text")
PARTS = [
    (1, b"7"),
    (2, b"%d" % (1 << 40)),
    (3, struct.pack("<f", 1.5)),
    (4, struct.pack("<d", 2.5)),
    (5, b"text"),
]


def test_parts_of_a_module_come_as_saved() -> None:
    """Each kind of part, wherever the bytes are cut; the opcode 0 ends them."""
    content(ModuleReader, VALUE + b"\x00")
    assert read(ModuleReader(), [VALUE + b"\x00"]).elements == [
        of.ModuleStart(b"vectorset", 3),
        of.ModuleParts(PARTS),
    ]


def test_parts_come_in_batches() -> None:
    """Bounded by number and by bytes."""
    many = identifier("vectorset", 1) + (length(1) + b"\x05") * 3000
    many += (length(5) + string(b"x" * 40_000)) * 5 + b"\x00"
    _, *batches = read(ModuleReader(), [many]).elements
    parts = [each.parts for each in batches if isinstance(each, of.ModuleParts)]
    assert sum(map(len, parts)) == 3005
    assert max(map(len, parts)) <= BATCH_PARTS
    assert max(sum(len(data) for _, data in batch) for batch in parts) < BATCH_BYTES + 40_000


@pytest.mark.parametrize("opcode", [6, 63, 1 << 20])
def test_an_unknown_part_is_refused(opcode: int) -> None:
    """Its size is not known."""
    with pytest.raises(CorruptError, match=f"opcode {opcode} "):
        read(ModuleReader(), [identifier("vectorset", 1) + length(opcode) + bytes(9)])


def test_libraries_end_before_the_footer() -> None:
    """Each after its opcode; a payload without any has none."""
    code = b"#!lua name=lib\n" + b"x" * 300
    value = (b"\xf5" + string(code)) * 2
    for chunks in ([value + b"\x0b\x00"], [value[:5], value[5:320], value[320:], b"\x0b", b"\x00"]):
        found = read(LibrariesReader(), chunks)
        assert [each for of_ in found.elements if isinstance(of_, of.Libraries) for each in of_.codes] == [code] * 2
        assert (found.finished, found.rest) == (True, b"\x0b\x00")
    assert read(LibrariesReader(), [b"\x0b\x00"]) == ([], True, b"\x0b\x00")
    assert not read(LibrariesReader(), [value]).finished
