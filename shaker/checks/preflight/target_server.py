"""Checks of the target: who it is, whether it takes writes, and what it holds."""

from __future__ import annotations

from shaker.bytesize import format_size
from shaker.checks.fitness import (
    refuse_cluster_target,
    refuse_cluster_url,
    refuse_contents,
    refuse_old_target,
    refuse_replica_target,
)
from shaker.checks.preflight.facts import Facts
from shaker.checks.preflight.finding import Verdict, failed, ok, refused, skipped, warning
from shaker.errors import HINTS, counted, quoted


def reachable(facts: Facts) -> Verdict:
    """Judge the connection to the target."""
    server = facts.target
    if server.error is not None:
        return failed(server.error.what, server.error.hint)
    return ok(f"{server.address} answers: {facts.info('target').name}")


def version(facts: Facts) -> Verdict:
    """Judge the release of the target."""
    server, info = facts.target, facts.info("target")
    if info.release == (0, 0):
        return skipped("the target does not give its version; it has to be Redis 6.2 or later")
    return refused(lambda: refuse_old_target(server.address, info)) or ok(f"the target is {info.name}")


def cluster(facts: Facts) -> Verdict:
    """Judge cluster mode of the target."""
    server, info = facts.target, facts.info("target")
    return (
        refused(lambda: refuse_cluster_url(facts.settings.target))
        or refused(lambda: refuse_cluster_target(server.address, info))
        or ok("the target is no cluster node")
    )


def writable(facts: Facts) -> Verdict:
    """Judge whether the target takes writes now: role, loading, persistence, min-replicas-to-write."""
    server, info = facts.target, facts.info("target")
    if verdict := refused(lambda: refuse_replica_target(server.address, info)):
        return verdict
    if info.persistence.loading:
        return failed("the target is loading its dataset and takes no writes yet", HINTS["loading"])
    stops = server.config.get("stop-writes-on-bgsave-error", "yes") == "yes"
    if (info.persistence.rdb_save_ok is False and stops) or info.persistence.aof_write_ok is False:
        return failed("the target's last save to disk failed: it refuses writes (MISCONF)", HINTS["misconf"])
    wanted, good = server.number("min-replicas-to-write"), info.replication.good_replicas
    if wanted and good is not None and good < wanted:
        return failed(
            f"min-replicas-to-write is {wanted} on the target and {counted(good, 'replica')} "
            f"{'is' if good == 1 else 'are'} in time: it refuses writes (NOREPLICAS)",
            f"bring its replicas back, or CONFIG SET min-replicas-to-write {good} there",
        )
    return ok("the target is a primary and takes writes")


def contents(facts: Facts) -> Verdict:
    """Judge what the target holds: nothing, this replication's data, or somebody else's."""
    settings, info, checkpoint = facts.settings, facts.info("target"), facts.checkpoint
    rule = settings.target.on_existing
    if checkpoint is None and facts.target.checkpoints is None:
        return skipped(
            "the target does not let the worker read its checkpoint (HGETALL): whose keys it holds is not known"
        )
    verdict = refused(
        lambda: refuse_contents(settings, facts.identity, info, checkpoint, own_keys=facts.fence_keys)
    )
    if verdict:
        return verdict
    if checkpoint is not None:
        return ok(
            f"the target holds the checkpoint of {quoted(settings.name)} (phase {checkpoint.phase}, offset "
            f"{checkpoint.offset}): the replication resumes there"
        )
    keys = info.keys - facts.fence_keys
    if keys <= 0:
        return ok("the target is empty")
    if rule == "flush":
        return warning(
            f"target.on_existing is flush: the first full sync deletes the target's {counted(keys, 'key')}",
            "nothing where these keys are to go; else take another target or target.on_existing=merge",
        )
    return warning(
        f"target.on_existing is merge: {counted(keys, 'key')} of the target stay, and the source's keys replace "
        "those of "
        "the same name",
        "nothing where both datasets belong together; else take an empty target",
    )


def replicas(facts: Facts) -> Verdict:
    """Judge the target's own replicas, which receive the whole copy again."""
    replication = facts.info("target").replication
    if not replication.replicas:
        return ok("the target has no replicas of its own")
    away = [replica.address for replica in replication.replicas if not replica.online]
    if away:
        return warning(
            f"of the target's {counted(len(replication.replicas), 'replica')} {', '.join(away)} is not in step: "
            "a failover "
            "to it loses what the target acknowledged",
            "wait until its state is online in INFO replication of the target",
        )
    return ok(
        f"the target has {counted(len(replication.replicas), 'replica')} in step; its acknowledgement does not "
        "wait for them"
    )


def backlog(facts: Facts) -> Verdict:
    """Judge whether the target's own stream can be followed, which a cutover with --reverse needs."""
    replication = facts.info("target").replication
    if replication.backlog_active is None:
        return skipped("the target does not say whether it keeps a replication backlog")
    if not replication.backlog_active:
        return warning(
            "the target keeps no replication backlog: a cutover with --reverse is not possible",
            "for the way back: CONFIG SET repl-backlog-ttl 0 on the target, and let a replica attach once",
        )
    size = replication.backlog_size or 0
    return ok(
        f"the target keeps a replication backlog of {format_size(size)}, which a cutover with --reverse needs"
    )


def persistence(facts: Facts) -> Verdict:
    """Judge what a restart of the target keeps."""
    found, save = facts.info("target").persistence, facts.target.config.get("save")
    if found.aof_enabled:
        if facts.target.config.get("appendfsync") == "always":
            return warning(
                "appendfsync is always on the target: each transaction waits for its disk, and the copy takes "
                "much longer",
                "for the copy: CONFIG SET appendfsync everysec on the target",
            )
        return ok("the target has an append-only file: a restart keeps data and checkpoint")
    if save is None:
        return skipped(f"the target has no append-only file, and {facts.target.unknown('save')}")
    if save:
        return ok(f"the target saves snapshots ({save}): after a crash the stream resumes from the last one")
    return warning(
        "the target keeps nothing on disk: a restart loses all data with the checkpoint, and the source sends a "
        "whole snapshot again",
        "on the target: CONFIG SET appendonly yes",
    )


def import_mode(facts: Facts) -> Verdict:
    """Judge Valkey's import mode, in which the target keeps what expires until the source deletes it."""
    info = facts.info("target")
    value = facts.target.config.get("import-mode")
    if not info.is_valkey:
        return ok(
            f"{info.product} has no import mode: expiries lie {facts.settings.expiry.margin_seconds:g} s later "
            "there"
        )
    if value is None:
        return skipped(facts.target.unknown("import-mode"))
    if value == "yes":
        return ok("the target is in import mode: it expires nothing by itself while it receives the stream")
    return ok(
        "the target is not in import mode (CONFIG SET import-mode yes): expiries lie "
        f"{facts.settings.expiry.margin_seconds:g} s later there"
    )
