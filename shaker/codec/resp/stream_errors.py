"""Errors of the replication stream, with the offset and what an operator can do."""

from __future__ import annotations

import re
from typing import Final

from shaker.errors import CorruptError, UnfaithfulError, quoted

ERROR_LINE: Final = re.compile(rb"-[A-Z]{2,20} [ -~]{0,100}")


def corrupt_stream(buffer: bytes, position: int, offset: int) -> CorruptError:
    """Return the error for bytes that are no request, at `position`, which is the replication offset `offset`."""
    # Only a line in the form of an error: where a length was damaged, a value may begin here.
    line = ERROR_LINE.match(buffer, position)
    if line is not None:
        return CorruptError(
            f"the source sent an error inside the stream, at offset {offset}: {quoted(line[0])}",
            hint="look into its log: a proxy in between may have written this instead of the source",
        )
    return CorruptError(
        f"the stream of the source breaks the protocol at offset {offset}: "
        f"byte {buffer[position] if position < len(buffer) else -1}",
        hint="is something other than a Redis or Valkey between the worker and the source?",
    )


def too_large(begun: bytes, offset: int, least: int) -> UnfaithfulError:
    """Return the error for a command at `offset` that begins with `begun` and needs `least` bytes."""
    behind = begun.find(b"\n", begun.find(b"\n") + 1) + 1  # the count's line and the name's length
    name = begun[behind : behind + 32].split(b"\r")[0] if behind else b""
    return UnfaithfulError(
        f"a {name.decode('ascii', 'replace') or '?'} command at offset {offset} needs {least} bytes",
        hint="raise snapshot.max_value (SHAKER_SNAPSHOT__MAX_VALUE) and the memory that the worker gets",
        kind="too_large",
    )
