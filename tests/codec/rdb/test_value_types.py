"""The header decides what numbers mean: each server family and version has its own dialect."""

from __future__ import annotations

import pytest

from shaker.codec.rdb.value_types import FIRST_OPCODE, REDIS, VALKEY, Dialect, read_header
from shaker.errors import CorruptError, UnfaithfulError


@pytest.mark.parametrize(
    ("header", "version", "dialect"),
    [(b"REDIS0006", 6, REDIS), (b"REDIS0011", 11, REDIS), (b"REDIS0015", 15, REDIS), (b"VALKEY081", 81, VALKEY)],
)
def test_known_headers_choose_the_dialect(header: bytes, version: int, dialect: Dialect) -> None:
    """Valkey up to 8 writes version 11 of Redis."""
    magic, found, chosen = read_header(header)

    assert (magic, found) == (header.rstrip(b"0123456789"), version)
    assert chosen is dialect


@pytest.mark.parametrize("header", [b"REDIS0005", b"REDIS0016", b"REDIS0080", b"VALKEY011", b"VALKEY082"])
def test_an_unknown_version_is_refused_as_such(header: bytes) -> None:
    """It may have anything in it: the way out is a newer worker."""
    with pytest.raises(UnfaithfulError, match="is not known") as caught:
        read_header(header)
    assert "a version of shaker" in caught.value.hint


@pytest.mark.parametrize("header", [b"RDB000011", b"REDIS00x1", b"redis0011", b"VALKEY08x", b"\x00" * 9])
def test_other_bytes_are_no_snapshot(header: bytes) -> None:
    """Whatever the source sent, it is corrupt."""
    with pytest.raises(CorruptError, match="does not begin with"):
        read_header(header)


def test_the_same_number_means_different_hashes() -> None:
    """Type 22 is Valkey's hash with field expiries, and a release candidate's on Redis."""
    assert VALKEY.is_type[22]
    assert not REDIS.is_type[22]
    assert "release candidate" in REDIS.refused[22]
    assert REDIS.is_type[25]
    assert not VALKEY.is_type[25]


@pytest.mark.parametrize("dialect", [REDIS, VALKEY])
def test_every_type_has_a_pattern_and_a_version_and_is_no_opcode(dialect: Dialect) -> None:
    """What is refused has neither."""
    for number in range(256):
        if dialect.is_type[number]:
            assert number < FIRST_OPCODE
            assert dialect.patterns[number] is not None
            assert int.from_bytes(dialect.footers[number], "little") >= 6
            assert dialect.heads[number] == bytes([number])
        else:
            assert dialect.footers[number] == b""
        if number in dialect.refused:
            assert dialect.patterns[number] is None
