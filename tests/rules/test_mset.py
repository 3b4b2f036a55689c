"""Runs of SET become one MSET that does the same."""

from __future__ import annotations

from collections.abc import Callable

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaker.codec.resp.replies import encode
from shaker.rules.mset import SET, mset
from tests.rules.conftest import exchange
from tests.support.compare import differences
from tests.support.servers import NAMES, Server

Pairs = list[tuple[bytes, bytes]]
some = st.one_of(st.binary(max_size=20), st.sampled_from([b"k", b"\r\n", SET]))


def commands(pairs: Pairs) -> bytes:
    """SET for each."""
    return b"".join(encode("SET", *pair) for pair in pairs)


def joined(pairs: Pairs) -> bytes:
    """The MSET for all."""
    return b"".join(mset(b"".join(encode("SET", *pair).removeprefix(SET) for pair in pairs), len(pairs)))


@given(st.lists(st.tuples(some, some), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_all_pairs_in_their_order(pairs: Pairs) -> None:
    """Whatever they hold."""
    reader = hiredis.Reader(notEnoughData=Ellipsis)
    reader.feed(joined(pairs))
    assert reader.gets() == [b"MSET", *(one for pair in pairs for one in pair)]
    assert reader.gets() is Ellipsis


@pytest.mark.parametrize("name", NAMES)
def test_servers_do_the_same(name: str, server: Callable[..., Server]) -> None:
    """Over keys of any type, with an expiry, several times the same: value, type and expiry."""
    sides = (server(name), server(name))
    before = [
        encode("SET", "expires", 1, "PX", 900_000), encode("RPUSH", "list", 1), encode("HSET", "hash", "f", "v"),
    ]  # fmt: skip
    pairs: Pairs = [(b"expires", b"a"), (b"list", b"b"), (b"hash", b""), (b"", b"7"), (b"twice", b"1")]
    pairs += [(b"long", b"x" * 100_000), (b"twice", b"2"), (b"\r\n", b"\0"), (b"expires", b"z")]
    for side, data, requests in zip(sides, (commands(pairs), joined(pairs)), (len(pairs), 1), strict=True):
        replies = exchange(side, b"".join(before) + data, len(before) + requests)
        assert replies[len(before) :] == [b"OK"] * requests
    assert differences(*sides) == []
    assert sides[1].client().get("twice") == b"2"
    assert sides[1].client().ttl("expires") == -1
