"""What fragments of a huge command tell of its arguments, however the bytes are cut."""

from __future__ import annotations

import pytest

from shaker.codec.resp.argument_skipper import MAX_MARKED, ArgumentSkipper
from shaker.codec.resp.command_events import Fragment, Special
from shaker.codec.resp.command_stream import StreamReader
from shaker.codec.resp.replies import encode
from shaker.codec.resp.requests import longest_argument
from tests.support.splits import every_cut

MARKER = b"shaker:"
WORDS = [
    *(b"MSET", b"key", b"v" * 300, b"other", b"shaker", b"shaker:a", b"", b"shaker:", b"x" * 1000, b"no shaker:"),
    *(b"shaker:" + b"y" * MAX_MARKED, b"shaker:b" + b"z" * (MAX_MARKED - 8), b"s", b"shaker:last"),
]
MARKED = [(index, word) for index, word in enumerate(WORDS) if word.startswith(MARKER) and len(word) <= MAX_MARKED]


def test_arguments_that_are_marked() -> None:
    """Those that are short enough and begin with the marker, each with its index, and the longest length."""
    request = encode(*WORDS)
    header = request.index(b"\r\n") + 2
    for pieces in every_cut(request[header:], 50):
        skipper = ArgumentSkipper(len(WORDS), len(WORDS), MARKER)
        marked, longest = [], 0
        for piece in pieces:
            assert skipper.skip(piece) == len(piece)
            marked += skipper.marked
            longest = max(longest, skipper.longest)
        assert skipper.finished
        assert (marked, longest) == (MARKED, 1000)


def test_fragments_that_name_what_is_marked() -> None:
    """A marked argument is found in whatever fragment it ends; in the first bytes the command is held whole."""
    data = encode(*WORDS)
    for pieces in every_cut(data + encode("PING"), 50):
        stream = StreamReader(
            0, special=frozenset((b"PING",)), marker=MARKER, max_command=1 << 20, fragment_above=100
        )
        found = [part for piece in pieces for part in stream.feed(piece)]
        assert b"".join(part.data for part in found) == data + encode("PING")
        fragments = [part for part in found if isinstance(part, Fragment)]
        if not fragments:
            assert [part.name for part in found if isinstance(part, Special)] == [b"MSET", b"PING"]
            continue
        assert (fragments[0].arguments[:2], fragments[0].total) == ([b"MSET", b"key"], len(WORDS))
        assert [marked for fragment in fragments for marked in fragment.marked] == MARKED
        assert max(fragment.longest for fragment in fragments) == 1000


@pytest.mark.parametrize("behind", range(0, 60, 7))
def test_the_longest_argument(behind: int) -> None:
    """Of requests in a row, the last of which may be cut anywhere; its length counts once its header is there."""
    whole = encode("SET", "key", "v" * 30) + encode("DEL", "a", "b")
    cut = encode("SET", "k", "v" * 50)

    assert longest_argument(b"") == 0
    assert longest_argument(whole) == 30
    assert longest_argument(whole + cut[:behind]) == (50 if behind >= cut.index(b"$50") + 5 else 30)
