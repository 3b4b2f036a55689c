"""The commands that a target has, by its version."""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """Commands that a target has."""

    field_expiry: bool  # HPEXPIREAT
    stream_counters: bool  # XSETID ... ENTRIESADDED, XGROUP CREATE ... ENTRIESREAD
    create_consumer: bool  # XGROUP CREATECONSUMER
    functions: bool  # FUNCTION LOAD
    path_hashes: bool = False  # PHSET
    drops_field_expiry: bool = False  # fields are set without their expiry where the target has none


def target_of(version: tuple[int, int], *, valkey: bool = False) -> Target:
    """Return the abilities of a server by its own version, major and minor: Redis from 5.0, Valkey from 7.2 on."""
    return Target(
        field_expiry=version >= ((9, 0) if valkey else (7, 4)),
        stream_counters=version >= (7, 0),
        create_consumer=version >= (6, 2),
        functions=version >= (7, 0),
        path_hashes=valkey and version >= (9, 2),
    )


class Limits(NamedTuple):
    """Limits of one command; an element larger than `bytes` goes alone."""

    bytes: int = 64 * 1024
    elements: int = 128  # each may touch a new page of memory when the server's table has doubled: 10 us


DEFAULT_LIMITS = Limits()
