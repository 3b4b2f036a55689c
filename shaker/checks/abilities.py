"""The target has the commands and rights that the worker needs; checked before the source is asked for anything.

A command can be missing (rename-command, a managed service), or the user has no right to it. Rights are tried in a
transaction that cannot run: it begins with a malformed command, so that the server refuses its EXEC (redis.io/docs:
errors inside a transaction).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from shaker.apply.rejections import is_passing, passing_error
from shaker.checks.preflight.rights import write_requests
from shaker.errors import LinkError, RefusedError
from shaker.net.client import Request
from shaker.net.connection import Connection, ReplyError
from shaker.net.reply_types import array
from shaker.settings.schema import Settings

# Replication needs these. Any other missing command counts as rejected where the source uses it.
NEEDED: Final = ("EXEC", "HGETALL", "HSET", "MULTI", "RESTORE", "SELECT", "WATCH")
VOID: Final = ("HSET",)  # without its arguments


async def check_abilities(connection: Connection, settings: Settings, *, flushes: bool) -> None:
    """Refuse a target without a command that the worker needs; with `flushes`, FLUSHALL is one of them.

    Raises RefusedError for a missing command and for a missing right to FLUSHALL, AccessError for any other right.
    """
    names = [*NEEDED, "FLUSHALL"] if flushes else [*NEEDED]
    rows = array(await connection.call("COMMAND", "INFO", *names), len(names))
    missing = [name for name, row in zip(names, rows, strict=True) if not row]
    if missing:
        raise RefusedError(
            f"the target {settings.target.address.text} has no {', '.join(missing)}",
            hint=f"was it renamed or taken away (rename-command)? give it back{_without(missing)}",
        )
    await _try_rights(connection, write_requests(settings, flushes=flushes))


def _without(missing: list[str]) -> str:
    if "FLUSHALL" not in missing:
        return ""
    return ", or choose target.on_existing=merge and target.stale_keys=sweep, which do not need FLUSHALL"


async def _try_rights(connection: Connection, requests: list[tuple[str | int, ...]]) -> None:
    replies = await trial(connection, requests)
    for request, reply in zip(requests, replies, strict=False):
        # A target without memory is noticed at the next write, which it may accept.
        if isinstance(reply, ReplyError) and is_passing(str(reply)) and not str(reply).startswith("OOM"):
            if request[0] == "FLUSHALL" and str(reply).startswith("NOPERM"):
                raise RefusedError(
                    f"the target forbids FLUSHALL: {reply}",
                    hint=f"give the user of target.url the right to it{_without(['FLUSHALL'])}",
                )
            raise passing_error(str(reply))
    if not (isinstance(replies[-1], ReplyError) and str(replies[-1]).startswith("EXECABORT")):
        raise (
            replies[-1]
            if isinstance(replies[-1], ReplyError)
            else LinkError("the target executes a transaction that has a fault", kind="protocol")
        )


async def trial(connection: Connection, requests: Sequence[Request]) -> list[Any]:
    """Queue requests in a transaction that cannot be executed; return the reply to each, and last that to EXEC.

    Raises ReplyError where MULTI is refused, LinkError for a server that accepts the faulty command.
    """
    await connection.call("MULTI")
    (void,) = await connection.pipeline([VOID])
    if not isinstance(void, ReplyError):
        raise LinkError(f"the server accepts {VOID[0]} without arguments", kind="protocol")
    return await connection.pipeline([*requests, ("EXEC",)])
