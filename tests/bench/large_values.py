"""Large values from one server to another: the worker's peak of memory, and for how long the target answers nobody.

`python -m tests.bench.large_values SOURCE TARGET [--elements N]` copies a list, a set, a sorted set and a hash of N
elements (5,000,000) and a stream of N / 10 entries with groups and pending entries, one after the other. Beside it
stands for how long the target answers nobody when a plain client sends the same commands, and as a native replica.
`--restore-limit 1MiB` makes the worker send commands also where the target takes the payload. Not a part of the gate:
it takes minutes.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import redis

from shaker.codec.values.content import content
from shaker.codec.values.decoder import payload_version
from shaker.codec.values.target import target_of
from tests.support.rebuilding import rebuild
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
    """A second client of a server: the longest time between a PING and its answer; LOADING is none.

    `busiest` is the longest processor time that the server took meanwhile. On a machine that does other work, only
    that says for how long the server's own work blocks its clients.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._client = server.client(socket_timeout=300)
        self._times = Path(f"/proc/{server.pid}/task/{server.pid}/schedstat")
        self._ended = threading.Event()
        self.longest = self.busiest = 0.0

    def run(self) -> None:
        began, busy = time.perf_counter(), self._busy()
        while not self._ended.is_set():
            try:
                self._client.ping()
            except redis.BusyLoadingError:
                time.sleep(0.001)
                continue
            self.longest = max(self.longest, time.perf_counter() - began)
            self.busiest = max(self.busiest, self._busy() - busy)
            time.sleep(0.001)
            began, busy = time.perf_counter(), self._busy()

    def _busy(self) -> float:
        return int(self._times.read_text().split()[0]) / 1e9

    def stop(self) -> None:
        """End it."""
        self._ended.set()
        self.join()


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


class Blocked(NamedTuple):
    """For how long a server answered nobody, of that the processor time, an idle server beside it; seconds."""

    longest: float
    busiest: float
    idle: float
    command: str

    def __str__(self) -> str:
        return (
            f"longest PING {self.longest * 1000:.0f} ms, with {self.busiest * 1000:.0f} ms of the processor "
            f"(of an idle server {self.idle * 1000:.0f} ms), longest command {self.command}"
        )


def watched(server: Server, idle: Server, act: Callable[[], object]) -> Blocked:
    """Return for how long a server answered nobody while `act` ran."""
    client = server.client()
    client.config_set("slowlog-log-slower-than", 5_000)
    client.config_set("slowlog-max-len", 1000)
    client.slowlog_reset()
    pingers = Pinger(server), Pinger(idle)
    for pinger in pingers:
        pinger.start()
    act()
    for pinger in pingers:
        pinger.stop()
    seconds, name = slowest(client)
    return Blocked(pingers[0].longest, pingers[0].busiest, pingers[1].longest, f"{seconds * 1000:.0f} ms {name}")


def plainly(source: Server, target: Server, kind: str) -> None:
    """Send the commands of the re-encoder as `redis-cli --pipe` does: one behind the other, answers read beside."""
    payload = source.client(socket_timeout=300).execute_command("DUMP", kind)
    info = target.info("server")
    version = info.get("valkey_version", info["redis_version"]).split(".")
    able = target_of((int(version[0]), int(version[1])), valkey="valkey_version" in info)
    requests = rebuild(payload, b"temporary", able, version=payload_version(payload) or 0, max_string=1 << 30)
    with socket.create_connection(("127.0.0.1", target.port)) as link:
        link.settimeout(300)

        def drain() -> None:
            while link.recv(1 << 16):
                pass

        reader = threading.Thread(target=drain, daemon=True)
        reader.start()
        for request in requests:
            link.sendall(request)
        link.shutdown(socket.SHUT_WR)
        reader.join(300)


def natively(source: Server, target: Server) -> None:
    """Make the target a native replica, until it has all."""
    target.replicate(source, 300)
    target.detach()


def beside(source: Server, target: Server, idle: Server, kind: str) -> None:
    """Print for how long a plain client and native replication block the target."""
    plain = watched(target, idle, lambda: plainly(source, target, kind))
    print(f"plain client -> {target.name} {kind}: {plain}", flush=True)  # noqa: T201 - the command's output
    target.client().flushall(asynchronous=True)
    if source.name == target.name:
        native = watched(target, idle, lambda: natively(source, target))
        print(f"native replica {target.name} {kind}: {native}", flush=True)  # noqa: T201 - the command's output
        target.client().flushall(asynchronous=True)


def copy(
    source: Server, target: Server, idle: Server, kind: str, elements: int, *, check: bool, limit: str
) -> bool:
    """Copy one value; print what it took, and return whether it is within the limits."""
    client, copied = source.client(), target.client()
    client.flushall()
    copied.flushall()
    fill(client, kind, elements)
    beside(source, target, idle, kind)
    settings = {"SHAKER_TARGET__RESTORE_LIMIT": limit} if limit else {}
    with Worker(source, target, **settings) as worker:
        began = time.monotonic()
        blocked = watched(target, idle, lambda: worker.wait_state("streaming", seconds=600))
        seconds = time.monotonic() - began
        assert worker.process is not None
        peak = peak_bytes(worker.process.pid)
        status = worker.status()
    same = equal(client, copied, kind) if check else client.memory_usage(kind, samples=0) > 0
    print(  # noqa: T201 - the command's output
        f"{source.name} -> {target.name} {kind}: {elements:,} elements, {seconds:.1f} s, "
        f"peak {peak / 2**20:.0f} MiB, "
        f"{blocked}, "
        f"{'equal' if same else 'DIFFERENT'}, {status['snapshot']['bytes_done']:,} bytes of snapshot",
        flush=True,
    )
    return same and peak <= PEAK and blocked.busiest <= BLOCKED_SECONDS


def main() -> int:
    """Run it; 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", choices=SOURCES)
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("--elements", type=int, default=5_000_000)
    parser.add_argument("--kinds", nargs="*", choices=list(FILL), default=list(FILL))
    parser.add_argument("--restore-limit", default="", help="target.restore_limit of the worker, such as 1MiB")
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
            fine = (
                copy(source, target, idle, kind, elements, check=not options.unchecked, limit=options.restore_limit)
                and fine
            )
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
