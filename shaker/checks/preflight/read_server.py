"""Reads the facts of one server; nothing here writes, and each refusal leaves a fact unknown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import anyio

from shaker.apply.records import checkpoint_key
from shaker.checks.abilities import trial
from shaker.checks.circles import writers
from shaker.checks.preflight.facts import LinkSpeed, Right, ServerFacts
from shaker.checks.preflight.rights import KEY, Need, source_needs, target_needs
from shaker.errors import LinkError
from shaker.model.refusals import refusal
from shaker.model.server_info import ServerInfo, parse_info
from shaker.net.client import Client, log_in, open_client
from shaker.net.connection import ReplyError
from shaker.net.reply_types import array, blob, scan_page
from shaker.net.sentinel import resolve
from shaker.net.server_clock import ServerClock
from shaker.rules.record_keys import RESERVED
from shaker.settings.endpoints import Endpoint, Source
from shaker.settings.schema import Settings

PARAMETERS: Final = (
    *("appendfsync", "client-output-buffer-limit", "client-query-buffer-limit", "databases", "import-mode"),
    *("min-replicas-to-write", "proto-max-bulk-len", "repl-backlog-size", "repl-diskless-sync"),
    *("repl-ping-replica-period", "save", "stop-writes-on-bgsave-error", "timeout"),
)
# Limits for all facts of one server, and for one scan through its keys.
READ_SECONDS: Final = 30.0
SCAN_SECONDS: Final = 2.0
SCAN_KEYS: Final = 1000
ROUND_TRIPS: Final = 10
# The link test: pipelined ECHO of so many bytes, twice as many each time until a batch is slow or large.
ECHO_BYTES: Final = 64 * 1024
ECHO_SECONDS: Final = 0.2
MOST_ECHOES: Final = 128
CHECKPOINTS: Final = checkpoint_key("")


async def read_server(
    settings: Settings, side: Literal["source", "target"], *, link_test: bool = True
) -> ServerFacts:
    """Return what a server reveals. Never raises LinkError: it is in the facts."""
    endpoint: Endpoint = settings.source if side == "source" else settings.target
    facts = ServerFacts(endpoint.address.text)
    try:
        with anyio.fail_after(READ_SECONDS):
            facts = replace(facts, address=(await resolve(endpoint)).text)
            async with open_client(endpoint) as client:
                facts = await _read_info(client, side, facts)
                needs = (source_needs if side == "source" else target_needs)(settings, facts.info or ServerInfo())
                facts = await _read_rights(client, endpoint, needs, facts)
                facts = await _read_config(client, facts)
                facts = await _read_others(client, facts)
                if side == "source":
                    facts = replace(facts, psync=await _psync(client, settings.source, facts))
                facts = await _measure(client, facts, link_test=link_test)
    except LinkError as error:
        return facts if facts.info is not None else replace(facts, error=error)
    except TimeoutError:
        if facts.info is None:
            return replace(
                facts, error=LinkError(f"the {side} did not answer in {READ_SECONDS:g} s", kind="timeout")
            )
    return facts


async def _read_info(client: Client, side: str, facts: ServerFacts) -> ServerFacts:
    (reply,) = await client.pipeline([("INFO",)])
    if isinstance(reply, ReplyError):
        return replace(facts, error=refusal(side, str(reply), "asking INFO"))
    return replace(facts, info=parse_info(blob(reply)))


async def _read_rights(
    client: Client, endpoint: Endpoint, needs: Sequence[Need], facts: ServerFacts
) -> ServerFacts:
    """Ask ACL DRYRUN (Redis 7.0); where there is none, try the requests in a transaction that is never executed."""
    (who,) = await client.pipeline([("ACL", "WHOAMI")])
    user = who if isinstance(who, bytes) else endpoint.acl_user
    # One question first: a user who may not ask leaves an entry in the server's ACL LOG each time.
    (first,) = await client.pipeline([("ACL", "DRYRUN", user, *needs[0].request)])
    if not isinstance(first, ReplyError) or "not found" in str(first):
        replies = await client.pipeline([("ACL", "DRYRUN", user, *need.request) for need in needs])
        return replace(
            facts, rights={need.command: _dry(reply) for need, reply in zip(needs, replies, strict=True)}
        )
    try:
        # For requests that are refused by their form, and so change nothing.
        async with log_in(endpoint, timeout=endpoint.connect_timeout_seconds) as connection:
            tried = [need for need in needs if need.command not in ("multi", "exec", "watch")]
            # A transaction cannot hold it; by itself it changes nothing but this connection.
            watch = [_tried(reply) for reply in await connection.pipeline([("WATCH", KEY)])]
            queued = await trial(connection, [need.request for need in tried])
    except (ReplyError, LinkError) as error:
        rights = {"multi": Right.FORBIDDEN} if str(error).startswith("NOPERM") else {}
        rest = {need.command: Right.UNKNOWN for need in needs}
        return replace(
            facts, rights=rest | rights, rights_refused=f"ACL DRYRUN: {first}; a trial in MULTI: {error}"
        )
    rights = {need.command: _tried(reply) for need, reply in zip(tried, queued, strict=False)}
    ended = str(queued[-1])
    rights |= {
        "watch": watch[0],
        "multi": Right.ALLOWED,
        "exec": Right.FORBIDDEN if "NOPERM" in ended else Right.ALLOWED,
    }
    return replace(facts, rights=rights, rights_refused=f"ACL DRYRUN: {first}; MULTI does not take it")


def _dry(reply: Any) -> Right:
    if isinstance(reply, ReplyError):
        return Right.MISSING if "not found" in str(reply) else Right.UNKNOWN
    return Right.ALLOWED if reply == b"OK" else Right.FORBIDDEN


def _tried(reply: Any) -> Right:
    text = str(reply)
    if not isinstance(reply, ReplyError):
        return Right.ALLOWED
    if text.startswith("NOPERM"):
        return Right.FORBIDDEN
    if "unknown command" in text or "Unknown subcommand" in text:
        return Right.MISSING
    return Right.ALLOWED if text.startswith("OOM") else Right.UNKNOWN


async def _read_config(client: Client, facts: ServerFacts) -> ServerFacts:
    config, refused = configuration(
        PARAMETERS, await client.pipeline([("CONFIG", "GET", name) for name in PARAMETERS])
    )
    return replace(facts, config=config, config_refused=refused)


def configuration(names: Sequence[str], replies: Sequence[Any]) -> tuple[dict[str, str], str]:
    """Return the values that CONFIG GET replies have for `names`, and the error of those that were refused."""
    config, refused = {}, ""
    for name, reply in zip(names, replies, strict=True):
        if isinstance(reply, ReplyError):
            refused = f"CONFIG GET: {str(reply).partition(', with args')[0]}"
        elif len(array(reply)) == 2:
            config[name] = blob(reply[1]).decode("utf-8", "replace")
    return config, refused


async def _read_others(client: Client, facts: ServerFacts) -> ServerFacts:
    """Read who else works on the server: Sentinels, workers that write now, and checkpoints of workers."""
    (clients,) = await client.pipeline([("CLIENT", "LIST")])
    if isinstance(clients, bytes):
        text = clients.decode("utf-8", "replace")
        names = {word for word in text.split() if word.startswith("name=sentinel-") and word.endswith("-cmd")}
        facts = replace(facts, sentinels=len(names), writers=frozenset(writers(text)))
    return replace(facts, checkpoints=await _checkpoints(client))


async def _checkpoints(client: Client) -> tuple[str, ...] | None:
    """Return the keys of checkpoints that a scan of SCAN_SECONDS finds; None where it may not, or finds no end."""
    found: set[str] = set()
    cursor, until = b"0", time.monotonic() + SCAN_SECONDS
    while time.monotonic() < until:
        (page,) = await client.pipeline([("SCAN", cursor, "MATCH", RESERVED + b"*", "COUNT", SCAN_KEYS)])
        if isinstance(page, ReplyError):
            return None
        cursor, keys = scan_page(page)
        found |= {key for key in (key.decode("utf-8", "replace") for key in keys) if key.startswith(CHECKPOINTS)}
        if cursor == b"0":
            return tuple(sorted(found))
    return tuple(sorted(found)) or None


async def _psync(client: Client, endpoint: Source, facts: ServerFacts) -> Right:
    """Return whether the source has the replication command: by its ACL, its table of commands, or its refusal."""
    name = endpoint.psync_command
    known = facts.rights.get(name.lower(), Right.UNKNOWN)
    if known is not Right.UNKNOWN:
        return Right.ALLOWED if known is Right.FORBIDDEN else known
    (reply,) = await client.pipeline([("COMMAND", "INFO", name)])
    if isinstance(reply, list) and len(reply) == 1:
        return Right.ALLOWED if reply[0] else Right.MISSING
    if name.upper() == "PSYNC":
        # It has two arguments; servers look at their number before they look at rights.
        # For requests that are refused by their form, and so change nothing.
        async with log_in(endpoint, timeout=endpoint.connect_timeout_seconds) as connection:
            (reply,) = await connection.pipeline([(name,)])
        if "wrong number of arguments" in str(reply):
            return Right.ALLOWED
        if "unknown command" in str(reply):
            return Right.MISSING
    return Right.UNKNOWN


async def _measure(client: Client, facts: ServerFacts, *, link_test: bool) -> ServerFacts:
    offset = await ServerClock(client, time.time).offset()
    trips = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        await client.pipeline([("PING",)])  # a refusal takes as long
        trips.append(time.perf_counter() - began)
    facts = replace(facts, clock_offset=offset, round_trip=min(trips))
    return replace(facts, link=await _link_speed(client)) if link_test else facts


async def _link_speed(client: Client) -> LinkSpeed | None:
    """Return the throughput of the fastest batch; None where ECHO is refused."""
    payload, count, sent, fastest = bytes(ECHO_BYTES), 4, 0, 0.0
    started = time.perf_counter()
    while True:
        began = time.perf_counter()
        replies = await client.pipeline([("ECHO", payload)] * count)
        seconds = time.perf_counter() - began
        if any(isinstance(reply, ReplyError) for reply in replies):
            return None
        sent += count * ECHO_BYTES
        fastest = max(fastest, count * ECHO_BYTES / max(seconds, 1e-6))
        if seconds > ECHO_SECONDS or count >= MOST_ECHOES:
            return LinkSpeed(fastest, sent, time.perf_counter() - started)
        count *= 2
