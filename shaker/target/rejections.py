"""What an error of the target means: wait, or a command that it rejects in itself."""

from __future__ import annotations

from typing import Final

from shaker.codec.stream import nth_command
from shaker.errors import AccessError, LinkError, ServerBusyError, UnfaithfulError
from shaker.target.items import Rejection, SnapshotKeys
from shaker.transform.commands import CommandTable

# Error codes that tell of the server's state, not of the command: waiting helps.
PASSING: Final = frozenset(
    ("OOM", "READONLY", "MISCONF", "NOREPLICAS", "LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN",
     "NOPERM", "NOAUTH")
)  # fmt: skip
MAX_KEY: Final = 128  # characters of a key shown in a log line


def describe(arguments: list[bytes], error: str, table: CommandTable) -> Rejection:
    """Return what may be told of a rejected command: its name, its first key, the error's code."""
    key = table.first_key(arguments)
    return Rejection(
        arguments[0].decode("ascii", "backslashreplace").upper()[:64],
        "" if key is None else key[:MAX_KEY].decode("utf-8", "backslashreplace"),
        # The text of an error can quote arguments (unknown command); its first words cannot.
        error.split("'")[0].split("`")[0].strip()[:120],
    )


def _code(text: str) -> str:
    """Return the error's code; EXECABORT carries the one that mattered in its text."""
    if text.startswith("EXECABORT"):
        _, _, because = text.partition("because of: ")
        text = because or text
    return text.split(" ", 1)[0]


def is_passing(text: str) -> bool:
    """Whether an error tells of the server's state, so that the same command can succeed later."""
    return _code(text) in PASSING or "max number of clients" in text


def passing_error(text: str) -> LinkError:
    """Return the error to raise for one that `is_passing`."""
    code = _code(text)
    if code in ("NOPERM", "NOAUTH"):
        return AccessError(
            f"the target forbids what the worker needs: {text}",
            hint="give the user of target.url the ACL rule for it (docs/access.md lists them)",
        )
    return ServerBusyError(f"the target cannot take writes now: {text}", kind=code.lower())


def refused_request(item: SnapshotKeys, position: int, text: str) -> UnfaithfulError:
    """Return the error for a snapshot request that the target refuses in itself, naming its key."""
    index = position - (1 if item.database else 0)
    if not 0 <= index < item.requests:
        return UnfaithfulError(f"the target refuses the worker's own request: {text}", kind="records")
    arguments = nth_command(item.data, index)
    key = arguments[1][:MAX_KEY].decode("utf-8", "backslashreplace")
    return UnfaithfulError(
        f"the target refuses key {key!r} of database {item.database} (RDB type {arguments[3][0]}): {text[:120]}",
        hint="is the target older than the source, or without a module that the key needs?",
        kind="refused_key",
    )
