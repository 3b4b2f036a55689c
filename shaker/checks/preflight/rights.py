"""Requests that the worker sends on each side, and the checks of its rights to them (see docs/access.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from shaker.apply.records import checkpoint_key, fence_key, stale_key, writer_name
from shaker.checks.preflight.facts import Facts, Right
from shaker.checks.preflight.finding import Verdict, failed, ok, skipped, warning
from shaker.model.server_info import ServerInfo
from shaker.settings.schema import Settings

KEY: Final = "shaker:preflight"  # no request here is executed: rights are asked for, or tried in an aborted MULTI
NEVER: Final = (9999, 0)
# Requests of both sides for values that are compared in pieces.
COMPARING: Final[tuple[tuple[str | int, ...], ...]] = (
    *((name, KEY) for name in ("TYPE", "STRLEN", "LLEN", "SCARD", "ZCARD", "HLEN")),
    *((name, KEY, 0, -1) for name in ("GETRANGE", "LRANGE", "ZRANGE")),
    ("XINFO", "STREAM", KEY),
    ("XRANGE", KEY, "-", "+"),
    ("XPENDING", KEY, "g"),
    ("SCAN", 0),
)


PARENTS: Final = ("acl", "client", "config", "function", "memory")  # rules name these with their subcommand


class Need(NamedTuple):
    """A request that the worker sends, what for, and the releases of Redis that know it."""

    request: tuple[str | int, ...]
    purpose: str
    essential: bool = False
    since: tuple[int, int] = (0, 0)
    before: tuple[int, int] = NEVER

    @property
    def command(self) -> str:
        """The command as an ACL rule names it, such as client|list."""
        name = str(self.request[0]).lower()
        return f"{name}|{self.request[1]}".lower() if name in PARENTS else name


EXPIRIES: Final = "restoring deferred expiries"
UNCONFIRMED: Final = "comparing unconfirmed keys after a crash"
VERIFYING: Final = "comparing function libraries"
SWEEP: Final = "removing stale keys after a full resync"
STREAM: Final = "applying the stream"
CUTOVER: Final = "fencing writes in a cutover"


def source_needs(settings: Settings, info: ServerInfo) -> list[Need]:
    """Return the requests that the worker sends to the source."""
    needs = [
        Need(("INFO",), "", True),
        Need((settings.source.psync_command, "?", -1), "", True),
        Need(("REPLCONF", "listening-port", 0), "", True),
        *(Need((name,), EXPIRIES) for name in ("MULTI", "EXEC", "TIME")),
        Need(("SELECT", 0), EXPIRIES),
        Need(("PEXPIRETIME", KEY), EXPIRIES, since=(7, 0)),
        Need(("PTTL", KEY), EXPIRIES, before=(7, 0)),
        Need(("DUMP", KEY), EXPIRIES),
        Need(("MEMORY", "USAGE", KEY), EXPIRIES),
        *_comparing(),
        *(Need((name, KEY, 0), UNCONFIRMED) for name in ("SSCAN", "HSCAN")),
        Need(("EXISTS", KEY), UNCONFIRMED),
        Need(("CLIENT", "LIST"), "finding circles of workers before the first write"),
        Need(("CONFIG", "GET", "maxmemory"), "reading limits"),
    ]
    if settings.control.token_file is not None:
        needs += [
            Need(("CLIENT", "PAUSE", 1, "WRITE"), CUTOVER, since=(6, 2)),
            Need(("CLIENT", "UNPAUSE"), CUTOVER, since=(6, 2)),
            Need(("CONFIG", "SET", "min-replicas-to-write", 0), CUTOVER, since=(6, 2)),
        ]
    return _known(needs, info)


def target_needs(settings: Settings, info: ServerInfo) -> list[Need]:
    """Return the requests that the worker sends to the target, besides any command of the stream."""
    own, name = checkpoint_key(settings.name), settings.name
    essential: list[tuple[str | int, ...]] = [
        ("INFO",),
        ("COMMAND",),
        ("SELECT", 0),
        ("MULTI",),
        ("EXEC",),
        ("WATCH", fence_key(name)),
        ("EXISTS", own),
        ("HGETALL", own),
        ("CLIENT", "ID"),
        ("CLIENT", "SETNAME", writer_name(name, "preflight")),
        ("CLIENT", "LIST"),
        ("CLIENT", "KILL", "ID", 0),
        *write_requests(settings, flushes="flush" in (settings.target.on_existing, settings.target.stale_keys)),
        ("SET", KEY, "v"),
        ("MSET", KEY, "v"),
        ("DEL", KEY),
    ]
    needs = [Need(request, "", True) for request in essential]
    if settings.target.stale_keys == "sweep":
        needs += [Need((each, stale_key(name), *rest), SWEEP) for each, *rest in (("SCARD",), ("SSCAN", 0))]
    needs += [
        Need(("PFCOUNT", KEY), STREAM),
        Need(("PUBLISH", KEY, "v"), STREAM),
        Need(("SPUBLISH", KEY, "v"), STREAM, since=(7, 0)),
        Need(("FUNCTION", "FLUSH"), STREAM, since=(7, 0)),
        Need(("EVAL", "return 1", 0), "applying deletions while the target is out of memory"),
        Need(("SRANDMEMBER", KEY), EXPIRIES),
        Need(("DUMP", KEY), UNCONFIRMED),
        Need(("PEXPIRETIME", KEY), UNCONFIRMED, since=(7, 0)),
        Need(("PTTL", KEY), UNCONFIRMED),
        Need(("DBSIZE",), UNCONFIRMED),
        Need(("SISMEMBER", KEY, "v"), UNCONFIRMED),
        Need(("SMISMEMBER", KEY, "v"), UNCONFIRMED),
        Need(("HMGET", KEY, "f"), UNCONFIRMED),
        Need(("TIME",), UNCONFIRMED),
        Need(("MEMORY", "USAGE", KEY), UNCONFIRMED),
        *_comparing(),
        Need(("CONFIG", "GET", "maxmemory"), "reading limits"),
    ]
    return _known(needs, info)


def write_requests(settings: Settings, *, flushes: bool) -> list[tuple[str | int, ...]]:
    """Return a request of each kind that the worker itself writes; HSET, the first of all, comes first."""
    key = stale_key(settings.name)
    requests: list[tuple[str | int, ...]] = [("HSET", key, "f", "v"), ("RESTORE", key, 0, "v", "REPLACE")]
    if settings.target.stale_keys == "sweep":
        requests += [("SADD", key, "v"), ("SREM", key, "v"), ("UNLINK", key)]
    return [*requests, ("FLUSHALL",)] if flushes else requests


def _comparing() -> list[Need]:
    fields = Need(("HPEXPIRETIME", KEY, "FIELDS", 1, "f"), UNCONFIRMED, since=(7, 4))
    libraries = Need(("FUNCTION", "LIST"), VERIFYING, since=(7, 0))
    return [*(Need(request, UNCONFIRMED) for request in COMPARING), fields, libraries]


def _known(needs: list[Need], info: ServerInfo) -> list[Need]:
    release = info.release if info.release > (0, 0) else NEVER
    return [need for need in needs if need.since <= release < need.before or release == NEVER]


def source_rights(facts: Facts) -> Verdict:
    """Judge the rights of the worker's user on the source."""
    return _rights(facts, "source", source_needs(facts.settings, facts.source.info or ServerInfo()))


