"""The commands that make the value of a DUMP payload again under a temporary key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shaker.codec.resp.replies import encode
from shaker.codec.values.commands import make, survey
from shaker.codec.values.target import DEFAULT_LIMITS, Limits, Target


def rebuild(
    payload: bytes, temporary: bytes, target: Target, limits: Limits = DEFAULT_LIMITS, **decoding: Any
) -> Iterator[bytes]:
    """Yield the requests, one command each. Raises UnsupportedError before the first of them.

    `decoding` are the options of `survey` and `make`: how the payload is read.
    """
    found = survey([payload], target, **decoding)
    if not decoding.get("functions"):
        yield encode("UNLINK", temporary)
    yield from make([payload], temporary, found, target, limits=limits, **decoding)
