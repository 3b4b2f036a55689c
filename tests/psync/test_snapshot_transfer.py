"""A snapshot ends as the source announced it: after so many bytes, or before its mark."""

from __future__ import annotations

import pytest

from shaker.codec.rdb.reader import SnapshotReader
from shaker.errors import CorruptError
from shaker.model.batch import Event
from shaker.model.entries import Entries
from shaker.psync.snapshot import SnapshotContents
from shaker.psync.snapshot_transfer import MARK_SIZE, SnapshotTransfer
from tests.support.rdb_bytes import rdb, string

RDB = rdb(b"\xfa" + string(b"repl-stream-db") + string(b"6") + b"\xfe\x02\x00" + string(b"key") + string(b"value"))
MARK = b"m" * (MARK_SIZE - 1) + b"k"


def transfer(*, size: int = len(RDB), mark: bytes = b"") -> SnapshotTransfer:
    """Return a transfer that was announced with a size or a mark."""
    return SnapshotTransfer(SnapshotReader(), SnapshotContents(exact=True), size=size, mark=mark)


@pytest.mark.parametrize("step", [1, 7, len(RDB)])
def test_a_snapshot_of_the_announced_size_is_read_in_any_pieces(step: int) -> None:
    """With the database that the stream begins in."""
    made = transfer()
    events: list[Event] = []
    for start in range(0, len(RDB), step):
        assert not made.done
        made.feed(RDB[start : start + step], events)

    assert made.done
    assert (made.consumed, made.database, made.rest()) == (len(RDB), 6, b"")
    expected = Entries(2, [b"key", b"value"], [], [], [], version=11)
    assert [event for event in events if isinstance(event, Entries)] == [expected]


@pytest.mark.parametrize(("by", "text"), [(-1, "ends after"), (1, "ends after"), (-len(RDB) // 2, "ends after")])
def test_a_snapshot_of_another_size_is_corrupt(by: int, text: str) -> None:
    """Bytes of the stream would pass for the snapshot, or the other way round."""
    with pytest.raises(CorruptError, match=text):
        transfer(size=len(RDB) + by).feed(RDB, [])


def test_a_snapshot_that_wants_more_than_announced_is_corrupt() -> None:
    """A damaged length would wait for the stream, perhaps an idle one."""
    with pytest.raises(CorruptError, match="does not end within the 20 bytes"):
        transfer(size=20).feed(RDB[:20], [])


def test_the_mark_is_recognized_once_it_is_whole() -> None:
    """What follows it is the stream."""
    made = transfer(size=0, mark=MARK)
    made.feed(RDB + MARK[:10], [])

    assert made.done
    assert made.rest() == MARK[:10]
    assert not made.follows(MARK[:10])
    assert made.follows(MARK)
    assert made.follows(MARK + b"*1\r\n")


@pytest.mark.parametrize("data", [b"x", MARK[:20] + b"x", b"*1\r\n$4\r\nPING\r\n"])
def test_other_bytes_than_the_mark_are_corrupt(data: bytes) -> None:
    """As soon as the first of them is there."""
    with pytest.raises(CorruptError, match="not followed by the mark"):
        transfer(size=0, mark=MARK).follows(data)
