"""Registers a connection as the one writer; all checks come before the first write."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import structlog

from shaker.apply.expired import ExpiredKeys
from shaker.apply.fence import Identity, connections_to_kill, next_epoch
from shaker.apply.records import (
    Checkpoint,
    Fence,
    building_key,
    checkpoint_key,
    fence_key,
    rebuilding_key,
    writer_name,
)
from shaker.apply.rejections import DEFAULT_MAX_BULK, is_out_of_memory, is_passing, passing_error, script_error
from shaker.checks.abilities import check_abilities
from shaker.checks.circles import refuse_loop
from shaker.checks.cut_over import check_direction
from shaker.checks.fitness import (
    refuse_cluster_target,
    refuse_contents,
    refuse_eviction,
    refuse_old_target,
    refuse_replica_target,
)
from shaker.checks.preflight.at_start import refuse_at_start
from shaker.checks.same_dataset import refuse_same_dataset
from shaker.errors import LinkError
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import RecordsState
from shaker.model.cutover import Turn
from shaker.model.position import Phase
from shaker.model.refusals import refusal
from shaker.model.server_info import ServerInfo, SourceIdentity, parse_info
from shaker.net.connection import Connection, ReplyError
from shaker.net.credentials import credentials
from shaker.net.reply_types import array, blob, number, record
from shaker.rules.command_table import CommandTable
from shaker.rules.target_form import TargetForm, form_of
from shaker.settings.schema import Settings

log = structlog.get_logger("shaker.target")

# Registrations that may lose the race for the fence in a row; only other registrations contend for it.
ATTEMPTS = 20
# The default of client-query-buffer-limit, to which Valkey 9 counts queued commands, and how much of it a
# transaction may take: the rest is for the worker's own requests.
DEFAULT_QUERY_BUFFER = 1024 * 1024 * 1024
QUERY_BUFFER_SHARE = 0.8
# Writes the fence if it is still the one that was seen, by a first write that a target without memory takes.
TAKE = """for index, field in ipairs({'token', 'epoch', 'connection'}) do
  if (redis.call('HGET', KEYS[1], field) or '') ~= ARGV[index] then return 0 end
