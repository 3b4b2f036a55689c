"""Differences between source and target, key by key."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """The kinds of differences, by their public names."""

    MISSING = "missing"  # the source has the key, the target does not
    EXTRA = "extra"  # only the target has the key
    TYPE = "type"
    VALUE = "value"  # includes the expiries of hash fields
    EXPIRY = "expiry"


class Difference(NamedTuple):
    """One key that differs. `detail` describes how, without any value."""

    database: int
    key: bytes
    kind: Kind
    detail: str
