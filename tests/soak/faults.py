"""The faults of the long run, one function each: it makes the fault, holds it for a while, ends it."""

from __future__ import annotations

import random
import signal
import threading
import time
from contextlib import suppress
from typing import Final

import redis

from tests.soak.data_faults import DATA_FAULTS, flushed_by_somebody
from tests.soak.expiry_faults import EXPIRY_FAULTS, backlog_lost, settled
from tests.soak.world import TIMEOUT_SECONDS, Fault, World, hold
from tests.support.proxy import Direction, Proxy
from tests.support.servers import Server
from tests.support.source_link import LOSSES, Loss

NOWHERE: Final = 1  # a port that nobody listens at
DIRECTIONS: Final[tuple[Direction, ...]] = ("up", "down", "both")


def _proxy(world: World, draw: random.Random) -> Proxy:
    return draw.choice((world.source_proxy, world.target_proxy))


def reset(world: World, draw: random.Random) -> None:
    """Reset every connection of one side, or of both at once."""
    for proxy in draw.sample((world.source_proxy, world.target_proxy), draw.choice((1, 1, 2))):
        proxy.reset()


def resets(world: World, draw: random.Random) -> None:
    """Reset one side again and again."""
    proxy = _proxy(world, draw)
    for _ in range(draw.randrange(2, 8)):
        proxy.reset()
        hold(draw, 0.4)


def cut(world: World, draw: random.Random) -> None:
    """Reset one side in the middle of something, after some bytes more."""
    proxy = _proxy(world, draw)
    proxy.set(draw.choice(DIRECTIONS), cut_after=draw.choice((1, 10, 100, 1000, 10_000, 100_000)))
    hold(draw, 2)
    proxy.heal()


def black_hole(world: World, draw: random.Random) -> None:
    """Drop everything, with the connections left open; sometimes for longer than the timeout."""
    proxy = _proxy(world, draw)
    proxy.set(draw.choice(DIRECTIONS), black_hole=True)
    hold(draw, 8)
    # What was dropped is gone from the middle of both streams: no link goes on behind that.
    proxy.reset()
    proxy.heal()


def stall(world: World, draw: random.Random) -> None:
    """Hold everything back, and let it go on where it stood."""
    proxy = _proxy(world, draw)
    proxy.set(draw.choice(DIRECTIONS), stalled=True)
    hold(draw, 7)
    proxy.heal()


def slices(world: World, draw: random.Random) -> None:
    """Forward byte by byte."""
    proxy = _proxy(world, draw)
    proxy.set(draw.choice(DIRECTIONS), slice=draw.choice((1, 2, 7)))
    hold(draw, 3)
    proxy.heal()


def latency(world: World, draw: random.Random) -> None:
    """Delay each read."""
    proxy = _proxy(world, draw)
    proxy.set(draw.choice(DIRECTIONS), latency=draw.uniform(0.005, 0.3))
    hold(draw, 6)
    proxy.heal()


def bandwidth(world: World, draw: random.Random) -> None:
    """Let through a few bytes a second."""
    proxy = _proxy(world, draw)
    proxy.set(draw.choice(DIRECTIONS), bandwidth=draw.choice((5_000, 50_000, 500_000)))
    hold(draw, 6)
    proxy.heal()


def refuse(world: World, draw: random.Random) -> None:
    """Take no new connections, and break the open ones."""
    proxy = _proxy(world, draw)
    proxy.refuse()
    proxy.reset()
    hold(draw, 3)
    proxy.accept()


def worker_killed(world: World, draw: random.Random) -> None:
    """Kill the worker and start it again."""
    world.end_worker(signal.SIGKILL, (-signal.SIGKILL,))
    hold(draw, 1)
    world.start_worker()
    hold(draw, 3)


def worker_stopped(world: World, draw: random.Random) -> None:
    """Ask the worker to end, and start it again."""
    world.end_worker(signal.SIGTERM, (0, 75))
    world.start_worker()
    hold(draw, 3)


def worker_paused(world: World, draw: random.Random) -> None:
    """Stop the worker where it stands."""
    worker = world.worker
    assert worker is not None
    world.paused = True
    worker.pause()
    hold(draw, 8)
    worker.resume()
    time.sleep(0.5)  # its tasks take a turn before it is asked whether it is alive
    world.paused = False


def takeover(world: World, draw: random.Random) -> None:
    """Start a second worker: the first one has to go; sometimes it stands still meanwhile."""
    older = world.worker
    assert older is not None
    # One that has just been started could register behind the newer one, and that would have to go.
    older.wait(lambda: older.events("registered"), "the older worker to register", 60)
    paused = draw.random() < 0.5
    if paused:
        older.pause()
    newer = world.start_worker()
    newer.wait(lambda: newer.events("registered"), "the newer worker to register", 60)
    if paused:
        older.resume()
    world.expect_end(older, None, (6,))


