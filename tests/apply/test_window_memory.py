"""What waits in the window counts with what it really takes of memory, whatever the shape of the stream."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaker.apply.window import Window
from shaker.codec.resp.replies import encode
from shaker.model.batch import Batch
from shaker.model.items import StreamItem
from shaker.model.rejection import Rejection
from shaker.psync.batches import StreamAssembler
from shaker.rules.chain import Chain
from shaker.rules.command_table import CommandTable, KeyPositions

MIB = 1024 * 1024
LIMIT = MIB // 4
READS = (200, 5000)  # bytes
TABLE = CommandTable(
    {
        **dict.fromkeys(("set", "incr", "expire", "pexpireat", "hset"), KeyPositions(1, 1, 1, False)),
        "mset": KeyPositions(1, -1, 2, False),
        "del": KeyPositions(1, -1, 1, False),
    }
)
COMMANDS = {
    "SET": ("SET", "k", "v"),
    "SET of 100 bytes": ("SET", "k", "v" * 100),
    "INCR": ("INCR", "k"),
    "PEXPIREAT": ("PEXPIREAT", "k", 4_102_444_800_000),
    "SELECT 0": ("SELECT", 0),
    "SELECT 1": ("SELECT", 1),
    "PING": ("PING",),
    "PUBLISH": ("PUBLISH", "c", "m"),
    "a record among others": ("MSET", "a", 1, "shaker:checkpoint:other", 2),
    "a record": ("SET", "shaker:checkpoint:other", 2),
    "a deleted record": ("DEL", "a", "shaker:checkpoint:other"),
    "FLUSHDB": ("FLUSHDB",),
    "SWAPDB": ("SWAPDB", 2, 3),
    "unknown": ("NOSUCH", "k"),
}


def fill(shape: list[str], read: int) -> tuple[int, int]:
    """Fill a window with a shape of the stream, over and over; return what it counts and what it takes, in bytes."""
    data = b"".join(encode(*COMMANDS[name]) for name in shape)
    stream = data * (2 + read // len(data))  # a read may begin anywhere in `data`
    window = Window(LIMIT)
    assembler = StreamAssembler(
        replid="a" * 40, offset=0, database=0, chain=Chain(TABLE), max_transaction=1 << 28, pass_above=MIB
    )
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        position = 0
        for _ in range(LIMIT // read):
            if window.full:
                break
            piece = stream[position : position + read]
            position = (position + read) % len(data)
            for event in assembler.feed(piece):
                assert isinstance(event, Batch)
                rejections = tuple(Rejection(name.decode(), "", "reserved") for name in event.rejected)
                window.put(StreamItem(event, 0.0, rejections))
        return window.size, tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("name", COMMANDS)
def test_one_command_over_and_over(name: str, read: int) -> None:
    """Alone, and with the database changed before each."""
    for shape in ([name], ["SELECT 0", name, "SELECT 1", name]):
        counted, taken = fill(shape, read)
        assert taken <= counted + MIB // 4, shape


@given(st.lists(st.sampled_from(sorted(COMMANDS)), min_size=1, max_size=8), st.sampled_from(READS))
@settings(max_examples=5, deadline=None)
def test_any_shape(shape: list[str], read: int) -> None:
    """Whatever comes in whatever order."""
    counted, taken = fill(shape, read)
    assert taken <= counted + MIB // 4
