"""Snapshots of real servers: every value type in every encoding that the server writes, made once for a session."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest
import redis

from tests.support.servers import Server

LIBRARY = b"#!lua name=lib\nredis.register_function('answer', function() return 42 end)\n"
FAR = 4102444800123  # an expiry of 2100, in milliseconds
STREAM = b"stream:groups"


class Saved(NamedTuple):
    """An RDB, and what its server said of each (database, key) when it wrote it."""

    rdb: bytes
    dumps: dict[tuple[int, bytes], bytes]
    digests: dict[tuple[int, bytes], object]
    expiries: dict[tuple[int, bytes], int]
    libraries: list[bytes]


def fill(server: Server) -> None:
    """Give the server keys of every kind that it knows."""
    noise = random.Random(7).randbytes
    client = server.client()
    version = server.name
    for key in (
        b"5",
        b"-300",
        b"70000",
        b"-2147483648",
        b"12345678901234",
        b"",
        b"\xff\x00\n",
        b"k" * 300,
        b"x" * 70_000,
    ):
        client.set(key, b"of " + key[:10])
    client.set(noise(70_000), b"behind a long key")
    numbers = (b"0", b"-128", b"127", b"-32768", b"32767", b"2147483647", b"-2147483649", b"9223372036854775807")
    for number in numbers:
        client.set(b"number:" + number, number)
    for size in (0, 1, 62, 63, 64, 100, 16383, 16384, 70_000):
        client.set(b"noise:%d" % size, noise(size))
        client.set(b"plain:%d" % size, b"ab" * (size // 2) + b"c" * (size % 2))
    client.set("expiring", "v", pxat=FAR)
    client.rpush("list:small", *range(20))
    client.rpush("list:long", *[noise(40) for _ in range(1500)])
    if version != "redis-6.2":
        client.execute_command("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "200b")
        client.rpush("list:plain", b"a", noise(3000), b"b", b"c" * 4000)
        client.execute_command("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "0")
    client.sadd("set:int16", 1, 2, 3)
    client.sadd("set:int64", 1, 2**40, -(2**50))
    client.sadd("set:small", "a", "b", 3)
    client.sadd("set:big", *[b"%d:" % n + noise(20) for n in range(600)])
    client.zadd("zset:small", {"a": 1.5, "b": float("inf"), "c": -3})
    client.zadd("zset:big", {b"%d:" % n + noise(70): n * 0.37 for n in range(300)} | {b"low": float("-inf")})
    client.hset("hash:small", mapping={"f": "v", "g": 12})
    client.hset("hash:big", mapping={b"%d" % n: noise(30) for n in range(700)} | {b"text": b"z" * 500})
    client.expireat("hash:big", FAR // 1000)
    fill_streams(client)
    if version in ("redis-8.0", "valkey-9.1"):
        client.hset("hash:fields-expire", mapping={"a": "1", "b": "2", "c": "3"})
        client.execute_command("HPEXPIREAT", "hash:fields-expire", FAR, "FIELDS", 1, "b")
        client.hset("hash:many-expire", mapping={b"%d" % n: noise(80) for n in range(700)})
        for n in range(0, 700, 7):
            client.execute_command("HPEXPIREAT", "hash:many-expire", FAR + n, "FIELDS", 1, n)
    if version != "redis-6.2":
        client.execute_command("FUNCTION", "LOAD", LIBRARY)
    other = server.client(db=3)
    other.set("expiring", "in database 3", pxat=FAR + 1)
    other.set("plain", "in database 3")
    server.client(db=15).rpush("list", "in", "database", 15)


def fill_streams(client: redis.Redis) -> None:
    """Streams with groups, consumers and pending entries; an empty one; one whose entries are gone."""
    client.execute_command("XGROUP", "CREATE", "stream:empty", "group", "$", "MKSTREAM")
    for n in range(400):
        client.xadd(STREAM, {"field": n, "other": "x" * (n % 50)}, id=f"{1000 + n}-{n % 3}")
    client.xdel(STREAM, "1005-2")
    client.xgroup_create(STREAM, "first", "0")
    client.xgroup_create(STREAM, "second", "1200")
    client.xgroup_create(STREAM, "idle", "$")
    client.xreadgroup("first", "alice", {STREAM: ">"}, count=90)
    client.xreadgroup("first", "bob", {STREAM: ">"}, count=7)
    client.xack(STREAM, "first", "1003-0", "1004-1")
    client.xreadgroup("second", "carol", {STREAM: ">"})
    client.execute_command("XGROUP", "CREATECONSUMER", STREAM, "idle", "dave")
    client.xadd("stream:gone", {"a": 1}, id="5-5")
    client.xdel("stream:gone", "5-5")


def save(server: Server) -> Saved:
    """Make the server write its RDB, and ask it about each key."""
    client = server.client()
    client.save()
    dumps, digests, expiries = {}, {}, {}
    for database in (0, 3, 15):
        client = server.client(db=database)
        for key in sorted(client.scan_iter(count=1000)):
            dumps[database, key] = client.dump(key)
            digests[database, key] = digest(client, key)
            left = client.pttl(key)
            expiries[database, key] = left if left < 0 else round_expiry(server, database, key)
    libraries = []
    if server.name != "redis-6.2":
        for library in server.client().execute_command("FUNCTION", "LIST", "WITHCODE"):
            fields = library if isinstance(library, dict) else dict(zip(library[::2], library[1::2], strict=True))
            libraries.append(fields[b"library_code"])
    return Saved((server.directory / "dump.rdb").read_bytes(), dumps, digests, expiries, libraries)


def digest(client: redis.Redis, key: bytes) -> object:
    """Return what is equal for equal values on all versions: the server's own digest where that is enough."""
    [found] = client.execute_command("DEBUG", "DIGEST-VALUE", key)
    kind = client.type(key)
    if kind == b"zset":
        # Versions spell the scores differently in their digest.
        return client.zrange(key, 0, -1, withscores=True)
    if kind == b"stream":
        # The digest leaves the groups out.
        groups = [
            (
                group["name"],
                group["last-delivered-id"],
                [
                    (consumer["name"], consumer["pending"])
                    for consumer in client.xinfo_consumers(key, group["name"])
                ],
                [
                    (pending["message_id"], pending["consumer"], pending["times_delivered"])
                    for pending in client.xpending_range(key, group["name"], "-", "+", 1000)
                ],
            )
            for group in client.xinfo_groups(key)
        ]
        return found, client.xinfo_stream(key)["last-generated-id"], groups
    return found


def round_expiry(server: Server, database: int, key: bytes) -> int:
    """Return the absolute expiry in milliseconds; Redis 6.2 has no command for it, but the tests set only these."""
    if server.name != "redis-6.2":
        return server.client(db=database).execute_command("PEXPIRETIME", key)
    return {(0, b"expiring"): FAR, (3, b"expiring"): FAR + 1, (0, b"hash:big"): FAR // 1000 * 1000}[database, key]


@pytest.fixture(scope="session")
def saved() -> Callable[..., Saved]:
    """A function from a server's name and settings to its snapshot; each is made once."""

    @cache
    def make(name: str, **settings: str) -> Saved:
        with Server(name, **settings) as server:
            fill(server)
            return save(server)

    return make
