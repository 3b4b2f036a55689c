"""Errors of the target: those that waiting helps against, and those of a command that it rejects in itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from shaker.codec.resp.requests import command_end, longest_argument, nth_command, split
from shaker.errors import AccessError, LinkError, ServerBusyError, UnfaithfulError, quoted
from shaker.model.batch import CommandRun
from shaker.model.items import SnapshotChunk, SnapshotItem, SnapshotKeys, SnapshotLibraries, SnapshotScripts
from shaker.model.rejection import Rejection
from shaker.rules.command_table import CommandTable
from shaker.rules.record_keys import is_record
from shaker.rules.restore import restore_requests
from shaker.rules.target_form import EVERYTHING, TargetForm

# Error codes of the server's state, not of the command: waiting helps.
PASSING: Final = frozenset(
    ("OOM", "READONLY", "MISCONF", "NOREPLICAS", "LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN",
     "NOPERM", "NOAUTH")
)  # fmt: skip
# Bytes of one argument that servers take by default (proto-max-bulk-len).
DEFAULT_MAX_BULK: Final = 512 * 1024 * 1024
HINTS: Final = {
    "OOM": "free memory on the target or raise its maxmemory. Deletions of the source are applied meanwhile, as long "
    "as nothing that needs memory comes before them"
}
MAX_DIGITS: Final = 10  # of a database
MAX_KEY: Final = 128  # characters of a key shown in a log line
RESERVED: Final = "it would write to records of shaker itself"


def describe(arguments: list[bytes], error: str, table: CommandTable) -> Rejection:
    """Return a rejected command without its values: its name, its first key, the error's code."""
    return rejection_of((arguments[0], table.first_key(arguments)), error)


