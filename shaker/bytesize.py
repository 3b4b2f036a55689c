"""Sizes in bytes as people write them, in the units of redis.conf."""

from __future__ import annotations

import re

# The units of redis.conf (server file src/util.c, memtoull): "m" counts by 1000, "mb" by 1024; "MiB" means "mb".
UNITS = {
    "": 1,
    "b": 1,
    "k": 1000,
    "kb": 1024,
    "kib": 1024,
    "m": 1000**2,
    "mb": 1024**2,
    "mib": 1024**2,
    "g": 1000**3,
    "gb": 1024**3,
    "gib": 1024**3,
}
_SIZE = re.compile(r"([0-9]{1,15})\s*([a-z]{0,3})", re.ASCII)


def parse_size(text: str) -> int:
    """Return the bytes that `text` means, such as `67108864`, `64mb` or `64MiB`.

    Units are those of redis.conf, in any case: `mb` is 1024 × 1024 bytes, `m` is 1000 × 1000. Raises ValueError
    with a text that does not repeat the input.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    unit = UNITS.get(match[2]) if match else None
    if match is None or unit is None:
        raise ValueError("is not a size in bytes such as 67108864, 64mb or 64MiB")
    return int(match[1]) * unit


def exact_size(size: int) -> str:
    """Return `size` bytes as a person writes them in settings, such as `64 MiB`; `parse_size` gives the same number."""
    for unit, bytes_ in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size and size % bytes_ == 0:
            return f"{size // bytes_} {unit}"
    return f"{size} bytes"


def format_size(size: float) -> str:
    """Return `size` bytes for people, such as `64.0 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
