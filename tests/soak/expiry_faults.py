"""Faults around expiries: an outage that outlasts them while the source renews, and a clock that moves."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from typing import Final

import redis

from tests.soak.world import Fault, World, hold
from tests.soak.writes import BIG

TTL: Final = 3.0  # seconds that the keys live without a renewal
# The outage lasts for the expiry, the margin that the worker adds, and some more.
OUTAGE: Final = TTL + 2.0 + 1.5
KEYS: Final = 50
LAST_TTL: Final = 1000
SHIFT: Final = 0.4  # seconds: a quarter of what the margin allows for
FIELD_EXPIRIES: Final = ("redis-8.0", "valkey-9.1")
DATABASES: Final = (0, 1, 5)


class _Keys:
    """Keys of TTL seconds, of several types, in one database; one in five is left to expire."""

    def __init__(self, world: World, draw: random.Random) -> None:
        self._world = world
        self._client: redis.Redis = world.source.client(db=draw.choice(DATABASES))
        self._prefix = f"outage:{draw.randrange(4)}:"
        self._big = draw.random() < 0.3
        self._names = [self._prefix + str(number) for number in range(KEYS)]
        self._renewed = [name for number, name in enumerate(self._names) if number % 5]
        self._fields = world.source.name in FIELD_EXPIRIES

    def write(self) -> None:
        pipeline = self._client.pipeline(transaction=False)
        pipeline.delete(*self._names, self._prefix + "big", self._prefix + "fields")
        for number, name in enumerate(self._names):
            match number % 4:
                case 0:
                    pipeline.set(name, 1000)
                case 1:
                    pipeline.hset(name, mapping={"first": 1, "second": 2, "count": 1000})
                case 2:
                    pipeline.rpush(name, *range(10))
                case _:
                    pipeline.zadd(name, {"member": 1000, "other": 1})
            pipeline.pexpire(name, round(TTL * 1000))
        if self._big:
            pipeline.set(self._prefix + "big", random.randbytes(BIG), px=round(TTL * 1000))
        if self._fields:
            pipeline.hset(self._prefix + "fields", mapping={f"field:{number}": number for number in range(20)})
        pipeline.execute()
        self._renew_fields(round(TTL * 1000))

    def renew(self, milliseconds: int = round(TTL * 1000)) -> None:
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
            match number % 4:
                case 0:
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
        keys = _Keys(world, draw)
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
