"""Checks of the source: whether its buffers, its memory and its disk carry a snapshot under load."""

from __future__ import annotations

import math
from typing import Final

from shaker.bytesize import format_size
from shaker.checks.buffer_limits import DEFAULT_LIMITS, longest_pause, parse_limits
from shaker.checks.preflight.estimate import receiving_seconds
from shaker.checks.preflight.facts import Facts
from shaker.checks.preflight.finding import Verdict, failed, ok, skipped, warning

MIB: Final = 1024 * 1024
# An outage of the worker or a link that a partial sync should survive, and the wish of the remedy.
OUTAGE_SECONDS: Final = 60.0
WISHED_SECONDS: Final = 300.0
# Bytes per second below which a source counts as idle: pings, and the INFO of monitors.
IDLE_RATE: Final = 1000.0
# Of an output buffer limit, the share above which the estimate is too close to it; the remedy's headroom.
BUFFER_SHARE: Final = 0.5
HEADROOM: Final = 4


def rounded(size: float) -> int:
    """Return `size` bytes rounded up to a power of two, at least 1 MiB: for configuration values."""
    return max(MIB, 1 << math.ceil(math.log2(max(size, 1))))


def backlog(facts: Facts) -> Verdict:
    """Judge how long an outage the replication backlog covers."""
    info, rate = facts.info("source"), facts.write_rate
    size = info.replication.backlog_size or facts.source.number("repl-backlog-size")
    if size is None:
        return skipped(facts.source.unknown("repl-backlog-size"))
    if rate is None:
        return skipped(f"repl-backlog-size is {format_size(size)}, and the write rate was not measured")
    if rate.bytes_per_second < IDLE_RATE:
        return ok(f"repl-backlog-size is {format_size(size)}, and the source was idle for {rate.seconds:.0f} s")
    covered = size / rate.bytes_per_second
    text = (
        f"repl-backlog-size {format_size(size)} covers an outage of {_duration(covered)} at {_rate(facts)}; "
        "after a "
        "longer one the source sends the whole snapshot again"
    )
    if covered < OUTAGE_SECONDS:
        wished = rounded(rate.bytes_per_second * WISHED_SECONDS)
        return warning(text, f"on the source: CONFIG SET repl-backlog-size {wished}")
    return ok(text)


def output_buffer(facts: Facts) -> Verdict:
    """Judge whether the stream that waits during the snapshot fits into the source's output buffer."""
    seconds, rate = receiving_seconds(facts), facts.write_rate
    if rate is None or seconds is None:
        return skipped("the write rate or the duration of the snapshot is not known")
    needed = rate.bytes_per_second * seconds
    text = f"some {format_size(needed)} of stream wait in the source during a snapshot of {seconds:.0f} s"
    hard, soft = rounded(needed * HEADROOM), rounded(needed * HEADROOM / 2)
    remedy = f'on the source: CONFIG SET client-output-buffer-limit "replica {hard} {soft} 60"'
    value = facts.source.config.get("client-output-buffer-limit")
    limits = None if value is None else parse_limits(value)
    if limits is None:
        return skipped(
            f"{facts.source.unknown('client-output-buffer-limit')}; {text}, and by default the source drops a "
            "replica "
            f"at {format_size(DEFAULT_LIMITS.hard)}",
            remedy if needed > DEFAULT_LIMITS.soft * BUFFER_SHARE else "",
        )
    most = limits.within(seconds)
    shown = f"client-output-buffer-limit replica is {limits.hard} {limits.soft} {limits.seconds}"
    if most is None or needed <= most * BUFFER_SHARE:
        return ok(f"{shown}; {text}")
    if needed <= most:
        return warning(f"{shown}; {text}: close to the limit, where the source drops the worker", remedy)
    return failed(
        f"{shown}; {text}: the source drops the worker before the snapshot ends, every time it starts again", remedy
    )


def diskless(facts: Facts) -> Verdict:
    """Judge whether the source sends the snapshot without writing it to its disk first."""
    value = facts.source.config.get("repl-diskless-sync")
    if value is None:
        return skipped(facts.source.unknown("repl-diskless-sync"))
    if value == "yes":
        return ok("repl-diskless-sync is on: the snapshot goes straight to the worker")
    return warning(
        "repl-diskless-sync is off: the source writes the whole snapshot to its disk before it sends the first "
        "byte, "
        "and needs the space",
        "on the source: CONFIG SET repl-diskless-sync yes",
    )


def fork_memory(facts: Facts) -> Verdict:
    """Judge whether the source's machine has memory for the fork that writes the snapshot."""
    memory, persistence = facts.info("source").memory, facts.info("source").persistence
    if persistence.rdb_save_ok is False:
        return warning(
            "the source's last background save failed, and a snapshot needs the same fork; without "
            "repl-diskless-sync also the same disk",
            "look into the source's log (fork, disk space), then BGSAVE there until rdb_last_bgsave_status is ok",
        )
    if facts.overcommit not in (None, 1):
        return warning(
            f"vm.overcommit_memory is {facts.overcommit} on the source's machine: a fork can fail with memory "
            "to spare",
            "on the source's machine: sysctl vm.overcommit_memory=1",
        )
    resident, system = memory.resident, memory.system
    if resident is None or system is None:
        return skipped(
            "the source does not give used_memory_rss and total_system_memory: whether its fork has memory is "
            "not known"
        )
    text = (
        f"the source's process has {format_size(resident)} of {format_size(system)}; while it writes the "
        "snapshot, every "
        "page that changes is copied, at worst all of them"
    )
    if 2 * resident > system:
        return warning(text, "take the snapshot while few keys are written, from a replica, or with more memory")
    fork = persistence.fork_microseconds
    paused = f"; its last fork paused it for {fork / 1000:.0f} ms" if fork else ""
    return ok(f"{text}{paused}")


def ping_period(facts: Facts) -> Verdict:
    """Judge source.timeout_seconds against the pings of an idle source."""
    period = facts.source.number("repl-ping-replica-period")
    if period is None:
        return skipped(facts.source.unknown("repl-ping-replica-period"))
    timeout = facts.settings.source.timeout_seconds
    needed = longest_pause(timeout, period)
    if needed is not None:
        return warning(
            f"an idle source sends a PING every {period} s, and the worker takes {timeout:g} s of silence for a "
            "lost link: "
            "it reconnects again and again",
            f"set source.timeout_seconds (SHAKER_SOURCE__TIMEOUT_SECONDS) to {needed}, or lower "
            "repl-ping-replica-period on the source",
        )
    return ok(f"an idle source sends a PING every {period} s, within source.timeout_seconds ({timeout:g})")


def _duration(seconds: float) -> str:
    if seconds < 2 * 3600:
        return f"{seconds:.0f} s"
    return f"{seconds / 3600:.0f} h" if seconds < 48 * 3600 else "more than two days"


def _rate(facts: Facts) -> str:
    rate = facts.write_rate
    assert rate is not None
    how = "" if rate.by_offset else " at most, by its network input"
    return f"{format_size(rate.bytes_per_second)}/s{how} (measured for {rate.seconds:.0f} s)"
