"""The estimate: bytes and seconds of the copy, and the memory that it needs on each of the three machines."""

from __future__ import annotations

import math
from typing import Any, Final

from shaker.checks.preflight.facts import Facts

# Keys that a target restores per second: RESTORE of mixed small keys, measured on two cores (docs/performance.md).
KEYS_PER_SECOND: Final = 200_000.0
# Bytes in a snapshot besides names and values: the length of a name; the opcode and the time of an expiry.
LENGTH_BYTES: Final = 1
EXPIRY_BYTES: Final = 9


def snapshot_bytes(facts: Facts) -> int | None:
    """Return the bytes of the snapshot by sampled keys; without a sample, the memory of the data, which is more."""
    info = facts.source.info
    if info is None:
        return None
    if facts.sample is not None and facts.sample.keys:
        mean = (facts.sample.key_bytes + facts.sample.value_bytes) / facts.sample.keys
        return int(info.keys * (mean + LENGTH_BYTES)) + info.expiring * EXPIRY_BYTES
    return info.memory.data


def link_bytes_per_second(facts: Facts) -> float | None:
    """Return the measured throughput of the slower link."""
    speeds = [server.link.bytes_per_second for server in (facts.source, facts.target) if server.link is not None]
    return min(speeds, default=None)


def snapshot_seconds(facts: Facts) -> float | None:
    """Return the expected duration of the snapshot: bytes over the slower link, or keys over the target.

    Limits that an operator has set count, too (`rate.snapshot_bytes`, `rate.snapshot_keys`).
    """
    size, speed, rate = snapshot_bytes(facts), link_bytes_per_second(facts), facts.settings.rate
    if size is None or speed is None or facts.source.info is None:
        return None
    by_bytes, by_keys = (
        min(speed, rate.snapshot_bytes or speed),
        min(KEYS_PER_SECOND, rate.snapshot_keys or math.inf),
    )
    return max(size / max(by_bytes, 1.0), facts.source.info.keys / by_keys)


def receiving_seconds(facts: Facts) -> float | None:
    """Return how long the source sends the snapshot: with a spool, it does not wait for the target."""
    seconds, size, link = snapshot_seconds(facts), snapshot_bytes(facts), facts.source.link
    if facts.settings.spool.dir is None or seconds is None or size is None or link is None:
        return seconds
    return min(seconds, size / max(link.bytes_per_second, 1.0))


def estimate(facts: Facts) -> dict[str, Any]:
    """Return the estimate as `shaker preflight --json` prints it; null for a number that is not known."""
    source, target, rate = facts.source.info, facts.target.info, facts.write_rate
    seconds, written = snapshot_seconds(facts), None if rate is None else rate.bytes_per_second
    waiting = None if seconds is None or written is None else int(seconds * written)
    data = None if source is None else source.memory.data
    used = None if target is None else target.memory.used
    speed = link_bytes_per_second(facts)
    # After the snapshot the stream that waited is applied while more is written: both go over the same links.
    spare = None if speed is None or written is None else speed - written
    catch_up = None if waiting is None or spare is None or spare <= 0 else waiting / spare
    return {
        "keys": None if source is None else source.keys,
        "snapshot_bytes": snapshot_bytes(facts),
        "snapshot_seconds": _rounded(seconds),
        "catch_up_seconds": _rounded(catch_up),
        "write_bytes_per_second": _rounded(written),
        "source_buffer_bytes": waiting,
        "source_fork_bytes": None if source is None else source.memory.resident,
        "worker_memory_bytes": facts.settings.memory_limit,
        "target_memory_bytes": None if data is None or used is None else _after(facts, data, used),
        "measured": _measured(facts),
    }


def _after(facts: Facts, data: int, used: int) -> int:
    """Return the target's memory behind the copy: a resumed replication has the data there already."""
    if facts.checkpoint is not None:
        return max(used, data)
    return data + (0 if facts.settings.target.on_existing == "flush" else used)


def _measured(facts: Facts) -> dict[str, Any]:
    rate, sample = facts.write_rate, facts.sample
    links = {
        f"{side}_{name}": None if server.link is None else round(value)
        for side, server in (("source", facts.source), ("target", facts.target))
        for name, value in (
            ("link_bytes_per_second", 0.0 if server.link is None else server.link.bytes_per_second),
            ("link_test_bytes", 0 if server.link is None else server.link.bytes_sent),
        )
    }
    trips = {
        f"{side}_round_trip_seconds": None if server.round_trip is None else round(server.round_trip, 6)
        for side, server in (("source", facts.source), ("target", facts.target))
    }
    return {
        **links,
        **trips,
        "sampled_keys": 0 if sample is None else sample.keys,
        "write_rate_seconds": None if rate is None else round(rate.seconds, 3),
        "write_rate_by": None if rate is None else "replication offset" if rate.by_offset else "network input",
        "assumed_keys_per_second": int(KEYS_PER_SECOND),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
