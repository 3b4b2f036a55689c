"""Records of workers among the keys of a snapshot are left out, everything else is data."""

from __future__ import annotations

from shaker.model.entries import Entries, Entry, ExpiringString
from shaker.rules.record_keys import is_record, without_records

DATA = [b"k", b"shaker:", b"shaker:x", b"shaker:fence:", b"shaker:fence:a:b", b"xshaker:fence:a"]
RECORDS = [b"shaker:%b:a" % kind for kind in (b"fence", b"checkpoint", b"stale", b"expiring", b"unconfirmed")]


def entries(keys: list[bytes]) -> Entries:
    """Keys of each kind."""
    pairs = [each for key in keys for each in (key, b"value of " + key)]
    return Entries(
        3,
        pairs,
        [*pairs],
        [ExpiringString(key, b"v", 5) for key in keys],
        [Entry(key, b"payload", -1, 1, -1) for key in keys],
        (b"empty",),
        2,
    )


def test_data_alone_is_not_copied() -> None:
    """Nothing is made where nothing is left out."""
    skipped: list[bytes] = []
    for keys in ([], [b"k", b"l"]):
        found = entries(keys)
        assert without_records(found, skipped) is found
    assert skipped == []
    assert not any(map(is_record, DATA))


def test_records_are_left_out() -> None:
    """Among keys of each kind, in order, and reported."""
    skipped: list[bytes] = []
    mixed = [key for pair in zip(DATA, [*RECORDS, RECORDS[0]], strict=True) for key in pair]
    assert without_records(entries(mixed), skipped) == entries(DATA)
    assert skipped == [*RECORDS, RECORDS[0]] * 4
    assert without_records(entries(RECORDS), []) == entries([])
