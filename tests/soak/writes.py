"""Writes that the load lacks: several databases, big values, functions, RESTORE, refused commands and scripts."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Self

import redis

from tests.support.servers import OLD, Server

MIB: Final = 1 << 20
BIG: Final = 5 * MIB
DATABASES: Final = (0, 1, 3, 5, 11)
FLUSHED: Final = (7, 8)  # nobody else writes there
SWAPPED: Final = ((1, 5), (6, 7), (3, 11))
NAMES: Final = 40  # keys of each kind, so that the data do not grow
BETWEEN: Final = (0.05, 1.0)  # seconds between two of them

# A function with writes; the version in its code makes each load a change.
_LIBRARY: Final = """#!lua name=soak
local function count(keys, args)
  redis.call('INCR', keys[1])
  redis.call('RPUSH', keys[2], args[1], '{version}')
  return redis.call('LTRIM', keys[2], -20, -1)
end
redis.register_function('soak_count', count)
"""
_FAILS: Final = (
    "redis.call('INCR', KEYS[1]) redis.pcall('LPUSH', KEYS[1], 1) redis.call('HSET', KEYS[2], 'n', ARGV[1]) "
    "return redis.call('LPUSH', KEYS[1], 2)"
)

Write = Callable[[Server, random.Random], None]


def several_databases(source: Server, draw: random.Random) -> None:
    """Write to one database after the other, in transactions as well; many keys live for seconds."""
    for database in draw.sample(range(16), 6):
        pipeline = source.client(db=database).pipeline(transaction=draw.random() < 0.5)
        number = draw.randrange(NAMES)
        pipeline.incr(f"several:{number}")
        pipeline.hset(f"several:hash:{number}", mapping={"field": number, "other": draw.random()})
        if draw.random() < 0.5:
            pipeline.pexpire(f"several:{number}", draw.randrange(500, 6000))
            pipeline.expire(f"several:hash:{number}", draw.randrange(1, 9))
        pipeline.execute()


def swapped_databases(source: Server, draw: random.Random) -> None:
    """Swap two databases; or move the worker's own records away and back within one transaction."""
    if draw.random() < 0.7:
        source.client().swapdb(*draw.choice(SWAPPED))
        return
    pipeline = source.client().pipeline(transaction=True)
    pipeline.swapdb(0, 9)
    pipeline.set("swapped", draw.random())
    pipeline.swapdb(0, 9)
    pipeline.execute()


def flushed_database(source: Server, draw: random.Random) -> None:
    """Write to a database and flush it, with writes behind it in the same transaction at times."""
    client = source.client(db=draw.choice(FLUSHED))
    pipeline = client.pipeline(transaction=draw.random() < 0.5)
    for number in range(draw.randrange(1, 200)):
        pipeline.set(f"flushed:{number}", draw.random(), px=draw.choice((None, 5000)))
    pipeline.flushdb(asynchronous=draw.random() < 0.5)
    pipeline.set("flushed:last", draw.random())
    pipeline.execute()


def big_string(source: Server, draw: random.Random) -> None:
    """Write a string of 5 MB, add to one, give one an expiry, or delete one."""
    client = source.client(db=draw.choice(DATABASES[:3]))
    key = f"big:{draw.randrange(2)}"
    match draw.randrange(4):
        case 0:
            client.set(key, draw.randbytes(BIG))
        case 1:
            client.set(key, draw.randbytes(BIG), px=draw.randrange(2000, 8000))
        case 2 if 0 < client.strlen(key) < 2 * BIG:
            client.append(key, draw.randbytes(MIB))
            client.setrange(key, draw.randrange(BIG), b"changed")
        case _:
            client.delete(key)


def big_transaction(source: Server, draw: random.Random) -> None:
    """Write 20 MB in one transaction, and remove most of it again."""
    client = source.client(db=draw.choice(DATABASES[:3]))
    pipeline = client.pipeline(transaction=True)
    for number in range(4):
        pipeline.set(f"big:transaction:{number}", draw.randbytes(BIG))
        pipeline.incr("big:transactions")
    pipeline.execute()
    client.unlink(*(f"big:transaction:{number}" for number in range(1, 4)))


