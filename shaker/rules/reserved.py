"""Commands of the stream that name a record of a worker: never forwarded, never dropped in silence.

A source that is the target of another worker carries that worker's records in
its stream; forwarded they would overwrite the records of this one.
"""

from __future__ import annotations

from enum import Enum

from shaker.codec.resp.replies import encode
from shaker.rules.command_table import CommandTable, is_record


class Verdict(Enum):
    """What becomes of a command that mentions the prefix of records."""

    FORWARD = "forward"  # the mention is no key of a record
    DROP = "drop"  # it touches nothing but records
    REWRITE = "rewrite"  # it deletes records among other keys: goes on without them
    REJECT = "reject"  # it would mix records with data


def judge(arguments: list[bytes], table: CommandTable) -> tuple[Verdict, bytes]:
    """Return the verdict on a command and, for REWRITE, the request that replaces it."""
    indexes = table.key_indexes(arguments)
    if indexes is None:
        reserved = any(is_record(argument) for argument in arguments[1:])
        return (Verdict.REJECT if reserved else Verdict.FORWARD), b""
    reserved_keys = [index for index in indexes if is_record(arguments[index])]
    if not reserved_keys:
        return Verdict.FORWARD, b""
    if len(reserved_keys) == len(indexes):
        return Verdict.DROP, b""
    if arguments[0].upper() in (b"DEL", b"UNLINK"):
        kept = [argument for index, argument in enumerate(arguments) if index not in set(reserved_keys)]
        return Verdict.REWRITE, encode(*kept)
    return Verdict.REJECT, b""
