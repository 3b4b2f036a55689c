"""Keys that lie whole in the buffer are gathered at one go, by what becomes of them; all others are left."""

from __future__ import annotations

import pytest

from shaker.codec.rdb.records import KeyRecords
from shaker.codec.rdb.value_types import REDIS
from shaker.model.entries import Entries, Entry, ExpiringString
from tests.support.rdb_bytes import length, payload, string

MAX_VALUE = 1000
AT = 4102444800123
STRING_RECORD = b"\x00" + string(b"a") + string(b"value")
NUMBER_RECORD = b"\x00" + string(b"n") + b"\xc1\x39\x30"
EXPIRING_RECORD = b"\xfc" + AT.to_bytes(8, "little") + b"\x00" + string(b"e") + string(b"v")
LIST = length(2) + string(b"x") + string(b"y")
LIST_RECORD = b"\x01" + string(b"l") + LIST
USED_RECORD = b"\xf9\x07\x01" + string(b"u") + LIST
IDLE_RECORD = b"\xf8\x09\x00" + string(b"i") + string(b"v")
EMPTY_RECORD = b"\x02" + string(b"gone") + length(0)
ALL = STRING_RECORD + NUMBER_RECORD + EXPIRING_RECORD + LIST_RECORD + USED_RECORD + IDLE_RECORD + EMPTY_RECORD


def test_each_key_is_gathered_by_what_becomes_of_it() -> None:
    """Strings as they are, other values as payloads, keys with more to tell as entries, empty ones by name."""
    records = KeyRecords(MAX_VALUE)
    records.database = 3
    # A value of one byte at the end of the buffer counts as cut.
    assert records.read(REDIS, ALL + b"\xff", 0, len(ALL) + 1) == len(ALL)

    assert records.take() == Entries(
        3,
        [b"a", b"value", b"n", b"12345"],
        [b"l", payload(1, LIST, 6)],
        [ExpiringString(b"e", b"v", AT)],
        [Entry(b"u", payload(1, LIST, 6), -1, -1, 7), Entry(b"i", payload(0, string(b"v"), 6), -1, 9, -1)],
        (b"gone",),
    )
    assert records.take() is None


@pytest.mark.parametrize("end", range(len(ALL)))
def test_a_buffer_cut_anywhere_is_read_up_to_the_last_whole_key(end: int) -> None:
    """And on from there, when the rest has come."""
    whole, records = KeyRecords(MAX_VALUE), KeyRecords(MAX_VALUE)
    whole.read(REDIS, ALL + b"\xff", 0, len(ALL) + 1)
    position = records.read(REDIS, ALL[:end], 0, end)
    if records.key is not None:  # read up to the value: its key is known, and its record has to be read again
        position = ALL.rindex(string(records.key), 0, position) - 1
    records.read(REDIS, ALL + b"\xff", position, len(ALL) + 1)

    assert records.take() == whole.take()


@pytest.mark.parametrize("record", [b"\xfe\x05", b"\xff", b"\xfb\x01\x00", b"\xfd" + bytes(4)])
def test_other_opcodes_are_left_to_the_caller(record: bytes) -> None:
    """Reading stops before them."""
    records = KeyRecords(MAX_VALUE)
    data = STRING_RECORD + record + bytes(20)

    assert records.read(REDIS, data, 0, len(data)) == len(STRING_RECORD)
    assert records.key is None


def test_a_value_that_is_too_large_is_left_with_its_key_and_type() -> None:
    """The caller passes it on in pieces."""
    records = KeyRecords(MAX_VALUE)
    data = b"\x01" + string(b"big") + length(1) + string(b"x" * (MAX_VALUE + 1))

    assert records.read(REDIS, data, 0, len(data)) == 5
    assert (records.key, records.opcode) == (b"big", 1)
    assert records.take() is None


def test_a_value_in_parts_is_gathered_like_one_in_one_piece() -> None:
    """Its parts are emptied."""
    records = KeyRecords(MAX_VALUE)
    for opcode, value in ((0, string(b"value")), (1, LIST), (2, length(0))):
        parts = [value[:1], value[1:]]
        records.add(REDIS, opcode, b"k", parts)
        assert parts == []

    assert records.take() == Entries(0, [b"k", b"value"], [b"k", payload(1, LIST, 6)], [], [], (b"k",))


def test_compressed_strings_stay_compressed() -> None:
    """As payloads, which the target decompresses itself."""
    compressed = b"\xc3\x05\x41\x09\x00a\xe0\xff\x00"
    records = KeyRecords(MAX_VALUE)
    data = b"\x00" + string(b"k") + compressed
    records.read(REDIS, data, 0, len(data))

    assert records.take() == Entries(0, [], [b"k", payload(0, compressed, 6)], [], [])


def test_dropped_keys_do_not_come_back() -> None:
    """What was read of a damaged snapshot is not given out."""
    records = KeyRecords(MAX_VALUE)
    records.read(REDIS, ALL, 0, len(ALL))
    records.drop()

    assert records.take() is None
