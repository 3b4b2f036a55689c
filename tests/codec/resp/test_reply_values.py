"""Replies as values: like hiredis where they are sound, bounded and refused where they are not."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaker.codec.resp import reply_values as replies
from shaker.codec.resp.reply_values import ReplyParser
from shaker.errors import CorruptError
from tests.support.servers import Server
from tests.support.splits import every_cut


class Refused(Exception):
    """What the tests have an error reply become."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Refused) and self.args == other.args

    __hash__ = Exception.__hash__


def read(pieces: list[bytes], most: int = 1) -> list[Any]:
    """Return all whole replies of `pieces`, read up to `most` at a time."""
    reader, found = ReplyParser(Refused), []
    for piece in pieces:
        reader.feed(piece)
        while (taken := reader.take(most))[1]:
            found += reader.values(taken[0], 0, taken[1])
    return found


def expected(data: bytes) -> list[Any]:
    """Return what hiredis makes of it."""
    nothing = object()
    reader = hiredis.Reader(replyError=Refused, notEnoughData=nothing)
    reader.feed(data)
    return list(iter(reader.gets, nothing))


def encoded(value: Any) -> bytes:
    """Return a reply as a server sends it."""
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(encoded, value))
    if isinstance(value, int):
        return b":%d\r\n" % value
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


LEAVES = st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=20)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4), max_leaves=20)


@given(st.lists(VALUES.filter(lambda value: depth(value) <= replies.MAX_DEPTH), max_size=4), st.integers(1, 5))
def test_values_come_back_wherever_they_are_cut(values: list[Any], most: int) -> None:
    data = b"".join(map(encoded, values))
    for pieces in every_cut(data, random_cuts=2):
        assert read(pieces, most) == values


def depth(value: Any) -> int:
    """Return how deep lists are nested."""
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def test_errors_and_statuses() -> None:
    data = b"+OK\r\n-ERR no\r\n*2\r\n-MOVED 1\r\n+QUEUED\r\n*-1\r\n"
    assert read([data]) == expected(data) == [b"OK", Refused("ERR no"), [Refused("MOVED 1"), b"QUEUED"], None]
    assert read([b"-ERR " + b"x" * 10_000 + b"\r\n"]) == [Refused("ERR " + "x" * 252)]


@pytest.mark.parametrize("name", ["redis-6.2", "redis-8.0", "valkey-9.1"])
def test_what_servers_answer(name: str, shared: Callable[[str], Server]) -> None:
    """COMMAND is the deepest and longest reply that is asked for."""
    client = shared(name).client(protocol=2)
    client.response_callbacks.clear()
    for command in (("COMMAND",), ("INFO",), ("CLIENT", "LIST"), ("CONFIG", "GET", "*")):
        reply = client.execute_command(*command)
        assert read([encoded(reply)]) == [reply]


@pytest.mark.parametrize(
    "data",
    [
        b"*1\r\n" * 10 + b":1\r\n",
        b"*600000\r\n" + b"*0\r\n" * 600_000,
        b"$-2\r\n",
        b"$99999999999999999999\r\n",
        b":\r\n",
        b":1x\r\n",
        b":" + b"1" * 5000 + b"\r\n",
        b"%1\r\n+a\r\n+b\r\n",
        b"\x00\x01\r\n",
        b"x" * 100_000,
    ],
)
def test_what_no_server_answers(data: bytes) -> None:
    with pytest.raises(CorruptError):
        read([data])


def test_lengths_alone_cost_no_memory() -> None:
    tracemalloc.start()
    try:
        for data in (b"*4294967295\r\n", b"$9999999999999\r\n", b"*2147483647\r\n*2147483647\r\n"):
            assert read([data]) == []
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_reply_without_an_end() -> None:
    piece = b"x" * 2**20
    with pytest.raises(CorruptError, match=f"more than {replies.MAX_REPLY} bytes"):
        read([b"$99999999\r\n", *[piece] * (replies.MAX_REPLY // len(piece) + 1)])
