"""Requests of bounded size: whole elements, in their order, none lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaker.codec.resp.replies import encode
from shaker.codec.resp.requests import commands
from shaker.codec.values.requests import Gatherer
from shaker.codec.values.target import Limits


def made(gatherer: Gatherer) -> list[list[bytes]]:
    """The arguments of each command that was made."""
    return [list(arguments) for each in gatherer.take() for arguments in commands(each)]


def test_a_request_is_an_array_of_bulk_strings() -> None:
    """As RESP has it, whatever bytes the arguments hold."""
    assert encode(b"SET", b"k", b"\r\n") == b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n"


@given(
    st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=30)), max_size=40),
    st.integers(1, 80),
    st.integers(1, 7),
)
def test_elements_stay_whole_and_in_order(pairs: list[tuple[bytes, bytes]], size: int, elements: int) -> None:
    """No command is above the limits, unless one element alone is."""
    gatherer = Gatherer((b"HSET", b"k"), 2, Limits(size, elements))
    for start in range(0, len(pairs), 3):
        gatherer.extend([part for pair in pairs[start : start + 3] for part in pair])
    gatherer.flush()
    found = made(gatherer)
    assert all(each[:2] == [b"HSET", b"k"] for each in found)
    assert [part for each in found for part in each[2:]] == [part for pair in pairs for part in pair]
    for each in found:
        assert len(each) % 2 == 0
        assert len(each) == 4 or (len(each) <= 2 + 2 * elements and sum(map(len, each[2:])) <= size)


@pytest.mark.parametrize("group", [1, 2, 3])
def test_commands_are_made_as_soon_as_they_are_full(group: int) -> None:
    """What is not full waits for more, and each command is given out once."""
    gatherer = Gatherer((b"C",), group, Limits(1000, 2))
    gatherer.extend([b"x"] * 3 * group)
    assert made(gatherer) == [[b"C"] + [b"x"] * 2 * group]
    assert made(gatherer) == []
    gatherer.flush()
    assert made(gatherer) == [[b"C"] + [b"x"] * group]
    gatherer.flush()
    assert made(gatherer) == []
