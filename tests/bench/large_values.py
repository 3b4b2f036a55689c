"""Large values from one server to another: the worker's peak of memory, and for how long the target answers nobody.

`python -m tests.bench.large_values SOURCE TARGET [--elements N]` copies a list, a set, a sorted set and a hash of N
elements (5,000,000) and a stream of N / 10 entries with groups and pending entries, one after the other. Not a part of
the gate: it takes minutes.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time

import redis

from shaker.codec.values.content import content
from shaker.codec.values.decoder import payload_version
from tests.support.servers import NAMES, SOURCES, Server
from tests.support.worker import Worker, peak_bytes

PEAK = 250 * 1024 * 1024
BLOCKED_SECONDS = 0.1
FILL = {
    "list": "for i = ARGV[1], ARGV[2] do redis.call('RPUSH', KEYS[1], 'element:' .. i * 7919 % 1000003) end",
    "set": "for i = ARGV[1], ARGV[2] do redis.call('SADD', KEYS[1], 'member:' .. i) end",
    "zset": "for i = ARGV[1], ARGV[2] do redis.call('ZADD', KEYS[1], i / 7, 'member:' .. i) end",
    "hash": "for i = ARGV[1], ARGV[2] do redis.call('HSET', KEYS[1], 'field:' .. i, 'value:' .. i * 3) end",
    "stream": "for i = ARGV[1], ARGV[2] do redis.call('XADD', KEYS[1], i .. '-1', 'field', 'value:' .. i, 'n', i) end",
}
STEP = 20_000


class Pinger(threading.Thread):
    """A second client of the target: the longest time between a PING and its answer."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._client = server.client()
        self._ended = threading.Event()
        self.longest = 0.0

    def run(self) -> None:
        while not self._ended.is_set():
            began = time.perf_counter()
            self._client.ping()
            self.longest = max(self.longest, time.perf_counter() - began)
            time.sleep(0.001)

    def stop(self) -> float:
        """Return the longest time in seconds."""
        self._ended.set()
        self.join()
        return self.longest


def fill(client: redis.Redis, kind: str, elements: int) -> None:
    """Make a value of so many elements, and of a stream pending entries, some of them deleted."""
    script = client.register_script(FILL[kind])
    for first in range(1, elements + 1, STEP):
        script(keys=[kind], args=[first, min(elements, first + STEP - 1)])
    if kind == "stream":
        for group in ("one", "two"):
            client.xgroup_create("stream", group, "0")
            for consumer in range(5):
                for _ in range(elements // 10 // STEP + 1):
                    client.xreadgroup(group, f"consumer:{consumer}", {"stream": ">"}, count=STEP // 2)
        client.xdel("stream", *(f"{number}-1" for number in range(1, elements // 10, 97)))


def slowest(client: redis.Redis) -> tuple[float, str]:
    """Return the longest command of the target, in seconds, and its name."""
    entries = client.slowlog_get(1000)
    return max(
        ((entry["duration"] / 1e6, entry["command"].split(b" ")[0].decode()) for entry in entries), default=(0, "")
    )


def equal(source: redis.Redis, target: redis.Redis, kind: str) -> bool:
    """Whether both hold the same value."""
    found = []
    for client in (source, target):
        payload = client.execute_command("DUMP", kind)
        found.append(content([payload], version=payload_version(payload), max_string=1 << 30))
    return found[0].same(found[1])


def copy(source: Server, target: Server, idle: Server, kind: str, elements: int, *, check: bool) -> bool:
    """Copy one value; print what it took, and return whether it is within the limits."""
    client, copied = source.client(), target.client()
    client.flushall()
    copied.flushall()
    fill(client, kind, elements)
    copied.config_set("slowlog-log-slower-than", 20_000)
    copied.config_set("slowlog-max-len", 1000)
    copied.slowlog_reset()
    pingers = Pinger(target), Pinger(idle)
    with Worker(source, target) as worker:
        for pinger in pingers:
            pinger.start()
        began = time.monotonic()
        worker.wait_state("streaming", seconds=600)
        seconds = time.monotonic() - began
        longest, noise = (pinger.stop() for pinger in pingers)
        assert worker.process is not None
        peak = peak_bytes(worker.process.pid)
        status = worker.status()
    command, name = slowest(copied)
    same = equal(client, copied, kind) if check else client.memory_usage(kind, samples=0) > 0
    print(  # noqa: T201 - the command's output
        f"{source.name} -> {target.name} {kind}: {elements:,} elements, {seconds:.1f} s, "
        f"peak {peak / 2**20:.0f} MiB, "
        f"longest PING {longest * 1000:.0f} ms (of an idle server {noise * 1000:.0f} ms), "
        f"longest command {command * 1000:.0f} ms {name}, "
        f"{'equal' if same else 'DIFFERENT'}, {status['snapshot']['bytes_done']:,} bytes of snapshot",
        flush=True,
    )
    return same and peak <= PEAK and min(longest, command) <= BLOCKED_SECONDS


def main() -> int:
    """Run it; 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", choices=SOURCES)
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("--elements", type=int, default=5_000_000)
    parser.add_argument("--kinds", nargs="*", choices=list(FILL), default=list(FILL))
    parser.add_argument("--unchecked", action="store_true", help="do not compare the values, which takes memory")
    options = parser.parse_args()
    fine = True
    with (
        Server(options.source, client_output_buffer_limit="replica 0 0 0") as source,
        Server(options.target) as target,
        Server(options.target) as idle,
    ):
        for kind in options.kinds:
            elements = options.elements // 10 if kind == "stream" else options.elements
            fine = copy(source, target, idle, kind, elements, check=not options.unchecked) and fine
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