def target_rights(facts: Facts) -> Verdict:
    """Judge the rights of the worker's user on the target."""
    return _rights(facts, "target", target_needs(facts.settings, facts.target.info or ServerInfo()))


def _rights(facts: Facts, side: Literal["source", "target"], needs: Sequence[Need]) -> Verdict:
    server, settings = facts.server(side), facts.settings
    if not server.rights:
        return skipped(f"the rights of the {side}'s user are not known: {server.rights_refused}")
    user = (settings.source if side == "source" else settings.target).acl_user
    lacking = [need for need in needs if server.rights.get(need.command) in (Right.FORBIDDEN, Right.MISSING)]
    # The replication command has a check of its own, which distinguishes a renamed command from a missing one.
    lacking = [
        need
        for need in lacking
        if side == "target"
        or need.request[0] != settings.source.psync_command
        or server.rights[need.command] == Right.FORBIDDEN
    ]
    forbidden = dict.fromkeys(need.command for need in lacking if server.rights[need.command] == Right.FORBIDDEN)
    # ACL rules name a command as it was before rename-command.
    renamed = {settings.source.psync_command.lower(): "psync"} if side == "source" else {}
    rules = " ".join(f"+{renamed.get(command, command)}" for command in forbidden)
    missing = sorted({need.command for need in lacking if server.rights[need.command] == Right.MISSING})
    remedy = f"on the {side}: ACL SETUSER {user} {rules} (docs/access.md lists all rules)" if rules else ""
    if missing:
        taken = f"{', '.join(missing)} does not exist there: undo its rename-command on the {side}"
        remedy = f"{remedy}; {taken}" if remedy else taken
    essential = sorted({need.command for need in lacking if need.essential})
    if essential:
        return failed(f"the worker may not run {', '.join(essential)}, and cannot replicate without", remedy)
    if lacking:
        texts = [
            f"{', '.join(dict.fromkeys(need.command for need in lacking if need.purpose == purpose))} ({purpose})"
            for purpose in dict.fromkeys(need.purpose for need in lacking)
        ]
        return warning(f"the worker may not run {'; '.join(texts)}", remedy)
    unknown = sorted({need.command for need in needs if server.rights.get(need.command) == Right.UNKNOWN})
    if unknown:
        return skipped(
            f"not known whether the worker may run {', '.join(unknown)}: {server.rights_refused}",
            f"to let preflight ask: ACL SETUSER {user} +acl|whoami +acl|dryrun on the {side}",
        )
    return ok(f"the user {user} may run all {len({need.command for need in needs})} commands that the worker sends")
