"""Replies as they came: where they end, what their strings take, and whether a server refused something."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaker.codec.resp.raw_replies import Scanned, items_of_transaction, measure, scanned
from tests.codec.resp.test_reply_values import LEAVES, VALUES, encoded, read


def string_bytes(value: Any) -> int:
    """Return the bytes of all strings in a value."""
    if isinstance(value, list):
        return sum(map(string_bytes, value))
    return len(value) if isinstance(value, bytes) else 0


@given(st.lists(VALUES, max_size=4), st.lists(VALUES, max_size=3), st.binary(max_size=3))
def test_replies_end_where_the_next_begins(before: list[Any], values: list[Any], after: bytes) -> None:
    """Whatever stands before and behind them."""
    head, data = (b"".join(map(encoded, some)) for some in (before, values))
    found = measure(head + data + after, len(head), len(values))
    assert found == (len(head) + len(data), string_bytes(values), False)


@pytest.mark.parametrize("data", [b"-ERR no\r\n", b"*2\r\n+OK\r\n-MOVED 1\r\n", b"*1\r\n*1\r\n-\r\n"])
def test_errors_are_seen_wherever_they_are(data: bytes) -> None:
    assert measure(b":1\r\n" + data + b"+OK\r\n", 4, 2) == (4 + len(data) + 5, 0, True)
    assert not measure(b"$4\r\n-ERR\r\n+-\r\n*-1\r\n$-1\r\n", 0, 4).refused


@given(st.lists(LEAVES, min_size=1, max_size=5))
def test_items_of_a_transaction(values: list[Any]) -> None:
    """They are what follows the header of EXEC's reply."""
    items = b"".join(map(encoded, values))
    data = b"+OK\r\n" + b"+QUEUED\r\n" * len(values) + b"*%d\r\n" % len(values) + items
    begin = items_of_transaction(data, len(values))
    assert read([data[begin:]]) == values


@pytest.mark.parametrize(
    "data",
    [
        b"-ERR MULTI calls can not be nested\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n:2\r\n",
        b"+OK\r\n+QUEUED\r\n-ERR unknown command\r\n-EXECABORT\r\n",
        b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*-1\r\n",
        b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*1\r\n:1\r\n",
        b"",
    ],
)
def test_transactions_that_did_not_take_place(data: bytes) -> None:
    assert items_of_transaction(data, 2) == -1


@given(st.binary(min_size=1, max_size=20), st.lists(st.binary(max_size=200), max_size=5), st.binary(max_size=3))
def test_replies_to_scan(cursor: bytes, keys: list[bytes], before: bytes) -> None:
    """The keys are the bytes of their own request."""
    reply = encoded([cursor, keys])
    assert scanned(before + reply, len(before)) == Scanned(cursor, len(keys), b"".join(map(encoded, keys)))


@pytest.mark.parametrize(
    "reply",
    [
        None,
        b"0",
        [b"0"],
        [b"0", None],
        [b"0", b"keys"],
        [None, [b"k"]],
        [5, [b"k"]],
        [b"0", [b"k", None]],
        [b"0", [b"k", 1]],
        [b"0", [b"k", [b"l"]]],
        [b"", [b"k"]],
        [b"0", [b"k"], b"more"],
    ],
)
def test_other_replies_are_none_to_scan(reply: Any) -> None:
    """They are left to the reader of values, which names what is wrong."""
    assert scanned(encoded(reply), 0) is None
