"""Checkpoints of other workers in the stream: given out once for each change of who they are."""

from __future__ import annotations

from shaker.codec.resp.replies import encode
from shaker.model.batch import Batch, RecordWritten
from shaker.psync.batches import StreamAssembler
from shaker.psync.records_seen import MAX_RECORDS, RecordsSeen
from shaker.rules.chain import Chain
from shaker.rules.command_table import CommandTable, KeyPositions

KEY = b"shaker:checkpoint:other"


def written(key: bytes = KEY, **fields: str) -> list[bytes]:
    """Return the arguments of a HSET."""
    return [b"HSET", key, *(word.encode() for pair in fields.items() for word in pair)]


def test_each_change_is_told_once() -> None:
    """An offset is none: thousands of transactions a second write it."""
    seen = RecordsSeen()
    first = seen.note(written(source="a", offset="1"))
    assert first == RecordWritten(KEY, (b"source", b"a", b"offset", b"1"))
    assert seen.note(written(source="a", offset="2")) is None
    for change in ({"source": "b"}, {"source": "b", "phase": "stream"}, {"source": "b", "phase": "snapshot"}):
        assert seen.note(written(**change)) is not None
        assert seen.note(written(**change)) is None


def test_what_is_no_checkpoint_is_not_told() -> None:
    """Other records, other commands, and fields without a value."""
    seen = RecordsSeen()
    assert seen.note(written(b"shaker:fence:other", source="a")) is None
    assert seen.note([b"DEL", KEY]) is None
    assert seen.note([b"HSET", KEY, b"source"]) is None
    assert seen.note([b"hset", KEY, b"source", b"a"]) == RecordWritten(KEY, (b"source", b"a"))


def test_a_flood_of_records_is_bounded() -> None:
    """Whoever writes them."""
    seen = RecordsSeen()
    told = [seen.note(written(b"%b%d" % (KEY, number), source="a")) for number in range(2 * MAX_RECORDS)]
    assert sum(each is not None for each in told) == MAX_RECORDS


def test_it_comes_in_its_place() -> None:
    """Inside a transaction of the other worker, whose commands go on without it."""
    table = CommandTable({"set": KeyPositions(1, 1, 1, False), "hset": KeyPositions(1, 1, 1, False)})
    assembler = StreamAssembler(replid="r", offset=0, database=0, chain=Chain(table), max_transaction=1 << 20)
    data = b"".join(
        encode(*arguments) for arguments in (("MULTI",), ("SET", "k", 1), written(source="a"), ("EXEC",))
    )
    record, batch = assembler.feed(data)
    assert record == RecordWritten(KEY, (b"source", b"a"))
    assert isinstance(batch, Batch)
    assert (batch.commands, batch.skipped, batch.end_offset) == (1, 1, len(data))
