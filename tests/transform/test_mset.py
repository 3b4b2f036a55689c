"""Runs of SET become one MSET that does the same, or stay as they are."""

from __future__ import annotations

from collections.abc import Callable

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaker.codec.resp import encode
from shaker.transform.mset import LEAST, SET, mset
from tests.compare import differences
from tests.servers import NAMES, Server
from tests.transform.conftest import exchange

Pairs = list[tuple[bytes, bytes]]
some = st.one_of(st.binary(max_size=20), st.sampled_from([b"k", b"l", b"*3", b"\r\n", SET[:-1], SET[1:]]))
many = st.lists(st.tuples(some, some), min_size=LEAST, max_size=3 * LEAST)


def run(pairs: Pairs, name: str = "SET") -> bytes:
    """The commands."""
    return b"".join(encode(name, key, value) for key, value in pairs)


def parse(data: bytes) -> list[bytes]:
    """The arguments of the one request in `data`, read by hiredis."""
    reader = hiredis.Reader(notEnoughData=Ellipsis)
    reader.feed(data)
    found = reader.gets()
    assert isinstance(found, list)
    assert reader.gets() is Ellipsis
    return found


@given(many, st.sampled_from(["SET", "set", "Set"]))
@settings(max_examples=200, deadline=None)
def test_all_pairs_in_their_order(pairs: Pairs, name: str) -> None:
    """Whatever they hold, in whatever case the command was spelled."""
    joined = mset(run(pairs, name), len(pairs), b"*3\r\n$3\r\n%s\r\n" % name.encode())
    assert joined is not None
    assert parse(b"".join(joined)) == [b"MSET", *(one for pair in pairs for one in pair)]


@given(many, st.data())
@settings(max_examples=50, deadline=None)
def test_what_looks_like_a_command_in_a_value_stays(pairs: Pairs, data: st.DataObject) -> None:
    """Nothing is taken out of a key or a value: such a run is left alone."""
    at = data.draw(st.integers(0, len(pairs) - 1))
    key, value = pairs[at]
    for changed in ((key + SET, value), (key, b"v" + SET + value)):
        pairs[at] = changed
        assert mset(run(pairs), len(pairs), SET) is None


@pytest.mark.parametrize(
    "head",
    [b"", b"*4\r\n$3\r\nSET\r\n", b"*3\r\n$3\r\nGET\r\n", b"*3\r\n$5\r\nSETNX\r\n", b"*3\r\n$6\r\nAPPEND\r\n"],
)
def test_other_commands_stay(head: bytes) -> None:
    """Only SET without options is meant."""
    assert mset(run([(b"k", b"v")] * 100), 100, head) is None


def test_few_stay() -> None:
    """They are not worth it."""
    pairs = [(b"k", b"v")] * LEAST
    assert mset(run(pairs[1:]), LEAST - 1, SET) is None
    assert mset(run(pairs), LEAST, SET) is not None


@pytest.mark.parametrize("name", NAMES)
def test_servers_do_the_same(name: str, server: Callable[..., Server]) -> None:
    """Over keys of any type, with an expiry, several times the same: value, type and expiry."""
    sides = (server(name), server(name))
    before = [
        encode("SET", "expires", 1, "PX", 900_000), encode("RPUSH", "list", 1), encode("HSET", "hash", "f", "v"),
    ]  # fmt: skip
    pairs: Pairs = [(b"expires", b"a"), (b"list", b"b"), (b"hash", b""), (b"", b"7"), (b"twice", b"1")]
    pairs += [(b"long", b"x" * 100_000), (b"twice", b"2"), (b"\r\n", b"\0"), (b"expires", b"z")]
    joined = mset(run(pairs), len(pairs), SET)
    assert joined is not None
    for side, data, requests in zip(sides, (run(pairs), b"".join(joined)), (len(pairs), 1), strict=True):
        replies = exchange(side, b"".join(before) + data, len(before) + requests)
        assert replies[len(before) :] == [b"OK"] * requests
    assert differences(*sides) == []
    assert sides[1].client().get("twice") == b"2"
    assert sides[1].client().ttl("expires") == -1
