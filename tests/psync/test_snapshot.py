"""Records of a snapshot become keys, libraries, scripts and losses; what had expired before it is left out."""

from __future__ import annotations

import pytest

from shaker.errors import CorruptError
from shaker.model.batch import KeyCount, SnapshotLibrary, SnapshotLoss, SnapshotScript
from shaker.model.entries import Aux, Entries, ExpiringString, LargeChunk, LargeEntry, Library, Resize
from shaker.psync.snapshot import SLACK_MS, SnapshotContents

CREATED = 1_700_000_000
BEFORE = CREATED * 1000 - SLACK_MS
EXPIRING = Entries(
    0, [], [], [ExpiringString(b"gone", b"v", BEFORE - 1), ExpiringString(b"kept", b"v", BEFORE)], []
)


def test_each_record_gets_its_meaning() -> None:
    """Other fields about the snapshot mean nothing for the target."""
    contents = SnapshotContents(exact=True)
    found = contents.translate(
        [
            Aux(b"redis-ver", b"8.0.0"),
            Aux(b"lua", b"return 1"),
            Aux(b"module-aux", b"graph\xff"),
            Resize(3, 10, 2),
            Library(b"#!lua name=lib"),
            Aux(b"repl-stream-db", b"6"),
        ]
    )

    assert found == [
        SnapshotScript(b"return 1"),
        SnapshotLoss("MODULE AUX", "graph\\xff"),
        KeyCount(10),
        SnapshotLibrary(b"#!lua name=lib"),
    ]
    assert contents.database == 6


@pytest.mark.parametrize("value", [b"", b"-1", b"six", b"1" * 10])
def test_a_database_that_is_no_number_is_corrupt(value: bytes) -> None:
    """No server writes such a field."""
    with pytest.raises(CorruptError, match="repl-stream-db"):
        SnapshotContents(exact=True).translate([Aux(b"repl-stream-db", value)])


def test_a_primary_leaves_out_what_had_expired() -> None:
    """By the time in the snapshot, less the slack in which the source may have renewed a key."""
    contents = SnapshotContents(exact=True)
    [left] = contents.translate([Aux(b"ctime", b"%d" % CREATED), EXPIRING])

    assert left == Entries(0, [], [], [ExpiringString(b"kept", b"v", BEFORE)], [], expired=1)


def test_a_replica_leaves_expired_keys_to_its_primary() -> None:
    """Its primary may still renew them."""
    contents = SnapshotContents(exact=False)

    assert contents.translate([Aux(b"ctime", b"%d" % CREATED), EXPIRING]) == [EXPIRING]


@pytest.mark.parametrize(("expires_at_ms", "left_out"), [(BEFORE - 1, True), (BEFORE, False), (-1, False)])
def test_an_expired_large_value_goes_with_all_of_its_chunks(expires_at_ms: int, left_out: bool) -> None:
    """It counts as one expired key; the next large value passes again."""
    contents = SnapshotContents(exact=True)
    contents.translate([Aux(b"ctime", b"%d" % CREATED)])
    large = [LargeEntry(2, b"k", 4, expires_at_ms, -1, -1), LargeChunk(b"ab", False), LargeChunk(b"cd", True)]
    next_one = [LargeEntry(2, b"l", 2, -1, -1, -1), LargeChunk(b"ef", True)]

    expected = [Entries(2, [], [], [], [], expired=1)] if left_out else large
    assert contents.translate([*large, *next_one]) == [*expected, *next_one]
