"""Masks the secrets that this process knows."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote

MASK = "***"

# A shorter secret is masked only as a whole word: masked everywhere, it would make lines unreadable.
_SHORT = 4
_MAX_DEPTH = 8

_secrets: dict[str, re.Pattern[str]] = {}


def hide(secret: str) -> None:
    """Mask `secret` in every later event, in plain and percent-encoded form."""
    for form in {secret, quote(secret, safe="", errors="surrogateescape")} if secret else ():
        pattern = re.escape(form)
        _secrets[form] = re.compile(pattern if len(form) >= _SHORT else rf"(?<!\w){pattern}(?!\w)")


def masked(event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return `event` with the hidden secrets in its strings masked."""
    return {name: _masked(value, 0) for name, value in event.items()} if _secrets else event


def _masked(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple, set, frozenset)) and depth < _MAX_DEPTH:
        return [_masked(each, depth + 1) for each in value]
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        return {str(name): _masked(each, depth + 1) for name, each in value.items()}
    # The renderer would turn other values into text after this guard, so they become text here.
    if isinstance(value, (bytes, bytearray, memoryview)):
        text = bytes(value).decode("utf-8", "backslashreplace")
    else:
        text = str(value)
    # Longest first: one secret may be a prefix of another.
    for secret in sorted(_secrets, key=len, reverse=True):
        text = _secrets[secret].sub(MASK, text)
    return text
