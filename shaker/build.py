"""Which build of shaker this is."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec

# The module of the work per command: it is compiled together with the rest of its room, or not at all.
_COMPILED_MODULE = "shaker.codec.resp.command_stream"


def codec_kind() -> str:
    """Return `compiled` when the codec runs as machine code made by mypyc, else `plain`."""
    spec = find_spec(_COMPILED_MODULE)
    compiled = spec is not None and (spec.origin or "").endswith(tuple(EXTENSION_SUFFIXES))
    return "compiled" if compiled else "plain"
