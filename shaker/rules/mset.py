"""Runs of SET in the stream → MSET: to the target it costs half of them, and one reply in place of each."""

from __future__ import annotations

from typing import Final

from shaker.codec.resp.requests import whole
from shaker.model.batch import Batch, held_bytes

SET: Final = b"*3\r\n$3\r\nSET\r\n"  # what one without options begins with
LEAST: Final = 8  # fewer are not worth it


def mset_begin(keys: int) -> bytes:
    """Return the beginning of an MSET of so many keys, up to its name."""
    return b"*%d\r\n$4\r\nMSET" % (2 * keys + 1)


def mset(suffixes: bytes, commands: int) -> tuple[bytes, bytes]:
    """Return one MSET, in two pieces, that does what SET commands do, of which `suffixes` lack their beginning.

    The order of the keys stays: of two values for one key the later one is left (server file src/t_string.c).
    """
    return mset_begin(commands) + b"\r\n", suffixes


def without_prefixes(batch: Batch) -> Batch:
    """Return a batch with whole commands, for a target that does not take an MSET in their place."""
    parts = tuple(part._replace(data=whole(part.data, part.prefix), prefix=b"") for part in batch.parts)
    return batch._replace(parts=parts, size=held_bytes(parts, len(batch.rejected)))
