"""Lua scripts of the stream: sources that replicate scripts as they are send EVAL once, and EVALSHA from then on.

A target keeps scripts in memory alone: restarted, or failed over, it has lost them.
"""

from __future__ import annotations

import hashlib
from typing import Final

from shaker.codec.resp.requests import command_end, split

MAX_SCRIPTS_BYTES: Final = 16 * 1024 * 1024


def bodies(data: bytes) -> list[bytes]:
    """Return the scripts that a run of whole commands gives to a server, in order."""
    found: list[bytes] = []
    position = 0
    while position < len(data):
        end = command_end(data, position)
        arguments = split(data[position:end])
        name = arguments[0].upper()
        if name == b"EVAL" and len(arguments) > 2:
            found.append(arguments[1])
        elif name == b"SCRIPT" and len(arguments) > 2 and arguments[1].upper() == b"LOAD":
            found.append(arguments[2])
        position = end
    return found


class Scripts:
    """The newest scripts that the source has sent, `limit` bytes of them at most."""

    def __init__(self, limit: int = MAX_SCRIPTS_BYTES) -> None:
        self._limit = limit
        self._bytes = 0
        self._bodies: dict[bytes, bytes] = {}

    def add(self, body: bytes) -> None:
        """Keep a script, and drop the oldest beyond the limit."""
        digest = hashlib.sha1(body, usedforsecurity=False).digest()
        if digest in self._bodies or len(body) > self._limit:
            return
        self._bodies[digest] = body
        self._bytes += len(body)
        while self._bytes > self._limit:
            oldest = next(iter(self._bodies))
            self._bytes -= len(self._bodies.pop(oldest))

    def all(self) -> list[bytes]:
        """Return the scripts, oldest first."""
        return list(self._bodies.values())
