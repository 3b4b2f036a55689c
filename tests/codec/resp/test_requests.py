"""Whole requests in a row: where each ends, and its arguments."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaker.codec.resp.replies import encode
from shaker.codec.resp.requests import command_end, nth_command, split, whole
from tests.support.resp_strategies import commands, joined


@given(st.lists(commands, min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_split_and_nth_command(requests: list[list[bytes]]) -> None:
    """Arguments of a whole command, and of one of a run, are read back."""
    data = joined(requests)
    for index, request in enumerate(requests):
        assert split(encode(*request)) == request
        assert nth_command(data, index) == request


@pytest.mark.parametrize("size", [0, 1, 9, 10, 99, 100, 999, 1000, 12345])
@pytest.mark.parametrize("behind", [b"", b"\r\n"])
def test_command_end_at_every_length_of_a_length(size: int, behind: bytes) -> None:
    """One digit to five, with line ends in the argument, too."""
    command = encode("SET", b"\r" * size, b"\n" * size)
    assert command_end(b"before" + command + behind, len(b"before")) == len(b"before" + command)


@given(
    st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=30)), min_size=1),
    st.sampled_from([b"SET", b"set"]),
)
@settings(max_examples=100, deadline=None)
def test_whole(pairs: list[tuple[bytes, bytes]], name: bytes) -> None:
    """Commands get back what they lack."""
    data = joined([[name, *pair] for pair in pairs])
    prefix = b"*3\r\n$3\r\n%s\r\n" % name
    suffixes = b"".join(encode(name, *pair).removeprefix(prefix) for pair in pairs)
    assert whole(suffixes, prefix) == data
