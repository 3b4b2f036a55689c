"""Sample data and live load: keys of every type, and a writer that keeps changing them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Self

import hiredis
import redis

from shaker.errors import LinkError

Argument = bytes | str | int | float
Command = tuple[Argument, ...]

DATABASES = (0, 1, 5)
_CHUNK = 1000  # commands written at once while seeding: some 150 kB, less than a socket buffer holds
_FAR = 30 * 86400  # seconds: no demonstration and no test lasts that long

_SCRIPT = (
    "redis.call('INCRBY', KEYS[1], ARGV[1]) redis.call('RPUSH', KEYS[2], ARGV[1]) "
    "redis.call('HSET', KEYS[3], ARGV[1], redis.call('GET', KEYS[1])) return redis.call('LTRIM', KEYS[2], -50, -1)"
)
_NEXT_FIVE = (b"COUNT", 5, b"STREAMS")  # arguments of XREADGROUP
# Reads as a consumer and acknowledges all but the first entry; without a group it fails as a whole.
_ACKNOWLEDGE = (
    "local got = redis.call('XREADGROUP', 'GROUP', 'readers', 'reader:9', 'COUNT', 5, 'STREAMS', KEYS[1], '>') "
    "if not got then return 0 end "
    "for i = 2, #got[1][2] do redis.call('XACK', KEYS[1], 'readers', got[1][2][i][1]) end"
)


class Sampler:
    """Draws keys and writing commands from a seed: one seed draws one sequence. Not safe between threads.

    `shortest_expiry` is the minimum time to live of a written key, in milliseconds.
    """

    def __init__(self, seed: int, *, shortest_expiry: int = 50) -> None:
        self.random = random.Random(seed)  # noqa: S311  sample data, no secret
        self._noise = self.random.randbytes(1 << 16)
        self._shortest = shortest_expiry
        self._drawn = 0

    def value(self, size: int) -> bytes:
        """Return `size` bytes, at most 60,000, that do not compress."""
        start = self.random.randrange(len(self._noise) - size)
        return self._noise[start : start + size]

    def number(self, below: int) -> int:
        """Return a number of 0 to `below` - 1."""
        return int(self.random.random() * below)

    def seed(self, index: int) -> list[Command]:
        """Return the commands that make the key `index`: of ten keys six are strings, one each of the rest."""
        kind, number = index % 20, self.number
        if kind < 12:
            key = b"sample:string:%d" % index
            if kind == 0:
                return [(b"SET", key, index)]
            if kind == 1:
                # Most expire long after the end, a few during the demonstration.
                soon = max(20, self._shortest // 1000) + number(40)
                return [(b"SET", key, self.value(100), b"EX", soon if index % 2000 == 1 else _FAR)]
            return [(b"SET", key, self.value(60 + number(80)))]
        if kind < 14:
            fields = [item for field in range(3 + number(6)) for item in (b"field:%d" % field, self.value(20))]
            key = b"sample:hash:%d" % index
            return [(b"HSET", key, *fields), *([(b"EXPIRE", key, _FAR)] if kind == 13 else [])]
        if kind < 16:
            return [(b"RPUSH", b"sample:list:%d" % index, *(self.value(16) for _ in range(3 + number(10))))]
        if kind == 16:
            return [(b"SADD", b"sample:set:%d" % index, *(number(1 << 40) for _ in range(3 + number(10))))]
        if kind == 17:
            return [(b"SADD", b"sample:set:%d" % index, *(self.value(16) for _ in range(3 + number(10))))]
        if kind == 18:
            pairs = [item for _ in range(3 + number(10)) for item in (number(1 << 30) / 1024, self.value(12))]
            return [(b"ZADD", b"sample:zset:%d" % index, *pairs)]
        key = b"sample:stream:%d" % index
        added: list[Command] = [
            (b"XADD", key, b"%d-1" % (entry + 1), b"field", self.value(20)) for entry in range(2 + number(3))
        ]
        return [*added, *([(b"XGROUP", b"CREATE", key, b"readers", b"0")] if index % 100 == 19 else [])]

    def write(self, keys: int = 500) -> list[Command]:
        """Return the commands of one random writing operation on some of `keys` keys of each type.

        The server refuses some, such as a RENAME of a missing key: as in real life.
        """
        self._drawn += 1
        return self._draw(self.number(36), keys)

    def _key(self, kind: bytes, keys: int) -> bytes:
        return b"live:%s:%d" % (kind, self.number(keys))

    def _draw(self, choice: int, keys: int) -> list[Command]:
        number, value, drawn, shortest = self.number, self.value, self._drawn, self._shortest
        string, counter, items = self._key(b"string", keys), self._key(b"counter", keys), self._key(b"list", keys)
        record, members, ranks = self._key(b"hash", keys), self._key(b"set", keys), self._key(b"zset", keys)
        stream = self._key(b"stream", 1 + keys // 10)
        table: tuple[list[Command], ...] = (
            [(b"SET", string, value(100))],
            [(b"SET", string, value(20), b"PX", shortest + number(5000))],
            [(b"SETEX", string, 1 + shortest // 1000 + number(600), value(50))],
            [(b"GETEX", string, b"EX", max(100, shortest // 1000) + number(600))],
            [(b"APPEND", string, value(8))],
            [(b"SETRANGE", string, number(200), value(8))],
            [(b"INCR", counter)],
            [(b"INCRBYFLOAT", self._key(b"float", keys), number(1000) / 8)],
            [(b"RPUSH", items, b"item:%d" % drawn)],
            [(b"LPUSH", items, value(12), value(12))],
            [(b"LPOP", items)],
            [(b"LMOVE", items, self._key(b"list", keys), b"LEFT", b"RIGHT")],
            [(b"LTRIM", items, -100, -1)],
            [(b"HSET", record, b"field:%d" % number(20), value(20), b"last", drawn)],
            [(b"HINCRBY", record, b"count", 1)],
            [(b"HDEL", record, b"field:%d" % number(20))],
            [(b"SADD", members, number(1000), number(1000))],
            [(b"SPOP", members)],
            [(b"SMOVE", members, self._key(b"set", keys), number(1000))],
            [(b"SUNIONSTORE", self._key(b"set", keys), members, self._key(b"set", keys))],
            [(b"ZADD", ranks, number(1000), b"member:%d" % number(50))],
            [(b"ZINCRBY", ranks, 1.5, b"member:%d" % number(50))],
            [(b"ZPOPMIN", ranks)],
            [(b"XADD", stream, b"MAXLEN", b"~", 200, b"*", b"field", value(20))],
            [(b"XGROUP", b"CREATE", stream, b"readers", b"$", b"MKSTREAM"), (b"XADD", stream, b"*", b"n", drawn)],
            [(b"XREADGROUP", b"GROUP", b"readers", b"reader:%d" % number(3), *_NEXT_FIVE, stream, b">")],
            [(b"EVAL", _ACKNOWLEDGE, 1, stream), (b"XAUTOCLAIM", stream, b"readers", b"reader:0", 1, b"0")],
            [(b"MULTI",), (b"INCR", counter), (b"RPUSH", items, drawn), (b"HSET", record, b"multi", 1), (b"EXEC",)],
            [(b"EVAL", _SCRIPT, 3, counter, items, record, drawn % 1000)],
            [(b"EXPIRE", record, 1 + shortest // 1000 + number(1000)), (b"PERSIST", self._key(b"hash", keys))],
            [(b"PEXPIRE", counter, shortest + number(100_000)), (b"EXPIRE", items, 1000)],
            [(b"RENAME", string, self._key(b"string", keys))],
            [(b"COPY", members, self._key(b"set", keys), b"REPLACE")],
            [(b"DEL", string, counter) if number(2) else (b"UNLINK", items, record)],
            [
                (b"PFADD", self._key(b"hyperloglog", keys), drawn),
                (b"SETBIT", self._key(b"bits", keys), number(999), 1),
            ],
            [
                (b"BITFIELD", self._key(b"bits", keys), b"INCRBY", b"u8", number(64), 1),
                (b"SORT", items, b"ALPHA", b"STORE", self._key(b"list", keys)),
            ],
        )
        return table[choice]


def pack(commands: Iterable[Command]) -> bytes:
    """Return the commands as bytes of the protocol."""
    return b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]


def seed(client: redis.Redis, keys: int, seed: int = 0, *, shortest_expiry: int = 50) -> None:
    """Write `keys` sample keys of every type into the database of `client`, some 200,000 a second.

    `shaker.errors.LinkError` if the server refuses any of the commands.
    """
    sampler = Sampler(seed, shortest_expiry=shortest_expiry)
    before = _refused(client)
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        # Without replies nothing waits: at the end, the server reports its errors.
        connection.send_packed_command([pack([(b"CLIENT", b"REPLY", b"OFF")])])  # type: ignore[no-untyped-call]
        for start in range(0, keys, _CHUNK):
            commands: list[Command] = []
            for index in range(start, min(keys, start + _CHUNK)):
                commands += sampler.seed(index)
            connection.send_packed_command([pack(commands)])  # type: ignore[no-untyped-call]
        connection.send_packed_command([pack([(b"CLIENT", b"REPLY", b"ON")])])  # type: ignore[no-untyped-call]
        connection.read_response()
    except BaseException:
        connection.disconnect()  # type: ignore[no-untyped-call]
        raise
    finally:
        pool.release(connection)
    if refused := _refused(client) - before:
        raise LinkError(f"the server refused {refused} commands of the sample data")


def _refused(client: redis.Redis) -> int:
    return int(client.info("stats").get("total_error_replies", 0))  # Redis 5.0 does not count them


class Load:
    """A thread that writes random operations into the databases DATABASES until stopped. A context manager.

    `rate` is in operations per second, None for as fast as one client can. It retries an unreachable server
    until `stop`. `operations` counts answered operations, `refused` the commands answered with an error.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        seed: int = 1,
        rate: float | None = 2000,
        keys: int = 500,
        batch: int = 50,
        shortest_expiry: int = 50,
    ) -> None:
        self.operations = 0
        self.refused = 0
        self.lost_connections = 0
        self.failure: BaseException | None = None
        self._client = client
        self._sampler = Sampler(seed, shortest_expiry=shortest_expiry)
        self._rate = rate
        self._keys = keys
        self._batch = batch if rate is None else max(1, min(batch, int(rate / 20)))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> Self:
        """Start to write."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop after the current batch; raises the exception that ended the thread early."""
        self._stopped.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                try:
                    self._write()
                except redis.AuthenticationError:
                    raise
                except (redis.ConnectionError, redis.TimeoutError):
                    self.lost_connections += 1
                    self._stopped.wait(0.05)
        except BaseException as error:
            self.failure = error

    def _write(self) -> None:
        pool = self._client.connection_pool
        connection = pool.get_connection()
        started, done = time.monotonic(), 0
        try:
            while not self._stopped.is_set():
                database: Command = (b"SELECT", DATABASES[self._sampler.number(len(DATABASES))])
                commands = [database]
                for _ in range(self._batch):
                    commands += self._sampler.write(self._keys)
                self._exchange(connection, commands)
                self.operations += self._batch
                done += self._batch
                if self._rate is not None:
                    self._stopped.wait(max(0.0, started + done / self._rate - time.monotonic()))
        finally:
            connection.disconnect()  # type: ignore[no-untyped-call]
            pool.release(connection)

    def _exchange(self, connection: redis.connection.AbstractConnection, commands: Sequence[Command]) -> None:
        connection.send_packed_command([pack(commands)])  # type: ignore[no-untyped-call]
        for _ in commands:
            try:
                connection.read_response()
            except redis.ResponseError:
                self.refused += 1

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
