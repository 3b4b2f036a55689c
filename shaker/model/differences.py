"""Differences between source and target, key by key."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class Kind(StrEnum):
    """The kinds of differences, by their public names."""

    MISSING = "missing"  # the source has the key, the target does not
    EXTRA = "extra"  # only the target has the key
    TYPE = "type"
    VALUE = "value"  # includes the expiries of hash fields
    EXPIRY = "expiry"
    FUNCTION = "function"  # a function library, which belongs to no database


NO_DATABASE: Final = -1


class Difference(NamedTuple):
    """One key that differs, or one function library, of NO_DATABASE. `detail` describes how, without any value."""

    database: int
    key: bytes
    kind: Kind
    detail: str
