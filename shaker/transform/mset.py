"""Runs of SET in the stream → MSET: to the target it costs half of them, and one reply in place of each."""

from __future__ import annotations

from typing import Final

SET: Final = b"*3\r\n$3\r\nSET\r\n"  # without options
LEAST: Final = 8  # fewer are not worth it


def mset(data: bytes, commands: int, head: bytes) -> tuple[bytes, bytes] | None:
    """Return one MSET that does what a run of commands does, in two pieces; None for few or no SETs.

    `data` are the whole commands, `head` is what each of them begins with: number of arguments and name. The order
    of the keys stays: of two values for one key the later one is left (server file src/t_string.c).
    """
    if commands < LEAST or head.upper() != SET:
        return None
    pairs = data.replace(head, b"")
    if len(data) - len(pairs) != commands * len(head):
        return None  # a key or a value holds the like
    return b"*%d\r\n$4\r\nMSET\r\n" % (2 * commands + 1), pairs