def target_killed(world: World, draw: random.Random) -> None:
    """Kill the target and start it again with its append-only file."""
    world.target.kill()
    hold(draw, 1)
    world.target.start()


def target_stopped(world: World, draw: random.Random) -> None:
    """End the target in order and start it again."""
    world.target.restart()


def _paused(server: Server, draw: random.Random) -> None:
    server.pause()
    try:
        hold(draw, 7)
    finally:
        server.resume()


def target_paused(world: World, draw: random.Random) -> None:
    """Stop the target where it stands."""
    _paused(world.target, draw)


def source_paused(world: World, draw: random.Random) -> None:
    """Stop the source where it stands."""
    _paused(world.source, draw)


def connections_killed(world: World, draw: random.Random) -> None:
    """Let a server end the worker's connections itself."""
    if draw.random() < 0.5:
        world.source.client().client_kill_filter(_type="replica")
    else:
        world.target.client().execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def _configured(name: str, value: object, back: object, longest: float) -> Fault:
    def fault(world: World, draw: random.Random) -> None:
        client = world.target.client()
        client.config_set(name, value)
        try:
            hold(draw, longest)
        finally:
            client.config_set(name, back)

    return fault


def _source_link(loss: Loss) -> Fault:
    def fault(world: World, draw: random.Random) -> None:
        loss(world.source, world.source_proxy, TIMEOUT_SECONDS)

    return fault


def read_only(world: World, draw: random.Random) -> None:
    """Make the target a replica of nobody for a while: it takes no writes."""
    client = world.target.client()
    client.replicaof("127.0.0.1", str(NOWHERE))
    try:
        hold(draw, 4)
    finally:
        client.replicaof("NO", "ONE")


def busy(world: World, draw: random.Random) -> None:
    """Let a script hold the target up: it answers BUSY to everybody else."""
    client = world.target.client()

    def run() -> None:
        with suppress(redis.RedisError):  # killed, as it is to be
            client.eval("while true do end", 0)

    thread = threading.Thread(target=run)
    thread.start()
    hold(draw, 3)
    other = world.target.client()
    while thread.is_alive():
        with suppress(redis.ResponseError):  # not running yet, or no more
            other.script_kill()
        thread.join(0.05)


def two_at_once(world: World, draw: random.Random) -> None:
    """Make a fault of a link while something else fails."""
    proxy = _proxy(world, draw)
    proxy.set(draw.choice(DIRECTIONS), latency=draw.uniform(0.005, 0.1), slice=draw.choice((None, 100)))
    FAULTS[draw.choice(("worker killed", "target killed", "takeover", "out of memory", "reset"))](world, draw)
    proxy.heal()


def source_restarted(world: World, draw: random.Random) -> None:
    """Kill the source and start it again: it has lost its replication id, a full sync follows."""
    world.source.restart(kill=draw.random() < 0.5)
    hold(draw, 3)


FAULTS: Final[dict[str, Fault]] = {
    "reset": reset,
    "resets in a row": resets,
    "cut after some bytes": cut,
    "black hole": black_hole,
    "stall": stall,
    "slices": slices,
    "latency": latency,
    "bandwidth": bandwidth,
    "connections refused": refuse,
    "worker killed": worker_killed,
    "worker stopped": worker_stopped,
    "worker paused": worker_paused,
    "takeover": takeover,
    "target killed": target_killed,
    "target restarted": target_stopped,
    "target paused": target_paused,
    "source paused": source_paused,
    "connections killed": connections_killed,
    "out of memory": _configured("maxmemory", 1, 0, 4),
    "too few replicas": _configured("min-replicas-to-write", 1, 0, 4),
    "read only": read_only,
    "busy": busy,
    "two at once": two_at_once,
    **EXPIRY_FAULTS,
    **DATA_FAULTS,
}
# The link to the source alone, lost in one way each, as often as one likes: the backlog holds what is missed.
SOURCE_LINK_FAULTS: Final[dict[str, Fault]] = {
    f"source link: {name}": _source_link(loss) for name, loss in LOSSES.items()
}
# Faults that end in a full sync.
FULL_SYNC_FAULTS: Final[dict[str, Fault]] = {
    "source restarted": source_restarted,
    "backlog lost": backlog_lost,
    "expiries: settled": settled,
    "flushed by somebody": flushed_by_somebody,
}
