"""Faults around expiries: an outage that outlasts them while the source renews, and a clock that moves."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import redis

from tests.soak.world import Fault, World, hold
from tests.soak.writes import BIG
from tests.support.servers import wait_until

TTL: Final = 3.0  # seconds that the keys live without a renewal
# The outage lasts for the expiry, the margin that the worker adds, and some more.
OUTAGE: Final = TTL + 2.0 + 1.5
SETTLED_TTL: Final = 15.0  # the same of keys that come by a full sync
KEYS: Final = 50
LAST_TTL: Final = 1000
SHIFT: Final = 0.4  # seconds: a quarter of what the margin allows for
FIELD_EXPIRIES: Final = ("redis-8.0", "valkey-9.1")
DATABASES: Final = (0, 1, 5)


class _Keys:
    """Keys of several types in one database that live for `ttl` seconds; one in six is left to expire."""

    def __init__(self, world: World, draw: random.Random, ttl: float) -> None:
        self._milliseconds = round(ttl * 1000)
        self._world = world
        self._client: redis.Redis = world.source.client(db=draw.choice(DATABASES))
        self._prefix = f"outage:{draw.randrange(4)}:"
        self._big = draw.random() < 0.5
        self._names = [self._prefix + str(number) for number in range(KEYS)]
        self._renewed = [name for number, name in enumerate(self._names) if number % 6]
        self._fields = world.source.name in FIELD_EXPIRIES

    def write(self) -> None:
        # In one transaction: the load swaps and empties databases at any time.
        dumping = self._client.pipeline().set(self._prefix + "dumped", 1000).dump(self._prefix + "dumped")
        _, dumped = dumping.execute()
        pipeline = self._client.pipeline(transaction=False)
        pipeline.delete(*self._names, self._prefix + "big", self._prefix + "fields")
        for number, name in enumerate(self._names):
            match number % 5:
                case 0:
                    pipeline.set(name, 1000)
                case 4:
                    pipeline.restore(name, self._milliseconds, dumped)
                    continue
                case 1:
                    pipeline.hset(name, mapping={"first": 1, "second": 2, "count": 1000})
                case 2:
                    pipeline.rpush(name, *range(10))
                case _:
                    pipeline.zadd(name, {"member": 1000, "other": 1})
            pipeline.pexpire(name, self._milliseconds)
        if self._big:
            pipeline.set(self._prefix + "big", random.randbytes(BIG), px=self._milliseconds)
        if self._fields:
            pipeline.hset(self._prefix + "fields", mapping={f"field:{number}": number for number in range(20)})
        pipeline.execute()
        self._renew_fields(self._milliseconds)

    def renew(self, milliseconds: int = 0) -> None:
        milliseconds = milliseconds or self._milliseconds
        pipeline = self._client.pipeline(transaction=False)
        for name in self._renewed:
            pipeline.pexpire(name, milliseconds)
        if self._big:
            pipeline.pexpire(self._prefix + "big", milliseconds)
        pipeline.execute()
        self._renew_fields(milliseconds)

    def _renew_fields(self, milliseconds: int) -> None:
        if self._fields:
            names = [f"field:{number}" for number in range(20) if number % 5]
            key = self._prefix + "fields"
            self._client.execute_command("HPEXPIRE", key, milliseconds, "FIELDS", len(names), *names)

    def use(self) -> None:
        """Give all keys that are renewed a long life, and write to them."""
        self.renew(LAST_TTL * 1000)
        pipeline = self._client.pipeline(transaction=False)
        for number, name in enumerate(self._names):
            if name not in self._renewed:
                continue
            match number % 5:
                case 0 | 4:
                    pipeline.incr(name)
                case 1:
                    pipeline.hincrby(name, "count", 1)
                case 2:
                    pipeline.rpush(name, "last")
                case _:
                    pipeline.zincrby(name, 1, "member")
        if self._big:
            pipeline.append(self._prefix + "big", "last")
        pipeline.execute()


def _target_out(world: World) -> Callable[[], None]:
    world.target_proxy.refuse()
    world.target_proxy.reset()
    return world.target_proxy.accept


def _source_out(world: World) -> Callable[[], None]:
    world.source_proxy.refuse()
    world.source_proxy.reset()
    return world.source_proxy.accept


def _worker_out(world: World) -> Callable[[], None]:
    world.end_worker(signal.SIGKILL, (-signal.SIGKILL,))

    def back() -> None:
        world.start_worker()

    return back


def _worker_still(world: World) -> Callable[[], None]:
    worker = world.worker
    assert worker is not None
    world.paused = True
    worker.pause()

    def back() -> None:
        worker.resume()
        time.sleep(0.5)  # its tasks take a turn before it is asked whether it is alive
        world.paused = False

    return back


def _outage(begin: Callable[[World], Callable[[], None]]) -> Fault:
    def fault(world: World, draw: random.Random) -> None:
        keys = _Keys(world, draw, TTL)
        keys.write()
        hold(draw, 1.0)  # most of the time the target has them; sometimes they come in the middle of the outage
        end = begin(world)
        began = time.monotonic()
        late = draw.random() < 0.5
        try:
            while time.monotonic() - began < OUTAGE:
                keys.renew()
                time.sleep(TTL / 4)
            if not late:
                keys.use()
        finally:
            end()
        if late:
            keys.renew()
            hold(draw, TTL / 4)
            keys.use()

    return fault


def settled(world: World, draw: random.Random) -> None:
    """Let keys come by a full sync, and renew them once while the worker is away past the expiries that it set."""
    keys = _Keys(world, draw, SETTLED_TTL)
    lose_backlog(world, keys.write)
    began = time.monotonic()
    worker = world.worker
    assert worker is not None
    with suppress(AssertionError):  # a full sync has to wait if there was one just now
        worker.wait_status(
            lambda status: status["state"] == "streaming" and not status["expiries"]["pending"],
            "true expiries",
            began + SETTLED_TTL - 1 - time.monotonic(),
        )
    end = draw.choice((_worker_still, _worker_out, _target_out, _source_out))(world)
    try:
        keys.use()
        time.sleep(max(0.0, began + SETTLED_TTL + OUTAGE - TTL - time.monotonic()))
    finally:
        end()


def lose_backlog(world: World, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Keep the worker away until the source has freed its backlog, and call `meanwhile`: a full sync follows.

    Without replicas that happens after `repl-backlog-ttl`; a small `repl-backlog-size` would still leave the last
    of its blocks, a sixteenth of the old size.
    """
    client = world.source.client()
    client.config_set("repl-backlog-ttl", 1)
    world.source_proxy.refuse()
    world.source_proxy.reset()
    try:
        wait_until(lambda: world.source.info()["repl_backlog_active"] == 0, "the backlog to be freed", 10)
        meanwhile()
    finally:
        world.source_proxy.accept()
        client.config_set("repl-backlog-ttl", 3600)


def backlog_lost(world: World, draw: random.Random) -> None:
    """Free the source's backlog: a full sync follows."""
    lose_backlog(world)
    hold(draw, 4)


def clock_shifted(world: World, draw: random.Random) -> None:
    """Move the target's clock a little, as a correction by NTP does."""
    world.clock.set(world.difference + draw.uniform(-SHIFT, SHIFT))
    hold(draw, 5)


EXPIRY_FAULTS: Final[dict[str, Fault]] = {
    "expiries: target out": _outage(_target_out),
    "expiries: source out": _outage(_source_out),
    "expiries: worker killed": _outage(_worker_out),
    "expiries: worker paused": _outage(_worker_still),
    "clock shifted": clock_shifted,
}
