"""The stream from before the offset to go on from: what has taken effect already comes apart from what has not."""

from __future__ import annotations

import pytest

from shaker.codec.resp.replies import encode
from shaker.codec.resp.requests import whole
from shaker.errors import CorruptError
from shaker.model.batch import BarrierReached, Batch, Event, Reviewed, ReviewEnd
from shaker.psync.batches import StreamAssembler
from shaker.psync.divided import DividedStream
from shaker.rules.chain import Chain
from shaker.rules.command_table import CommandTable
from tests.support.splits import every_cut

BEGIN = 1000
MULTI = (encode("MULTI"), encode("INCR", "a"), encode("SELECT", 5), encode("SET", "b", 1), encode("EXEC"))
BEFORE = (encode("SET", "a", 1), encode("SELECT", 3), encode("RPUSH", "l", "x"), b"".join(MULTI), encode("PING"))
BEHIND = (encode("INCR", "c"), encode("SELECT", 0), encode("INCR", "d"))
END = BEGIN + len(b"".join(BEFORE))
STREAM = b"".join(BEFORE + BEHIND)


def assembler(offset: int = BEGIN, database: int = 2, pass_above: int | None = None) -> StreamAssembler:
    """Return an assembler that begins there."""
    return StreamAssembler(
        replid="a" * 40,
        offset=offset,
        database=database,
        chain=Chain(CommandTable({})),
        max_transaction=1 << 20,
        pass_above=pass_above,
    )


def commands(batches: list[Batch]) -> dict[int, bytes]:
    """Return all commands of batches, by database in order."""
    found: dict[int, bytes] = {}
    for batch in batches:
        for part in batch.parts:
            found[part.database] = found.get(part.database, b"") + whole(part.data, part.prefix)
    return found


@pytest.mark.parametrize("database", [2, -1])
@pytest.mark.parametrize("pass_above", [None, 20])
def test_in_two(database: int, pass_above: int | None) -> None:
    """However the bytes come; behind the end the stream is what it would be if it began there."""
    for pieces in every_cut(STREAM):
        stream = DividedStream(assembler(database=database, pass_above=pass_above), (END, 5))
        events: list[Event] = [event for piece in pieces for event in stream.feed(piece)]
        end = events.index(ReviewEnd(5))
        before = [event.batch for event in events[:end] if isinstance(event, Reviewed)]
        behind = [event for event in events[end + 1 :] if isinstance(event, Batch)]

        assert len(before) + 1 + len(behind) == len(events)
        assert commands(before) == {
            database: encode("SET", "a", 1),
            3: encode("RPUSH", "l", "x") + encode("INCR", "a"),
            5: encode("SET", "b", 1),
        }
        assert commands(behind) == {5: encode("INCR", "c"), 0: encode("INCR", "d")}
        assert (behind[-1].end_offset, behind[-1].database) == (BEGIN + len(STREAM), 0)
        assert stream.offset == BEGIN + len(STREAM)


def test_the_database_of_the_end_is_that_of_who_asks() -> None:
    """What was read before may not know it."""
    stream = DividedStream(assembler(database=-1), (BEGIN + len(BEFORE[0]), 4))
    events = stream.feed(BEFORE[0] + BEHIND[0])
    assert events[1] == ReviewEnd(-1)
    assert commands([event for event in events if isinstance(event, Batch)]) == {4: BEHIND[0]}


@pytest.mark.parametrize("offset", [END - 3, BEGIN + len(b"".join(BEFORE[:3])) + len(MULTI[0])])
def test_another_history(offset: int) -> None:
    """An end inside a command or a transaction cannot be one: nothing is applied."""
    stream = DividedStream(assembler(), (offset, 5))
    with pytest.raises(CorruptError, match=str(offset)):
        stream.feed(STREAM)


def test_a_barrier_behind_it() -> None:
    """A cut that is asked for before the end comes where it should; one before the end is not clean."""
    cut = END + len(BEHIND[0])
    for pieces in every_cut(STREAM):
        stream = DividedStream(assembler(), (END, 5))
        events: list[Event] = [*stream.cut(cut)]
        for piece in pieces:
            events += stream.feed(piece)
        reached = events.index(BarrierReached(cut, cut, clean=True))
        applied = [event for event in events[:reached] if isinstance(event, Batch)]
        assert commands(applied) == {5: BEHIND[0]}
        assert stream.cut(END) == [BarrierReached(END, END, clean=False)]
