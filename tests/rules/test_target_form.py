"""What targets take, by their INFO and COMMAND."""

from __future__ import annotations

import pytest

from shaker.model.entries import LargeEntry
from shaker.model.server_info import parse_info
from shaker.rules.command_table import CommandTable, KeyPositions
from shaker.rules.target_form import EVERYTHING, TargetForm, form_of
from tests.support.rdb_bytes import length, payload, string

ANY = KeyPositions(1, 1, 1, False)
VECTORSET = 0x7FE  # no name: such a module is of no known type


def form(version: str, *commands: str, valkey: str = "", skip: bool = False) -> TargetForm:
    """The form of a server."""
    info = parse_info(f"redis_version:{version}\r\nvalkey_version:{valkey}\r\n".encode())
    table = CommandTable(dict.fromkeys(commands, ANY))
    return form_of(info, table, restore_limit=1000, building="shaker:building:x", skip=skip)


@pytest.mark.parametrize(
    ("version", "valkey", "taken", "refused"),
    [
        ("6.2.14", "", (6, 9), (10, 11, 12, 80)),
        ("7.0.15", "", (6, 10), (11, 12, 80)),
        ("7.2.4", "8.1.0", (6, 11), (12, 80)),
        ("7.4.0", "", (12,), (13, 80)),
        ("8.0.2", "", (12,), (80,)),
        ("8.4.0", "", (12,), (13, 80)),
        ("8.6.1", "", (12, 13), (14, 80)),
        ("8.8.0", "", (12, 15), (80,)),
        ("7.2.4", "9.1.0", (11, 80), (12, 79, 81)),
        ("7.2.4", "9.2.0", (11, 80, 81), (12, 79)),
    ],
)
def test_versions_of_payloads(version: str, valkey: str, taken: tuple[int, ...], refused: tuple[int, ...]) -> None:
    """A server takes payloads up to its own version, and Valkey 9 none between those of Redis 7.2 and its own."""
    found = form(version, valkey=valkey)
    assert all(found.takes(payload(4, b"\x01\x01a\x01b", number)) for number in taken)
    assert not any(found.takes(payload(4, b"\x01\x01a\x01b", number)) for number in refused)
    assert not found.takes(payload(4, b"\x01\x01a" + string(b"b" * 2000), 6))
    assert EVERYTHING.takes(payload(4, b"\x01\x01a\x01b", 80))


def test_values_in_chunks() -> None:
    """Those of unknown size are built, and so are large strings and streams."""
    found = form("7.0.15")
    assert found.builds(LargeEntry(0, b"k", -1, -1, -1, -1, 1, 6))
    assert found.builds(LargeEntry(0, b"k", 5000, -1, -1, -1, 0, 6))
    assert found.builds(LargeEntry(0, b"k", 5000, -1, -1, -1, 21, 10))
    assert found.builds(LargeEntry(0, b"k", 500, -1, -1, -1, 20, 11))
    assert not found.builds(LargeEntry(0, b"k", 500, -1, -1, -1, 0, 6))
    assert not found.builds(LargeEntry(0, b"k", 5000, -1, -1, -1, 16, 10))


@pytest.mark.parametrize(
    ("kind", "limit"), [(0, 32 << 20), (1, 32 << 20), (2, 2 << 20), (4, 2 << 20), (15, 2 << 20)]
)
def test_a_payload_that_would_block_the_target_goes_as_commands(kind: int, limit: int) -> None:
    """Strings and lists have the limit of the setting, all others a lower one."""
    found = form("7.0.15")._replace(restore_limit=32 << 20)
    smallest = payload(kind, b"", 9)
    assert found.takes(payload(kind, bytes(limit - len(smallest)), 9))
    assert not found.takes(payload(kind, bytes(limit - len(smallest) + 1), 9))
    if kind in (0, 15):
        assert found.builds(LargeEntry(0, b"k", limit + 1, -1, -1, -1, kind, 9))
        assert not found.builds(LargeEntry(0, b"k", limit, -1, -1, -1, kind, 9))


def test_what_the_target_lacks() -> None:
    """Fields that expire, where there are any, and modules whose commands are missing."""
    expiring = payload(22, b"\x01\x01f\x01v" + (4102444800123).to_bytes(8, "little"), 80)
    plain = payload(22, b"\x01\x01f\x01v" + b"\xff" * 8, 80)
    old, new = form("7.0.15"), form("7.4.0", "hpexpireat")
    assert old.lacking(expiring) == "hash fields that expire (HPEXPIREAT)"
    assert old.lacking(plain) == new.lacking(expiring) == old.lacking(payload(4, b"\x01\x01f\x01v", 6)) == ""
    assert old.lacking_large(LargeEntry(0, b"k", -1, -1, -1, -1, 24, 12))
    assert not new.lacking_large(LargeEntry(0, b"k", -1, -1, -1, -1, 24, 12))
    assert old.lacking(payload(7, length(VECTORSET) + b"\x00", 8)) == ""
    assert form("7.0.15", skip=True).skips
    assert form("7.0.15", skip=True).lacking(expiring)
    assert not old.skips


def test_vector_sets() -> None:
    """Their module is known by its name."""
    characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    identifier = 0
    for letter in "vectorset":
        identifier = identifier << 6 | characters.index(letter)
    value = payload(7, b"\x81" + (identifier << 10 | 1).to_bytes(8, "big") + b"\x00", 8)
    assert form("7.0.15").lacking(value) == "vector sets (VADD)"
    assert form("8.0.0", "vadd").lacking(value) == ""
