"""Checks of source and target together: datasets, circles, clocks, the link, types and modules."""

from __future__ import annotations

from typing import Final

from shaker.apply.records import checkpoint_key
from shaker.bytesize import format_size
from shaker.checks.circles import circle_error
from shaker.checks.preflight.facts import Facts
from shaker.checks.preflight.finding import Verdict, failed, ok, refused, skipped, warning
from shaker.checks.same_dataset import refuse_same_dataset
from shaker.codec.values.target import Target, target_of
from shaker.errors import counted
from shaker.model.server_info import ServerInfo
from shaker.rules.target_form import FIELDS

# A share of memory_limit that one round trip carries at most (shaker.run.direction, WINDOW_SHARE).
WINDOW_SHARE: Final = 4
SLOW_ROUND_TRIP: Final = 0.05
MODULE_TYPE: Final = 7
DATALESS: Final = frozenset({"lua"})  # modules that come with a server and have no type: the Lua engine of Valkey 9


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
        return _lacked(facts, f"{text}; {used} of {sample.keys} sampled keys are values of modules", remedy)
    return warning(f"{text}; a key that needs one {_effect(facts)}", remedy)


def types(facts: Facts) -> Verdict:
    """Judge whether the target can hold the source's values and function libraries."""
    source, target, sample = facts.info("source"), facts.info("target"), facts.sample
    if (0, 0) in (source.release, target.release):
        return skipped("a server does not give its version: whether the target knows all types is not known")
    remedy = "take a target that has them, or set target.on_unsupported=skip (docs/compatibility.md)"
    found = []
    if sample is not None and sample.lacking and (count := sample.lacking.get(FIELDS)):
        found.append(f"{count} of {sample.keys} sampled keys are {FIELDS}")
    if facts.libraries:
        found.append(f"function libraries: {facts.libraries}")
    if found:
        return _lacked(facts, f"{target.name} cannot hold data of {source.name}: {'; '.join(found)}", remedy)
    able, lacking = _abilities(source), _abilities(target)
    lacks = [
        title
        for title, has, lacked in (
            (FIELDS, able.field_expiry, not lacking.field_expiry),
            ("functions", able.functions, not lacking.functions),
        )
        if has and lacked
    ]
    if not lacks:
        return ok(f"{target.name} can hold every value of {source.name}")
    looked = (
        f"none of {counted(sample.keys, 'sampled key')} needs them"
        if sample and sample.keys
        else "none was sampled"
    )
    return warning(
        f"{target.name} lacks {' and '.join(lacks)}, which {source.name} has; {looked}, and what does "
        f"{_effect(facts)}",
        remedy,
    )


def _abilities(info: ServerInfo) -> Target:
    numbers = [int(part) for part in info.version.split(".")[:2] if part.isdigit()]
    return target_of((numbers[0], numbers[1]) if len(numbers) == 2 else info.release, valkey=info.is_valkey)


def _lacked(facts: Facts, text: str, remedy: str) -> Verdict:
    """Judge data that the target cannot hold: they end the copy, or are left out."""
    if facts.settings.target.on_unsupported == "skip":
        return warning(f"{text}, which target.on_unsupported=skip leaves out", remedy)
    return failed(text, remedy)


def _effect(facts: Facts) -> str:
    if facts.settings.target.on_unsupported == "skip":
        return "is left out (target.on_unsupported=skip)"
    return "ends the snapshot with exit code 4"
