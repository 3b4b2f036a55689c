"""Secrets that are known to this process, and text without them."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote

MASK = "***"

# A shorter secret is replaced only as a whole word: replaced everywhere, it would make each line unreadable.
_SHORT = 4
_MAX_DEPTH = 8

_secrets: dict[str, re.Pattern[str]] = {}


def hide(secret: str) -> None:
    """Replace `secret` by `***` in every event from now on, as it is and percent-encoded."""
    for form in {secret, quote(secret, safe="", errors="surrogateescape")} if secret else ():
        pattern = re.escape(form)
        _secrets[form] = re.compile(pattern if len(form) >= _SHORT else rf"(?<!\w){pattern}(?!\w)")


def masked(event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return `event` without any hidden secret in its strings."""
    return {name: _masked(value, 0) for name, value in event.items()} if _secrets else event


def _masked(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple, set, frozenset)) and depth < _MAX_DEPTH:
        return [_masked(each, depth + 1) for each in value]
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        return {str(name): _masked(each, depth + 1) for name, each in value.items()}
    # The renderer would make text of anything else after this guard: so it is made text here.
    if isinstance(value, (bytes, bytearray, memoryview)):
        text = bytes(value).decode("utf-8", "backslashreplace")
    else:
        text = str(value)
    # Longest first: one secret may be the beginning of another.
    for secret in sorted(_secrets, key=len, reverse=True):
        text = _secrets[secret].sub(MASK, text)
    return text
