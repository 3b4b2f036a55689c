"""Checks of source and target together: datasets, circles, clocks, the link, types and modules."""

from __future__ import annotations

from typing import Final

from shaker.apply.records import checkpoint_key
from shaker.bytesize import format_size
from shaker.checks.circles import circle_error
from shaker.checks.preflight.facts import Facts
from shaker.checks.preflight.finding import Verdict, failed, ok, refused, skipped, warning
from shaker.checks.same_dataset import refuse_same_dataset
from shaker.codec.rdb.field_expiries import VALKEY_VERSION
from shaker.codec.rdb.value_types import REDIS, VALKEY
from shaker.errors import counted
from shaker.model.server_info import ServerInfo

# A share of memory_limit that one round trip carries at most (shaker.run.direction, WINDOW_SHARE).
WINDOW_SHARE: Final = 4
SLOW_ROUND_TRIP: Final = 0.05
MODULE_TYPE: Final = 7
DATALESS: Final = frozenset({"lua"})  # modules that come with a server and have no type: the Lua engine of Valkey 9
# The newest RDB version that a release of Redis writes and reads, by the first release with it (server file src/rdb.h).
REDIS_VERSIONS: Final = (
    ((8, 0), 12),
    ((7, 4), 12),
    ((7, 2), 11),
    ((7, 0), 10),
    ((5, 0), 9),
    ((4, 0), 8),
    ((0, 0), 6),
)


def same_dataset(facts: Facts) -> Verdict:
    """Judge whether source and target are two datasets."""
    target = facts.info("target")
    return refused(lambda: refuse_same_dataset(facts.identity, target)) or ok("source and target are two datasets")


def loops(facts: Facts) -> Verdict:
    """Judge whether the source's data come from the target."""
    if facts.loop is not None:
        error = circle_error(facts.loop)
        return failed(error.what, error.hint)
    if facts.source.checkpoints is None:
        return skipped(
            "the source does not let the worker read the records of other workers (docs/access.md): a circle "
            "is found "
            "in the stream only"
        )
    return ok("no worker brings the target's data to the source")


def chains(facts: Facts) -> Verdict:
    """Judge other replications that write to the source or to the target."""
    own = checkpoint_key(facts.settings.name)
    before, beside = facts.source.checkpoints, facts.target.checkpoints
    others = [key for key in beside or () if key != own]
    if others:
        return warning(
            f"the target holds checkpoints of other replications: {', '.join(others)}. Keys of the same name "
            "overwrite "
            "each other, and a full resync removes keys that only the others brought",
            "give each source a target of its own, or set target.stale_keys=keep; DEL the checkpoint of one "
            "that is gone",
        )
    if before:
        return warning(
            f"the source is itself the target of {counted(len(before), 'replication')}: {', '.join(before)}. "
            "This one is "
            "behind by the lag of both",
            "nothing where a chain is meant; DEL the checkpoint of a replication that is gone",
        )
    if before is None or beside is None:
        return skipped("a server does not let the worker look for checkpoints of other replications (SCAN)")
    return ok("no other replication writes to source or target")


def clocks(facts: Facts) -> Verdict:
    """Judge the difference of the clocks: expiries are absolute times."""
    source, target = facts.source.clock_offset, facts.target.clock_offset
    if source is None or target is None:
        side = "source" if source is None else "target"
        return skipped(f"the {side} does not let the worker ask for its TIME")
    difference, limit = target - source, facts.settings.expiry.max_clock_skew_seconds
    text = (
        f"the target's clock is {abs(difference):.3f} s {'ahead of' if difference > 0 else 'behind'} the "
        "source's; the "
        f"source's is {abs(source):.3f} s {'ahead of' if source > 0 else 'behind'} this machine's"
    )
    if abs(difference) > limit:
        return warning(
            f"{text}: keys expire on the target {'earlier' if difference > 0 else 'later'} than on the source "
            "by as much",
            "synchronize both clocks (chrony, ntpd), or raise expiry.margin_seconds above the difference",
        )
    if abs(source) > limit:
        return warning(
            f"{text}: the worker's log and lag are off by as much", "synchronize the clocks (chrony, ntpd)"
        )
    return ok(text)


