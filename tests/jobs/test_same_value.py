"""Two servers hold the same value if their replies mean the same, whatever the order and the spelling."""

from __future__ import annotations

from typing import Any

import pytest

from shaker.jobs.same_value import ComparedKey
from shaker.net.connection import ReplyError


def test_a_key_is_compared_by_dump_then_by_reading_or_by_length() -> None:
    """Once its type is known, by a read that all versions share."""
    assert ComparedKey(b"k").requests == [("DUMP", b"k")]
    assert ComparedKey(b"k", b"zset").requests == [("ZRANGE", b"k", "0", "-1", "WITHSCORES")]
    assert ComparedKey(b"k", b"list", large=True).requests == [("TYPE", b"k"), ("LLEN", b"k")]
    # Fields of a hash expire on each server in its own time.
    assert ComparedKey(b"k", b"hash", large=True).requests == [("TYPE", b"k")]


@pytest.mark.parametrize(
    ("key", "mine", "theirs", "same"),
    [
        (ComparedKey(b"k"), b"value" + b"1234567890", b"value" + b"0987654321", True),
        (ComparedKey(b"k"), b"value" + b"1234567890", b"other" + b"1234567890", False),
        (ComparedKey(b"k"), None, None, True),
        (ComparedKey(b"k"), b"value1234567890", None, False),
        (ComparedKey(b"k", b"set"), [b"a", b"b"], [b"b", b"a"], True),
        (ComparedKey(b"k", b"list"), [b"a", b"b"], [b"b", b"a"], False),
        (ComparedKey(b"k", b"hash"), [b"f", b"1", b"g", b"2"], [b"g", b"2", b"f", b"1"], True),
        (ComparedKey(b"k", b"hash"), [b"f", b"1"], [b"f", b"2"], False),
        (ComparedKey(b"k", b"zset"), [b"m", b"0.10000000000000001"], [b"m", b"0.1"], True),
        (ComparedKey(b"k", b"zset"), [b"m", b"1", b"n", b"1"], [b"n", b"1", b"m", b"1"], False),
        (ComparedKey(b"k", b"string"), b"v", b"v", True),
        (ComparedKey(b"k", b"string"), b"v", ReplyError("WRONGTYPE"), False),
        (ComparedKey(b"k"), ReplyError("ERR"), ReplyError("ERR"), False),
    ],
)
def test_the_meaning_of_replies_counts(key: ComparedKey, mine: Any, theirs: Any, same: bool) -> None:
    """An error on either side is never the same."""
    assert key.same([mine], [theirs]) is same


def test_large_values_are_the_same_by_type_and_length() -> None:
    """Their content is not read."""
    key = ComparedKey(b"k", b"list", large=True)

    assert key.same([b"list", 5], [b"list", 5])
    assert not key.same([b"list", 5], [b"list", 6])
    assert not key.same([b"list", 5], [b"none", 5])
