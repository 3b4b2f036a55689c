"""Text that comes from keys and servers, made fit for a terminal and for one line."""

from __future__ import annotations

import re

# Control characters of ASCII and of Latin-1, line separators, and those that change the direction of text.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return `text` in one line that changes nothing on a terminal: other characters as their escapes."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
