"""Transactions in the stream: MULTI and EXEC that frame whole runs are left out, all others are found."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaker.codec.resp.command_events import Fragment, Plain
from shaker.codec.resp.command_stream import StreamReader
from shaker.codec.resp.replies import encode
from tests.support.command_stream import (
    MARKER,
    NOTED,
    SPECIAL,
    START,
    all_bits,
    feed,
    noted_commands,
    parse,
    some_special,
)
from tests.support.resp_strategies import commands, joined
from tests.support.splits import cut, every_cut

FRAME = (b"MULTI", b"EXEC")
INCR = [b"INCR", b"k"]
SET4 = [b"SET", b"k", b"v", b"XX"]


def framed(*requests: list[bytes]) -> list[list[bytes]]:
    """A transaction."""
    return [[b"MULTI"], *requests, [b"EXEC"]]


def frame_reader() -> StreamReader:
    """A reader that leaves out what frames transactions."""
    special = SPECIAL | set(FRAME)
    return StreamReader(START, special=special, marker=MARKER, max_command=1_000_000, noted=NOTED, frame=FRAME)


def check_frames(requests: list[list[bytes]], pieces: list[bytes]) -> None:
    """All commands come in order, and a run ends inside a transaction only where that was begun by itself."""
    ends = {}  # offsets behind commands: whether they are inside a transaction
    offset, inside = START, False
    for request in requests:
        offset += len(encode(*request))
        inside = request[0].upper() == b"MULTI" or (inside and request[0].upper() != b"EXEC")
        ends[offset] = inside
    begun, seen = False, []
    for piece in feed(stream := frame_reader(), pieces):
        assert not isinstance(piece, Fragment)
        if isinstance(piece, Plain):
            found = parse(piece.data)
            assert piece.commands == len(found) > 0
            assert piece.noted == all_bits(found)
            seen += found
        elif piece.name in FRAME and len(piece.arguments) == 1:
            assert begun == (piece.name == b"EXEC")
            begun = not begun
        else:
            seen.append(piece.arguments)
        assert ends[piece.end_offset] == begun
    assert seen == [request for request in requests if not (request[0].upper() in FRAME and len(request) == 1)]
    assert stream.offset == offset
    assert not begun


FRAMED: dict[str, tuple[list[list[bytes]], list[int]]] = {
    # The commands of each run when all comes at once, and -1 for each command by itself.
    "one": (framed(INCR, INCR), [2]),
    "several": ([INCR, *framed(INCR), *framed(SET4, INCR), INCR], [5]),
    "nothing in it": ([INCR, *framed(), INCR], [1, -1, -1, 1]),
    "a special command in it": ([INCR, *framed(INCR, [b"PING"], INCR)], [1, -1, 1, -1, 1, -1]),
    "one with a special command behind another": (
        [*framed(INCR), INCR, *framed([b"SELECT", b"1"], INCR)], [2, -1, -1, 1, -1],
    ),
    "the marker in it": (framed(INCR, [b"DEL", b"shaker:x"]), [-1, 1, -1, -1]),
    "in lower case": ([[b"multi"], INCR, [b"exec"], INCR], [2]),
    "with arguments": ([[b"MULTI", b"x"], INCR, [b"EXEC", b"y"]], [-1, 1, -1]),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMED)
def test_frames_of_transactions(name: str) -> None:
    """What comes at once is one run; where it is cut, MULTI and EXEC come by themselves."""
    requests, expected = FRAMED[name]
    found = frame_reader().feed(joined(requests))
    assert [piece.commands if isinstance(piece, Plain) else -1 for piece in found] == expected
    if name != "with arguments":
        for pieces in every_cut(joined(requests)):
            check_frames(requests, pieces)


def test_a_transaction_that_goes_on() -> None:
    """One that has begun comes out at once; an EXEC, too, whose MULTI came before."""
    stream = frame_reader()
    found = stream.feed(joined([INCR, [b"MULTI"], INCR]))
    assert [piece.data for piece in found] == [encode(*INCR), encode(b"MULTI"), encode(*INCR)]
    found = stream.feed(joined([INCR, [b"EXEC"], *framed(INCR)]))
    assert [piece.data for piece in found] == [encode(*INCR), encode(b"EXEC"), encode(*INCR)]
    assert [piece.end_offset for piece in found][-1] == stream.offset


@given(
    st.lists(
        st.one_of(
            commands.map(lambda command: [command]),
            some_special.map(lambda command: [command]),
            st.lists(st.one_of(commands, commands, commands, noted_commands, some_special), max_size=4).map(
                lambda some: framed(*some)
            ),
        ),
        max_size=8,
    ),
    st.lists(st.integers(0, 3000), max_size=8),
)
@settings(max_examples=200, deadline=None)
def test_transactions_wherever_they_are_cut(groups: list[list[list[bytes]]], cuts: list[int]) -> None:
    """Whatever is in them and around them."""
    requests = [request for group in groups for request in group]
    check_frames(requests, cut(joined(requests), cuts))
