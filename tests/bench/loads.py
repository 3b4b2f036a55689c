"""The commands that the stream is measured with, written to files once: `redis-cli --pipe` sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from shaker.commands.sample import Command, pack
from tests.support.servers import Server

VALUE_BYTES = 100
LAST = "last"  # the key that the last command of every load sets
_VALUE = b"x" * VALUE_BYTES
_LARGE = b"x" * 10_000
_FAR = 4_102_444_800_000  # Unix milliseconds: no key expires while it is measured
_FIELDS = tuple(item for field in range(10) for item in (b"field:%d" % field, b"value of some bytes"))


class Load(NamedTuple):
    """A kind of write: how many of it are one of the smallest, and what number n of it is."""

    weight: int
    commands: Callable[[int], list[Command]]


LOADS = {
    "SET 100 B": Load(1, lambda n: [(b"SET", b"key:%d" % n, _VALUE)]),
    # As the source replicates SET PX and EXPIRE.
    "SET, EXPIRE": Load(
        2,
        lambda n: [(b"SET", b"key:%d" % n, _VALUE, b"PXAT", _FAR), (b"PEXPIREAT", b"key:%d" % (n // 2), _FAR + n)],
    ),
    "INCR": Load(1, lambda n: [(b"INCR", b"counter:%d" % (n % 1000))]),
    "SET 10 KB": Load(50, lambda n: [(b"SET", b"key:%d" % n, _LARGE)]),
    "HSET 10 fields": Load(5, lambda n: [(b"HSET", b"key:%d" % n, *_FIELDS)]),
    "MULTI of 5": Load(
        5, lambda n: [(b"MULTI",), *((b"SET", b"key:%d" % (5 * n + k), _VALUE) for k in range(5)), (b"EXEC",)]
    ),
}


def write_load(path: Path, kind: str, commands: int) -> None:
    """Write `commands` commands of 100 bytes, or as much of a heavier kind, to `path`; the last one sets LAST."""
    load = LOADS[kind]
    count = max(1, commands // load.weight)
    with path.open("wb") as file:
        for start in range(0, count, 1000):
            numbers = range(start, min(count, start + 1000))
            file.write(pack([command for number in numbers for command in load.commands(number)]))
        file.write(pack([(b"SET", LAST, b"1")]))


def write_restores(source: Server, path: Path) -> None:
    """Write the keys of `source` as RESTORE commands to `path`."""
    client = source.client(protocol=2)
    with path.open("wb") as file:
        for keys in _scanned(client):
            pipeline = client.pipeline(transaction=False)
            for key in keys:
                pipeline.dump(key)
                pipeline.pexpiretime(key)
            replies = pipeline.execute()
            commands: list[Command] = [
                (b"RESTORE", key, max(0, expiry), payload, b"REPLACE", b"ABSTTL")
                for key, payload, expiry in zip(keys, replies[::2], replies[1::2], strict=True)
                if payload is not None
            ]
            file.write(pack(commands))


def _scanned(client: object) -> Iterator[list[bytes]]:
    cursor = 0
    while True:
        cursor, keys = client.scan(cursor, count=1000)  # type: ignore[attr-defined]
        yield keys
        if cursor == 0:
            return
