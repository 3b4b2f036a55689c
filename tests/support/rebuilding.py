"""The commands that make the value of a DUMP payload again under a temporary key."""

from __future__ import annotations

from collections.abc import Iterator

from shaker.codec.resp.replies import encode
from shaker.codec.values.commands import make, survey
from shaker.codec.values.decoder import MAX_STRING
from shaker.codec.values.target import DEFAULT_LIMITS, Limits, Target


def rebuild(
    payload: bytes,
    temporary: bytes,
    target: Target,
    *,
    version: int = 0,
    functions: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    max_string: int = MAX_STRING,
) -> Iterator[bytes]:
    """Yield the requests, one command each. Raises UnsupportedError before the first of them."""
    found = survey([payload], target, version=version, functions=functions, max_string=max_string)
    if not functions:
        yield encode("UNLINK", temporary)
    yield from make(
        [payload],
        temporary,
        found,
        target,
        version=version,
        functions=functions,
        limits=limits,
        max_string=max_string,
    )
