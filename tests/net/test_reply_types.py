"""A reply of another type than expected is a protocol error that shows no value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shaker.errors import LinkError
from shaker.net.reply_types import array, blob, blobs, milliseconds, number, numbers, record


def test_replies_of_the_right_type_pass() -> None:
    """Numbers also as digits, records as text."""
    assert blob(b"text") == b"text"
    assert (number(5), number(b"5"), number(-1)) == (5, 5, -1)
    assert array([b"a", None]) == [b"a", None]
    assert array([1, 2], 2) == [1, 2]
    assert (blobs([b"a", b"b"]), numbers([1, b"2"]), numbers([])) == ([b"a", b"b"], [1, 2], [])
    assert milliseconds([b"5", b"999999"]) == 5999
    assert record([b"field", b"v\xff", b"other", b""]) == {"field": "v\ufffd", "other": ""}


@pytest.mark.parametrize(
    ("read", "reply"),
    [
        (blob, None),
        (blob, 5),
        (number, b"hunter2"),
        (number, b"9" * 20),
        (number, None),
        (number, b"-1"),
        (array, b"hunter2"),
        (array, None),
        (lambda reply: array(reply, 2), [1]),
        (blobs, [b"a", None]),
        (blobs, b"hunter2"),
        (numbers, [1, None]),
        (milliseconds, [b"1"]),
        (record, [b"field"]),
        (record, [b"field", 5]),
        (record, b"hunter2"),
    ],
)
def test_any_other_reply_is_refused_without_its_value(read: Callable[[Any], object], reply: Any) -> None:
    """The peer may be no Redis, and the reply may hold a key's value."""
    with pytest.raises(LinkError) as caught:
        read(reply)
    assert caught.value.kind == "protocol"
    assert "hunter2" not in str(caught.value)
