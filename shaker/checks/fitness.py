"""Rules that every connection obeys: which server can be the source or the target, and which contents are ours."""

from __future__ import annotations

from typing import Final

from shaker.apply.records import Checkpoint
from shaker.errors import RefusedError, ServerBusyError, counted, quoted
from shaker.model.server_info import ServerInfo, SourceIdentity
from shaker.settings.endpoints import Endpoint
from shaker.settings.schema import Settings

# The first release with `SET … PXAT`, which writes a string and its expiry at once.
OLDEST_TARGET: Final = (6, 2)


def refuse_cluster_url(endpoint: Endpoint) -> None:
    """Raise RefusedError for a URL of a cluster."""
    if endpoint.address.scheme == "redis+cluster":
        raise RefusedError(
            f"{endpoint.side}.url names a cluster, and clusters are not replicated yet",
            hint="replicate between servers without cluster mode",
        )


def refuse_cluster_source(address: str, info: ServerInfo) -> None:
    """Raise RefusedError for a source in cluster mode."""
    if info.cluster_enabled:
        raise RefusedError(
            f"the source {address} has cluster mode enabled",
            hint="this version does not replicate from a cluster: take a source without cluster mode",
        )


def refuse_orphan_source(info: ServerInfo) -> None:
    """Raise ServerBusyError for a replica whose own primary is away."""
    if info.replication.is_replica and not info.replication.primary_link_up:
        raise ServerBusyError("the source is a replica that has lost its own primary", kind="masterdown")


def refuse_cluster_target(address: str, info: ServerInfo) -> None:
    """Raise RefusedError for a target in cluster mode."""
    if info.cluster_enabled:
        raise RefusedError(
            f"the target {address} has cluster mode enabled",
            hint="a transaction with its checkpoint cannot span slots: take a target without cluster mode",
        )


def refuse_old_target(address: str, info: ServerInfo) -> None:
    """Raise RefusedError for a release that lacks a command of the worker's own."""
    if (0, 0) < info.release < OLDEST_TARGET:
        raise RefusedError(
            f"the target {address} is {info.name}, and a target has to be Redis 6.2 or later",
            hint="upgrade the target: as a source this release works",
        )


def refuse_replica_target(address: str, info: ServerInfo) -> None:
    """Raise ServerBusyError for a replica; it takes writes after a promotion."""
    if info.replication.is_replica:
        raise ServerBusyError(
            f"the target {address} is a replica and takes no writes",
            hint="give the address of its primary, or promote it",
            kind="readonly",
        )


def refuse_eviction(settings: Settings, info: ServerInfo) -> None:
    """Raise RefusedError where the target may evict the checkpoint and the settings do not accept that."""
    policy = info.memory.policy
    if policy.startswith("allkeys-") and not settings.target.allow_eviction:
        raise RefusedError(
            f"the target {settings.target.address.text} may evict any key (maxmemory-policy {policy}), the "
            "checkpoint too",
            hint="set maxmemory-policy noeviction there, or target.allow_eviction=true to accept the risk",
        )


def refuse_contents(
    settings: Settings, source: SourceIdentity, info: ServerInfo, checkpoint: Checkpoint | None, *, own_keys: int
) -> None:
    """Raise RefusedError where the target holds data that this replication may not replace.

    `own_keys` is how many of its keys are records of this worker.
    """
    if checkpoint is None:
        keys = info.keys - own_keys
        if keys > 0 and settings.target.on_existing == "refuse":
            raise RefusedError(
                f"the target {settings.target.address.text} holds {counted(keys, 'key')} and no checkpoint of "
                f"{quoted(settings.name)}",
                hint="take an empty target, or say what to do with its keys: target.on_existing=merge or flush",
            )
        return
    same = (
        checkpoint.source == source.address
        or checkpoint.replid in source.replids
        or (checkpoint.source_run_id and checkpoint.source_run_id == source.run_id)
    )
    if not same and not settings.target.adopt:
        raise RefusedError(
            f"checkpoint {quoted(settings.name)} in the target belongs to another source, {checkpoint.source}",
            hint="give this replication its own name (SHAKER_NAME), or replace that source by target.adopt=true",
        )