end
redis.call('PERSIST', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
return 1"""


@dataclass(frozen=True, slots=True)
class Registered:
    """A registration that won: the fence that it wrote, the checkpoint that it read, the number of writers killed."""

    fence: Fence
    checkpoint: Checkpoint | None
    run_id: str
    killed: int
    max_transaction: int  # bytes of one transaction on the target
    max_bulk: int = DEFAULT_MAX_BULK  # bytes of one argument
    lacks: int = 0  # fields that the checkpoint lacks
    wiped: bool = False  # the fence is gone, or older than the checkpoint: somebody else took or replaced it
    import_mode: bool = False  # the target keeps expired keys until the source deletes them


async def register(connection: Connection, settings: Settings, flow: Flow, identity: Identity) -> Registered:
    """Make `connection` the one that writes; `identity` gets the epoch that it registered with.

    Raises FencedError when a newer worker owns the target, RefusedError, before the first write, for a server that
    cannot be the target, LinkError where waiting or a new connection helps.
    """
    try:
        await connection.authenticate(*credentials(settings.target))
        info = parse_info(blob(await _ask(connection, "INFO")))
        flow.status.target.server = info.name
        source = flow.source.identity
        assert source is not None  # registrations wait for the source's introduction
        _check_server(settings, source, info)
        flow.target.expired = ExpiredKeys.of(info)
        table = CommandTable.from_reply(array(await _ask(connection, "COMMAND")))
        flow.target.table = table
        building = building_key(settings.name)
        flow.target.form = _form(settings, info, table, building)
        await _ask(connection, "CLIENT", "SETNAME", writer_name(settings.name, identity.token))
        own = number(await _ask(connection, "CLIENT", "ID"))
        checkpoint = await _read_checkpoint(connection, settings, flow, identity)
        ids = (info.run_id, info.replication.replid)
        flow.target.ids = frozenset(each for each in ids if each.strip("0"))
        refuse_loop(settings, flow, streams=checkpoint is not None and checkpoint.phase == Phase.STREAM)
        # At every connection: an address can lead to another server than before, and to keys of others.
        ours = flow.lifecycle.records is RecordsState.WIPED and info.run_id == flow.target.run_id
        await _check_contents(connection, settings, source, info, checkpoint, ours=ours)
        if info.run_id != flow.target.run_id:
            rule = settings.target.on_existing if checkpoint is None else settings.target.stale_keys
            await check_abilities(connection, settings, flushes=rule == "flush")
        if checkpoint is None and not identity.epoch:
            await refuse_at_start(connection, settings, source, info)
        for _ in range(ATTEMPTS):
            registered = await take_over(
                connection, settings.name, identity, own, info.run_id, tight=flow.window.scripted
            )
            if registered is not None:
                await _remove_unfinished(connection, info, building, rebuilding_key(settings.name))
                return replace(
                    registered,
                    max_transaction=int(
                        await _limit(connection, "client-query-buffer-limit", DEFAULT_QUERY_BUFFER)
                        * QUERY_BUFFER_SHARE
                    ),
                    max_bulk=await _limit(connection, "proto-max-bulk-len", DEFAULT_MAX_BULK),
                    import_mode=await _import_mode(connection),
                )
    except ReplyError as error:
        text = str(error)
        if flow.window.scripted and text.startswith("NOPERM"):
            flow.window.out_of_memory(scripts=False)
            raise script_error(text) from error
        if is_out_of_memory(text):
            flow.window.out_of_memory()
        if is_passing(text):
            raise passing_error(text) from error
        if text.startswith("DENIED"):
            raise refusal("target", text, "registering") from error
        raise LinkError(f"the target refuses the registration: {text}", kind="refused") from error
    raise LinkError(f"lost {ATTEMPTS} registrations against other workers of this name", kind="contended")


def _form(settings: Settings, info: ServerInfo, table: CommandTable, building: str) -> TargetForm:
    target = settings.target
    skip = target.on_unsupported == "skip"
    return form_of(info, table, restore_limit=target.restore_limit, building=building, skip=skip)


async def _ask(connection: Connection, *request: str) -> Any:
    """Return the reply to a request; a proxy may close the connection instead."""
    try:
        return await connection.call(*request)
    except LinkError as error:
        raise (connection.no_replication(request[0]) if error.kind == "lost" else error) from error


async def _read_checkpoint(
    connection: Connection, settings: Settings, flow: Flow, identity: Identity
) -> Checkpoint | None:
    """Return the checkpoint; raises OtherDirection where that of the source counts instead."""
    checkpoint = Checkpoint.parse(record(await connection.call("HGETALL", checkpoint_key(settings.name))))
    if checkpoint is not None:
        flow.source.upstream.turn = Turn.parse(checkpoint.turned).number
        if not identity.epoch:
            await check_direction(settings, checkpoint)
    return checkpoint


async def _remove_unfinished(connection: Connection, info: ServerInfo, *unfinished: str) -> None:
    """Remove values that an earlier connection of this replication has not finished, in all databases.

    This connection is the one that writes by now, and what another one began is sent again from its beginning.
    """
    requests: list[tuple[bytes | str | int, ...]] = []
    for database in sorted(info.keyspace):
        requests += [("SELECT", database), ("EXISTS", *unfinished)]
    replies = await connection.pipeline([*requests, ("SELECT", 0)])
    requests = []
    for database, exists in zip(sorted(info.keyspace), replies[1::2], strict=False):
        if isinstance(exists, int) and exists:
            requests += [("SELECT", database), ("UNLINK", *unfinished)]
    if requests:
        _raise_refused(await connection.pipeline([*requests, ("SELECT", 0)]))


async def take_over(
    connection: Connection, name: str, identity: Identity, own: int, run_id: str, *, tight: bool
) -> Registered | None:
    """Try once; None when another registration came between. `tight`: the target is out of memory."""
    if not tight:
        await connection.call("WATCH", fence_key(name))
    seen = Fence.parse(record(await connection.call("HGETALL", fence_key(name))))
    written = record(await connection.call("HGETALL", checkpoint_key(name))).get("epoch", "")
    clients = blob(await connection.call("CLIENT", "LIST")).decode("utf-8", "replace")
    fence = Fence(next_epoch(identity, seen, int(written) if written.isdigit() else 0), identity.token, own, run_id)
    kill = connections_to_kill(clients, name=name, own=own, fence=seen, run_id=run_id)
    take = _take_by_script if tight else _take
    results = await take(connection, name, seen, fence, kill)
    if results is None:
        return None
    identity.epoch = fence.epoch
    found = record(results[-1] if results else None)
    checkpoint = Checkpoint.parse(found)
    return Registered(
        fence,
        checkpoint,
        run_id,
        len(kill),
        0,
        lacks=len(set(Checkpoint._fields).difference(found)),
        wiped=checkpoint is not None and checkpoint.epoch > (seen.epoch if seen is not None else 0),
    )


async def _take(
    connection: Connection, name: str, seen: Fence | None, fence: Fence, kill: list[int]
) -> list[Any] | None:
    """In one transaction, write the fence, kill earlier writers and read the checkpoint, the last result.

    Return None for a lost race.
    """
    requests: list[tuple[bytes | str | int, ...]] = [("MULTI",), fence.arguments(name)]
    requests += [("CLIENT", "KILL", "ID", ident) for ident in kill]
    requests += [("HGETALL", checkpoint_key(name)), ("EXEC",)]
    replies = await connection.pipeline(requests)
    _raise_refused(replies)
    if replies[-1] is None:
        return None
    results = array(replies[-1])
    _raise_refused(results)
    return results


async def _take_by_script(
    connection: Connection, name: str, seen: Fence | None, fence: Fence, kill: list[int]
) -> list[Any] | None:
    """Do the same on a target that is out of memory: it takes HSET only in a script, and CLIENT in none.

    After the new fence is written, earlier writers may continue until they are disconnected; the checkpoint is read
    after that.
    """
    key, before = fence_key(name), (seen.token, seen.epoch, seen.connection) if seen is not None else ("", "", "")
    won = await connection.call("EVAL", TAKE, 1, key, *before, *fence.arguments(name)[2:])
    if not won:
        return None
    requests: list[tuple[bytes | str | int, ...]] = [("CLIENT", "KILL", "ID", ident) for ident in kill]
    replies = await connection.pipeline([*requests, ("HGETALL", checkpoint_key(name))])
    # An earlier writer that has disconnected by itself is an error that does no harm.
    _raise_refused([reply for reply in replies if not str(reply).startswith("ERR No such client")])
    return replies


def _raise_refused(replies: list[Any]) -> None:
    refused = next((reply for reply in replies if isinstance(reply, ReplyError)), None)
    if refused is not None:
        raise refused


async def _limit(connection: Connection, name: str, default: int) -> int:
    """Return a limit of the target in bytes; `default`, that of the servers, where the user may not ask."""
    try:
        reply = array(await connection.call("CONFIG", "GET", name))
        return number(reply[-1]) if reply else default
    except ReplyError:
        return default


async def _import_mode(connection: Connection) -> bool:
    """Join the import mode of a Valkey 8.1 or later that is in it (valkey.io/commands/client-import-source).

    Such a server expires nothing by itself, and this connection sees expired keys.
    """
    try:
        reply = array(await connection.call("CONFIG", "GET", "import-mode"))
        if not reply or blob(reply[-1]) != b"yes":
            return False
        await connection.call("CLIENT", "IMPORT-SOURCE", "ON")
    except ReplyError:
        return False  # the user may not ask, or the server has just left that mode
    return True


def _check_server(settings: Settings, source: SourceIdentity, info: ServerInfo) -> None:
    """Refuse a server that cannot be the target; at every connection, since the server may be another one."""
    address = settings.target.address.text
    refuse_cluster_target(address, info)
    refuse_old_target(address, info)
    refuse_same_dataset(source, info)
    refuse_replica_target(address, info)
    refuse_eviction(settings, info)


async def _check_contents(
    connection: Connection,
    settings: Settings,
    source: SourceIdentity,
    info: ServerInfo,
    checkpoint: Checkpoint | None,
    *,
    ours: bool,
) -> None:
    """Refuse to write over keys of others; `ours`: this worker's checkpoint was there before."""
    own = number(await connection.call("EXISTS", fence_key(settings.name))) if checkpoint is None else 0
    if not (ours and checkpoint is None):
        refuse_contents(settings, source, info, checkpoint, own_keys=own)
