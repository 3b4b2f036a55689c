"""Checks of the target: whether its memory, its databases and its limits hold what the source has."""

from __future__ import annotations

from typing import Final

from shaker.bytesize import format_size
from shaker.checks.fitness import refuse_eviction
from shaker.checks.preflight.facts import Facts
from shaker.checks.preflight.finding import Verdict, failed, ok, refused, skipped, warning
from shaker.checks.preflight.source_buffers import MIB, rounded

# Of the free memory, the share that the copy may take: versions differ in encodings and fragmentation.
MEMORY_SHARE: Final = 0.8
# Servers close a client that is idle for `timeout` seconds; the worker sends a PING after 10 s without traffic.
SHORTEST_TIMEOUT: Final = 15


def memory(facts: Facts) -> Verdict:
    """Judge the target's memory against the source's data."""
    needed = facts.info("source").memory.data
    found = facts.info("target").memory
    if needed is None or found.used is None:
        return skipped("a server does not give used_memory: whether the data fit is not known")
    base = min(found.used, found.startup or 0) if facts.settings.target.on_existing == "flush" else found.used
    if facts.checkpoint is not None:
        base = min(base, max(0, found.used - needed))  # the copy is there already
    whole = base + needed
    remedy = f"on the target: CONFIG SET maxmemory {-(-whole * 3 // 2 // MIB) * MIB}"
    text = f"the source's data take {format_size(needed)}, with the target's own {format_size(base)}"
    if not found.limit:
        if found.system is not None and whole > found.system * MEMORY_SHARE:
            return warning(
                f"{text}: more than {MEMORY_SHARE:.0%} of the target machine's {format_size(found.system)}, and "
                "maxmemory "
                "does not bound it",
                "give the target a larger machine",
            )
        return ok(f"{text}; the target has no maxmemory")
    if whole > found.limit:
        effect = "refuses writes" if found.policy in ("", "noeviction") else "evicts keys"
        return failed(
            f"{text}: more than its maxmemory, {format_size(found.limit)}, above which it {effect}", remedy
        )
    if whole > found.limit * MEMORY_SHARE:
        return warning(f"{text}: close to its maxmemory, {format_size(found.limit)}", remedy)
    return ok(f"{text}; its maxmemory is {format_size(found.limit)}")


def eviction(facts: Facts) -> Verdict:
    """Judge the target's eviction policy."""
    info = facts.info("target")
    policy = info.memory.policy
    if not policy:
        return skipped("the target does not give maxmemory_policy: whether it evicts keys is not known")
    if verdict := refused(lambda: refuse_eviction(facts.settings, info)):
        return verdict
    if policy == "noeviction":
        return ok("maxmemory-policy is noeviction: a full target refuses writes and loses nothing")
    accepted = ", which target.allow_eviction accepts" if policy.startswith("allkeys-") else ""
    which = "any key, the checkpoint too" if accepted else "keys with an expiry, which the source still has"
    return warning(
        f"maxmemory-policy is {policy} on the target{accepted}: at maxmemory it evicts {which}",
        "on the target: CONFIG SET maxmemory-policy noeviction",
    )


def databases(facts: Facts) -> Verdict:
    """Judge whether the target has every database that the source uses."""
    source, target = facts.source.number("databases"), facts.target.number("databases")
    highest = max(facts.info("source").keyspace, default=0)
    remedy = "set databases in the target's configuration file and restart it"
    if facts.highest_database is False or (target is not None and highest >= target):
        has = f"{target} databases" if target is not None else "fewer databases"
        return failed(
            f"the source has keys in database {highest}, and the target has {has}", f"{remedy}: {highest + 1}"
        )
    if facts.highest_database is None and target is None:
        return skipped(f"{facts.target.unknown('databases')}; the source uses databases 0 to {highest}")
    if source is not None and target is not None and source > target:
        return warning(
            f"the source has {source} databases and the target {target}: a write to a higher one ends the "
            "worker with "
            "exit code 4",
            f"{remedy}: {source}",
        )
    return ok(f"the target has the databases that the source uses, up to {highest}")


def bulk_limit(facts: Facts) -> Verdict:
    """Judge the longest argument that the target takes."""
    target, source = facts.target.number("proto-max-bulk-len"), facts.source.number("proto-max-bulk-len")
    if target is None:
        return skipped(facts.target.unknown("proto-max-bulk-len"))
    largest = facts.sample.largest_bytes if facts.sample is not None else 0
    remedy = f"on the target: CONFIG SET proto-max-bulk-len {max(source or 0, rounded(largest))}"
    if largest > target:
        return failed(
            f"a sampled value has {format_size(largest)}, and proto-max-bulk-len is {format_size(target)} on "
            "the target",
            remedy,
        )
    if source is not None and target < source:
        return warning(
            f"proto-max-bulk-len is {format_size(target)} on the target and {format_size(source)} on the "
            "source: a longer "
            "value cannot be replicated",
            remedy,
        )
    return ok(f"proto-max-bulk-len is {format_size(target)} on the target")


def query_buffer(facts: Facts) -> Verdict:
    """Judge client-query-buffer-limit, which bounds a transaction that the worker sends."""
    limit = facts.target.number("client-query-buffer-limit")
    if limit is None:
        return skipped(facts.target.unknown("client-query-buffer-limit"))
    needed = 2 * max(facts.settings.memory_limit, facts.settings.snapshot.max_value)
    if limit < needed:
        return warning(
            f"client-query-buffer-limit is {format_size(limit)} on the target: a transaction or a value above "
            "80 % of it "
            "is refused by name, and the worker holds up to "
            f"{format_size(facts.settings.snapshot.max_value)} (snapshot.max_value)",
            f"on the target: CONFIG SET client-query-buffer-limit {rounded(needed)}",
        )
    return ok(f"client-query-buffer-limit is {format_size(limit)} on the target")


def timeout(facts: Facts) -> Verdict:
    """Judge `timeout`, after which the target closes idle connections."""
    seconds = facts.target.number("timeout")
    if seconds is None:
        return skipped(facts.target.unknown("timeout"))
    if 0 < seconds < SHORTEST_TIMEOUT:
        return warning(
            f"timeout is {seconds} s on the target: it closes the worker's connection in each pause of the "
            "stream, which "
            "reconnects for every write",
            "on the target: CONFIG SET timeout 0, or 60",
        )
    return ok(
        f"timeout is {seconds} s on the target; an idle worker sends a PING every 10 s"
        if seconds
        else "timeout is 0"
    )