def functions(source: Server, draw: random.Random) -> None:
    """Replace a library, call its function, and delete it at times."""
    client = source.client(db=draw.choice(DATABASES))
    if source.name in OLD:
        return
    client.function_load(_LIBRARY.format(version=draw.randrange(1 << 30)), replace=True)
    for _ in range(draw.randrange(1, 20)):
        number = draw.randrange(NAMES)
        client.fcall("soak_count", 2, f"function:{number}", f"function:list:{number}", str(draw.random()))
    if draw.random() < 0.2:
        client.function_delete("soak")


def restored(source: Server, draw: random.Random) -> None:
    """Copy keys of the load by DUMP and RESTORE, with and without an expiry."""
    client = source.client(db=draw.choice((0, 1, 5)))
    for number in range(draw.randrange(1, 8)):
        if (key := client.randomkey()) is None:
            return
        if key.startswith(b"big:") or (payload := client.dump(key)) is None:
            continue
        life = draw.choice((0, 0, 2500, 600_000))
        client.restore(f"restored:{number}", life, payload, replace=True)


def refused(source: Server, draw: random.Random) -> None:
    """Send commands that the source refuses: alone and within transactions, between writes that it takes."""
    client = source.client(db=draw.choice(DATABASES))
    number = draw.randrange(NAMES)
    pipeline = client.pipeline(transaction=draw.random() < 0.5)
    pipeline.set(f"refused:string:{number}", "text")
    pipeline.lpush(f"refused:string:{number}", 1)
    pipeline.incr(f"refused:string:{number}")
    pipeline.sadd(f"refused:set:{number}", draw.randrange(100))
    pipeline.hset(f"refused:set:{number}", "field", 1)
    pipeline.incr(f"refused:counter:{number}")
    pipeline.execute(raise_on_error=False)


def scripts(source: Server, draw: random.Random) -> None:
    """Run scripts that fail after they have written: what they have written stays."""
    client = source.client(db=draw.choice(DATABASES))
    number = draw.randrange(NAMES)
    for _ in range(draw.randrange(1, 10)):
        with suppress(redis.ResponseError):
            client.eval(_FAILS, 2, f"script:{number}", f"script:hash:{number}", str(draw.random()))


def deleted(source: Server, draw: random.Random) -> None:
    """Write many keys and delete them in one command."""
    client = source.client(db=draw.choice(DATABASES))
    keys = [f"deleted:{number}" for number in range(draw.randrange(10, 500))]
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.set(key, key, px=draw.choice((None, 3000)))
    pipeline.execute()
    (client.delete if draw.random() < 0.5 else client.unlink)(*keys)


WRITES: Final[dict[str, Write]] = {
    "several databases": several_databases,
    "swapped databases": swapped_databases,
    "flushed database": flushed_database,
    "big string": big_string,
    "big transaction": big_transaction,
    "functions": functions,
    "restored": restored,
    "refused": refused,
    "scripts": scripts,
    "deleted": deleted,
}
# Big values are rare: the source's backlog has to hold what is missed in an outage.
_WEIGHTS: Final = {"big string": 1, "big transaction": 0.4}
_COMMON: Final = 4


class SpecialWrites:
    """A thread that makes one of WRITES at random now and then. A context manager; `made` counts them by name."""

    def __init__(self, source: Server, seed: int) -> None:
        self.made: Counter[str] = Counter()
        self._source = source
        self._draw = random.Random(seed)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="special writes", daemon=True)
        self._failure: BaseException | None = None

    def stop(self) -> None:
        """Write no more; raises what ended the thread early."""
        self._stopped.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        names = list(WRITES)
        weights = [_WEIGHTS.get(name, _COMMON) for name in names]
        try:
            while not self._stopped.wait(self._draw.uniform(*BETWEEN)):
                name = self._draw.choices(names, weights)[0]
                # The source is killed, paused and restarted by the faults.
                with suppress(redis.ConnectionError, redis.TimeoutError):
                    WRITES[name](self._source, self._draw)
                    self.made[name] += 1
        except BaseException as error:
            self._failure = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()
