"""The record that a snapshot reader is in, and how errors name it."""

from __future__ import annotations

from shaker.codec.rdb.open_record import SHOWN_KEY, OpenRecord


def test_an_error_names_type_key_database_and_offset() -> None:
    """A long key is shortened, with its length."""
    record = OpenRecord()
    record.opcode = 4
    assert record.in_key
    assert record.place(3, 77) == "type 4 in database 3, byte 77 of the snapshot"
    record.key = b"k"
    assert not record.in_key
    assert record.place(3, 77) == "type 4 of key 'k' in database 3, byte 77 of the snapshot"
    record.key = b"x" * (SHOWN_KEY + 1)
    assert record.place(0, 1).endswith(f"... ({SHOWN_KEY + 1} bytes) in database 0, byte 1 of the snapshot")


def test_an_opcode_is_no_key() -> None:
    """Types are below 128."""
    record = OpenRecord()
    record.opcode = 250
    assert not record.in_key
    assert record.place(0, 9) == "opcode 250 in database 0, byte 9 of the snapshot"


def test_a_closed_record_holds_nothing() -> None:
    """Neither key nor parts."""
    record = OpenRecord()
    record.opcode, record.key, record.parts, record.large = 1, b"k", [b"part"], True
    record.close()
    assert (record.opcode, record.key, record.parts, record.large) == (-1, None, [], False)
