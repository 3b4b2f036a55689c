"""Text that comes from keys and servers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaker.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("größe 鍵 🔑", "größe 鍵 🔑"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp", "\\u202egnp"),
        ("\ud800", "\\ud800"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    """Other characters as their escapes."""
    assert printable(text) == shown


@given(st.text())
def test_one_line_without_control_characters(text: str) -> None:
    """Whatever comes; twice changes nothing."""
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not any(ord(each) < 32 or 127 <= ord(each) < 160 for each in shown)
    assert isinstance(shown.encode("utf-8"), bytes)
    assert printable(shown) == shown