def rejection_of(label: tuple[bytes, bytes | None], error: str) -> Rejection:
    """Return a rejected command by its name and first key."""
    name, key = label
    return Rejection(
        name.decode("ascii", "backslashreplace").upper()[:64],
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
    """Whether an error is about the server's state, so that the same command can succeed later."""
    return _code(text) in PASSING or "max number of clients" in text


def is_out_of_memory(text: str) -> bool:
    """Whether an error means that the server is out of memory."""
    return _code(text) == "OOM"


def passing_error(text: str) -> LinkError:
    """Return the error to raise for one that `is_passing`."""
    code = _code(text)
    if code in ("NOPERM", "NOAUTH"):
        return AccessError(
            f"the target forbids what the worker needs: {text}",
            hint="give the user of target.url the ACL rule for it (docs/access.md lists them)",
        )
    return ServerBusyError(
        f"the target cannot take writes now: {text}", hint=HINTS.get(code, ""), kind=code.lower()
    )


def script_error(text: str) -> LinkError:
    """Return the error to raise where a target without memory forbids the script."""
    return LinkError(
        f"the target is out of memory, and forbids the script that deletes keys there nevertheless: {text}",
        hint="free memory on the target, raise its maxmemory, or give the user of target.url the right to EVAL",
        kind="oom",
    )


def refused_request(item: SnapshotItem, position: int, text: str, form: TargetForm = EVERYTHING) -> UnfaithfulError:
    """Return the error for a snapshot request that the target refuses in itself, naming its key.

    `position` is that of the reply, the one of a SELECT before the requests included.
    """
    index = position - (1 if item.database else 0)
    if isinstance(item, SnapshotScripts) and 0 <= index < len(item.bodies):
        return UnfaithfulError(
            f"the target refuses a Lua script of the source: {rejection_of((b'SCRIPT', None), text).error}",
            hint="run SCRIPT FLUSH on the source if nothing uses its scripts",
            kind="refused_script",
        )
    if isinstance(item, SnapshotLibraries) and index == 0:
        return UnfaithfulError(
            f"the target refuses the function libraries of the source: {text[:256]}",
            hint="is the target older than the source, or is the name of a function taken there?",
            kind="function",
        )
    key, kind = b"", ""
    if isinstance(item, SnapshotChunk) and (index == 0 or form.builds(item.entry)):
        key, kind = item.entry.key, "a value too large to hold"
    elif isinstance(item, SnapshotKeys):
        # Made again: the expiries in them do not matter here.
        made = restore_requests(item.entries, form=form)
        if 0 <= index < made.requests:
            arguments = nth_command(made.data, index)
            kind = "a value built by commands"
            while arguments[0] != b"RENAME" and form.building in arguments[1:3]:
                index += 1
                arguments = nth_command(made.data, index)
            # Of the keys of an MSET the first one: what it holds are strings, which no target refuses one by one.
            key = arguments[2 if arguments[0] == b"RENAME" else 1]
            if arguments[0] == b"RESTORE":
                kind = f"RDB type {arguments[3][0]}"
            elif arguments[0] in (b"MSET", b"SET"):
                kind = "a string"
    if not kind:
        return UnfaithfulError(f"the target refuses the worker's own request: {text}", kind="records")
    return UnfaithfulError(
        f"the target refuses key {quoted(key, MAX_KEY)} of database {item.database} ({kind}): {text[:120]}",
        hint="is the target older than the source, or without a module that the key needs?",
        kind="refused_key",
    )


def check_lengths(item: SnapshotItem, requests: bytes, limit: int) -> None:
    """Raise UnfaithfulError where the `requests` of an item have an argument of more than `limit` bytes."""
    position = 1 if item.database else 0
    if isinstance(item, SnapshotChunk):
        longest = max(len(item.entry.key), item.entry.size)
        if longest > limit:
            raise refused_request(item, position, beyond(longest, limit))
    elif len(requests) > limit:
        start = 0
        while start < len(requests):
            end = command_end(requests, start)
            longest = longest_argument(requests[start:end])
            if longest > limit:
                raise refused_request(item, position, beyond(longest, limit))
            start, position = end, position + 1


def runs_without(
    part: CommandRun, first: int, left_out: list[int]
) -> tuple[list[tuple[CommandRun, int]], list[list[bytes]]]:
    """Return the rest of a run of whole commands, each run with its first number; and the commands left out.

    `first` is the number of the first command, `left_out` are the numbers of those that go, in order.
    """
    data = part.data
    kept: list[tuple[CommandRun, int]] = []
    gone: list[list[bytes]] = []
    number, start = first, 0
    for each in (*left_out, first + part.commands):
        begin, behind = number, start
        while number < each:
            behind = command_end(data, behind)
            number += 1
        if number > begin:
            kept.append((part._replace(data=data[start:behind], commands=number - begin), begin))
        if behind < len(data):
            start = command_end(data, behind)
            number += 1
            gone.append(split(data[behind:start]))
    return kept, gone


def too_long(part: CommandRun, first: int, limit: int) -> Iterator[tuple[int, str]]:
    """Return the numbers of commands with an argument of more than `limit` bytes, each with its error.

    `part` is a run of whole commands, `first` the number of the first one.
    """
    start = 0
    for number in range(first, first + part.commands):
        end = command_end(part.data, start)
        if end - start > limit and (longest := longest_argument(part.data[start:end])) > limit:
            yield number, beyond(longest, limit)
        start = end


def beyond(size: int, limit: int) -> str:
    """Return the error for an argument that the target does not take."""
    return f"an argument of {size} bytes is beyond proto-max-bulk-len of the target, {limit}"


def changed_keys(database: int, arguments: list[bytes], table: CommandTable) -> dict[int, set[bytes]]:
    """Return the keys that a command in a database may change, by database; none where they are not known.

    Of a request of the worker's own about a list of keys, those are its keys.
    """
    if len(arguments) > 2 and is_record(arguments[1]):
        members = {key for key in arguments[2:] if not is_record(key)}
        return {database: members} if members else {}
    indexes = table.key_indexes(arguments)
    if not indexes:
        return {}
    keys = {database: {arguments[index] for index in indexes}}
    other = _other_database(arguments)
    if other is not None:
        keys.setdefault(other, set()).update(keys[database])
    return keys


def _other_database(arguments: list[bytes]) -> int | None:
    name, found = arguments[0].upper(), b""
    if name == b"MOVE" and len(arguments) > 2:
        found = arguments[2]
    elif name == b"COPY":
        found = next((number for option, number in pairwise(arguments[3:]) if option.upper() == b"DB"), b"")
    return int(found) if found.isdigit() and len(found) < MAX_DIGITS else None