def round_trip(facts: Facts) -> Verdict:
    """Judge the round trips, and the throughput that they allow."""
    source, target = facts.source.round_trip, facts.target.round_trip
    if source is None or target is None:
        return skipped("a round trip was not measured")
    window = facts.settings.memory_limit / WINDOW_SHARE
    possible = window / max(target, 1e-6)
    text = f"a round trip takes {source * 1000:.2f} ms to the source and {target * 1000:.2f} ms to the target"
    allows = f"at most {format_size(possible)}/s with {format_size(window)} on the way (a quarter of memory_limit)"
    link = facts.target.link
    if link is not None and link.bytes_per_second < possible:
        possible = link.bytes_per_second
        allows = f"at most {format_size(possible)}/s, the link's own speed"
    rate = facts.write_rate
    wished = None if rate is None else rate.bytes_per_second
    if wished is not None and wished > possible / 2:
        return warning(
            f"{text}, which allows {allows}; the source writes {format_size(wished)}/s",
            "run the worker near the target, or raise memory_limit",
        )
    if target > SLOW_ROUND_TRIP:
        return warning(
            f"{text}, which allows {allows}; every transaction waits for one round trip before it commits",
            "run the worker near the target: the stream from the source tolerates latency, the transactions do not",
        )
    return ok(f"{text}, which allows {allows}")


def modules(facts: Facts) -> Verdict:
    """Judge whether the target has the modules of the source."""
    lacking = sorted(set(facts.info("source").modules) - set(facts.info("target").modules) - DATALESS)
    if not lacking:
        return ok("the target has every module of the source")
    sample = facts.sample
    used = 0 if sample is None else sum(n for (kind, _), n in sample.types.items() if kind == MODULE_TYPE)
    text = f"the target lacks modules of the source: {', '.join(lacking)}"
    remedy = "load them on the target (MODULE LOAD), or remove the keys that need them from the source"
    if used and sample is not None:
        return failed(f"{text}; {used} of {sample.keys} sampled keys are values of modules", remedy)
    return warning(f"{text}; a key that needs one ends the snapshot with exit code 4", remedy)


def types(facts: Facts) -> Verdict:
    """Judge whether the target can restore the types of the source's values."""
    source, target, sample = facts.info("source"), facts.info("target"), facts.sample
    mine, theirs = rdb_version(source), rdb_version(target)
    remedy = "take a target that is at least as new as the source, and of the same product"
    if not mine or not theirs:
        return skipped("a server does not give its version: whether the target knows all types is not known")
    unreadable = sum(
        count
        for (kind, written), count in (sample.types.items() if sample else ())
        if not _reads(theirs, kind, written)
    )
    if unreadable and sample is not None:
        return failed(
            f"{target.name} cannot restore {unreadable} of {sample.keys} sampled keys of {source.name}: their "
            "types are "
            "newer than it, or of the other product",
            remedy,
        )
    if mine > theirs or source.product != target.product:
        looked = (
            f"the {counted(sample.keys, 'sampled key')} do not need them"
            if sample and sample.keys
            else "none was sampled"
        )
        if mine > theirs or (mine > 11 and source.product != target.product):
            return warning(
                f"{source.name} has types or encodings that {target.name} lacks; {looked}, and a key with one "
                "of them ends "
                "the snapshot with exit code 4",
                remedy,
            )
    return ok(f"{target.name} knows every type of {source.name}")


def rdb_version(info: ServerInfo) -> int:
    """Return the RDB version that a server writes; 0 where it does not give its release."""
    if info.release == (0, 0):
        return 0
    if info.is_valkey:
        return (
            VALKEY_VERSION
            if info.version.partition(".")[0].isdigit() and int(info.version.partition(".")[0]) >= 9
            else 11
        )
    return next(version for release, version in REDIS_VERSIONS if info.release >= release)


def _reads(version: int, kind: int, written: int) -> bool:
    """Whether a server of the RDB `version` restores the type `kind` of a payload with the version `written`."""
    dialect = VALKEY if written >= VALKEY_VERSION else REDIS
    lowest = int.from_bytes(dialect.footers[kind] or b"\xff\xff", "little")
    # Valkey takes no type that Redis added behind its version 11, and Redis none of Valkey's own.
    return lowest <= (11 if version == VALKEY_VERSION and written < VALKEY_VERSION else version)
