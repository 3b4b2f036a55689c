"""Checks of the source: who it is, and whether it lets the worker replicate."""

from __future__ import annotations

from typing import Final

from shaker.bytesize import format_size
from shaker.checks.fitness import refuse_cluster_source, refuse_cluster_url, refuse_orphan_source
from shaker.checks.preflight.facts import Facts, Right
from shaker.checks.preflight.finding import Verdict, failed, ok, refused, skipped, warning
from shaker.errors import counted
from shaker.settings.url import SENTINEL_SCHEMES

# Replication with ids and offsets that outlive a failover (PSYNC2) came with Redis 4.0; the tests begin at 5.0.
OLDEST_SOURCE: Final = (4, 0)
OLDEST_TESTED: Final = (5, 0)
NEWEST_TESTED: Final = {"Redis": (8, 0), "Valkey": (9, 1)}


def reachable(facts: Facts) -> Verdict:
    """Judge the connection to the source."""
    server = facts.source
    if server.error is not None:
        return failed(server.error.what, server.error.hint)
    return ok(f"{server.address} answers: {facts.info('source').name}")


def psync(facts: Facts) -> Verdict:
    """Judge whether the source has the command that begins a replication."""
    name, server = facts.settings.source.psync_command, facts.source
    renamed = name.upper() != "PSYNC"
    if server.psync is Right.MISSING:
        return failed(
            f"the source has no command {name}: without it there is neither a snapshot nor a stream",
            "set source.psync_command (SHAKER_SOURCE__PSYNC_COMMAND) to the name that the managed service "
            "gives it, "
            "undo rename-command on the source, or ask the provider to allow replication",
        )
    if server.psync is Right.UNKNOWN:
        return skipped(f"not known whether the source has {name}: it does not answer COMMAND INFO or {name}")
    if renamed:
        return warning(
            f"PSYNC is called {name} there. A managed service can answer it as PSYNC; Redis and Valkey themselves "
            "answer a renamed PSYNC without replication offsets, and the worker then refuses the source",
            "on a server of your own remove rename-command PSYNC; on a managed service nothing",
        )
    return ok("the source has PSYNC")


def version(facts: Facts) -> Verdict:
    """Judge the release of the source."""
    info = facts.info("source")
    if info.release == (0, 0):
        return skipped("the source does not give its version")
    if info.release < OLDEST_SOURCE:
        return failed(
            f"the source is {info.name}: before Redis 4.0 replication ids do not outlive a failover",
            "upgrade the source to Redis 5.0 or later",
        )
    numbers = [int(part) for part in info.version.split(".")[:2] if part.isdigit()]
    if info.release < OLDEST_TESTED or tuple(numbers) > NEWEST_TESTED[info.product]:
        newest = ".".join(map(str, NEWEST_TESTED[info.product]))
        return warning(
            f"the source is {info.name}, outside the tested releases (Redis 5.0 to {info.product} {newest}): a "
            "type "
            "that the worker does not know ends the snapshot with exit code 4",
            "rehearse the migration with a copy of the data",
        )
    return ok(f"the source is {info.name}")


def role(facts: Facts) -> Verdict:
    """Judge the role of the source, and whether another server of its replication is the better one."""
    info, replication = facts.info("source"), facts.info("source").replication
    if verdict := refused(lambda: refuse_orphan_source(info)):
        return verdict
    if replication.is_replica:
        return warning(
            f"the source is a replica of {replication.primary}: it takes the load of the snapshot off its "
            "primary, but "
            "it lags behind, and the stream ends with it",
            f"nothing where the primary's load matters more; else set source.url to {replication.primary}",
        )
    online = [replica for replica in replication.replicas if replica.online and not replica.address.endswith(":0")]
    best = max(online, key=lambda replica: replica.offset or 0, default=None)
    if best is None:
        return ok("the source is a primary without replicas: it forks for the snapshot")
    return ok(
        f"the source is a primary with {counted(len(online), 'replica')}; {best.address} is the most advanced: "
        "named in "
        "source.url it would fork in the primary's place"
    )


def cluster(facts: Facts) -> Verdict:
    """Judge cluster mode of the source."""
    server, info = facts.source, facts.info("source")
    return (
        refused(lambda: refuse_cluster_url(facts.settings.source))
        or refused(lambda: refuse_cluster_source(server.address, info))
        or ok("the source is no cluster node")
    )


def sentinel(facts: Facts) -> Verdict:
    """Judge whether the worker follows a failover of the source."""
    if facts.settings.source.address.scheme in SENTINEL_SCHEMES:
        return ok("source.url names Sentinels: the worker follows a failover")
    watching = facts.source.sentinels
    if watching is None:
        return skipped("not known whether Sentinels watch the source: CLIENT LIST is refused")
    if watching:
        return warning(
            f"{counted(watching, 'connection')} of Sentinels watch the source, and source.url names the server "
            "itself: "
            "after a failover the worker stays with the demoted server",
            "set source.url to redis+sentinel://SENTINEL:26379/SERVICE",
        )
    return ok("no Sentinel watches the source")


def keys(facts: Facts) -> Verdict:
    """Judge the keys of the source and their expiries."""
    info = facts.info("source")
    if not info.keys:
        return warning(
            "the source has no keys: a full sync from it removes all keys of the target that are not its own",
            "check source.url; for a new, empty source nothing",
        )
    databases = ", ".join(f"db{number} {count:,}" for number, count in sorted(info.keyspace.items()))
    expiring = f"{info.expiring * 100 / info.keys:.0f} % of them expire"
    margin = facts.settings.expiry.margin_seconds
    late = f", on the target {margin:g} s later" if info.expiring and margin else ""
    memory = info.memory.data
    size = "" if memory is None else f" in {format_size(memory)}"
    return ok(f"{counted(info.keys, 'key')}{size} ({databases}); {expiring}{late}")


def min_replicas(facts: Facts) -> Verdict:
    """Judge min-replicas-to-write of the source, for which the worker counts as a replica."""
    wanted = facts.source.number("min-replicas-to-write")
    if wanted is None:
        return skipped(facts.source.unknown("min-replicas-to-write"))
    if not wanted:
        return ok("min-replicas-to-write is 0: the source takes writes with or without the worker")
    good = facts.info("source").replication.good_replicas
    if good is not None and good < wanted:
        return warning(
            f"min-replicas-to-write is {wanted} and {good} are there: the source refuses writes, until the "
            "worker joins "
            "as a replica and is counted",
            "bring back the source's own replicas first",
        )
    return warning(
        f"min-replicas-to-write is {wanted}: the worker acknowledges like a replica and counts as one, so the "
        "source "
        "takes writes with one replica of its own fewer, and may refuse writes when the worker stops",
        f"while the worker runs: CONFIG SET min-replicas-to-write {wanted + 1}",
    )
