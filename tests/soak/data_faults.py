"""Faults of what is written: a right or memory that the target lacks, a kill right behind writes, a flush."""

from __future__ import annotations

import math
import random
import signal
import time
from typing import Final

from tests.soak.world import Fault, World, hold
from tests.soak.writes import WRITES, Write

RIGHTS: Final = ("incr", "rpush", "set", "hset", "del", "pexpireat", "@write", "exec")


def right_taken(world: World, draw: random.Random) -> None:
    """Take a right of the worker away and give it back: for a while, or often, in the middle of transactions."""
    client = world.target.client()
    right = draw.choice(RIGHTS)
    until = time.monotonic() + draw.uniform(0.5, 4)
    flicker = draw.random() < 0.7
    try:
        while time.monotonic() < until:
            client.execute_command("ACL", "SETUSER", "default", f"-{right}")
            time.sleep(draw.uniform(0, 0.01) if flicker else until - time.monotonic())
            client.execute_command("ACL", "SETUSER", "default", "+@all")
            time.sleep(draw.uniform(0, 0.01))
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+@all")


def full_while_deleting(world: World, draw: random.Random) -> None:
    """Leave the target no memory while the source deletes."""
    client = world.source.client(db=draw.choice((0, 1, 5)))
    keys = [f"mass:{number}" for number in range(2000)]
    for start in range(0, len(keys), 500):
        pipeline = client.pipeline(transaction=False)
        for key in keys[start : start + 500]:
            pipeline.set(key, key * 20)
        pipeline.execute()
    hold(draw, 1)
    target = world.target.client()
    target.config_set("maxmemory", max(1, int(world.target.info("memory")["used_memory"]) * 9 // 10))
    try:
        for start in range(0, len(keys), 100):
            client.unlink(*keys[start : start + 100])
        hold(draw, 5)
    finally:
        target.config_set("maxmemory", 0)


def killed_behind_writes(world: World, draw: random.Random) -> None:
    """Kill the worker right behind writes of every kind, several times."""
    for _ in range(draw.randrange(1, 4)):
        for name in draw.sample([name for name in WRITES if not name.startswith("big")], 3):
            WRITES[name](world.source, draw)
        time.sleep(draw.uniform(0, 0.03))
        world.end_worker(signal.SIGKILL, (-signal.SIGKILL,))
        worker = world.start_worker()
        if draw.random() < 0.7:
            worker.wait(lambda worker=worker: worker.events("registered"), "the worker to register", 60)


def flushed_by_somebody(world: World, draw: random.Random) -> None:
    """Flush the target behind the worker's back: it has to notice, and to synchronise again."""
    begin = time.time()
    world.emptied.append((begin, math.inf))
    world.target.client().flushall()
    hold(draw, 3)
    world.settle(prove=False)
    world.emptied[-1] = (begin, time.time())


def _written(write: Write) -> Fault:
    def fault(world: World, draw: random.Random) -> None:
        for _ in range(draw.randrange(1, 6)):
            write(world.source, draw)
            hold(draw, 0.3)

    return fault


DATA_FAULTS: Final[dict[str, Fault]] = {
    "right taken": right_taken,
    "full while deleting": full_while_deleting,
    "killed behind writes": killed_behind_writes,
}
# Alone by `--only writes`; otherwise a thread makes them all the time.
WRITE_FAULTS: Final[dict[str, Fault]] = {f"writes: {name}": _written(write) for name, write in WRITES.items()}
