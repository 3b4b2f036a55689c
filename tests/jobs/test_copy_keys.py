"""Keys whose value on the target is in doubt are copied from the source, at one barrier, in portions."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from shaker.jobs.barrier import Barriers, Held
from shaker.net.client import Client, Request
from tests.support.compare import differences
from tests.support.following import COPYING, DOUBTFUL, EXPIRING, FAR, expire_one, expires, following, listed
from tests.support.servers import NAMES, Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

Servers = Callable[..., Server]


async def test_a_key_that_the_target_lacks_is_copied(source: Server, target: Server) -> None:
    """With its value and its expiry."""
    async with following(source, target) as made:
        await made.write(
            "SET a 1 PX 300000", "RPUSH l 1 2", "PEXPIRE l 200000", "SET none 1 PX 9000", "PERSIST none"
        )
        target.client().delete("a", "l", "none")
        await made.settle()

    assert differences(source, target) == []
    assert expires(target, "a") == expires(source, "a")
    assert made.status.expiries.copied == 3


@pytest.mark.parametrize("turn", [0, 1])
async def test_a_key_that_the_target_would_expire_first_is_copied(
    source: Server, target: Server, turn: int
) -> None:
    """After a turn: a new expiry could arrive too late. In a first direction no key has an earlier expiry there."""
    async with following(source, target) as made:
        made.flow.source.upstream.turn = turn
        await made.write("SET soon 1 PX 300000", "SET late 1 PX 300000")
        target.client().pexpire("soon", 5000)
        target.client().pexpire("late", 200000)
        await made.settle()
    assert differences(source, target) == []
    assert made.status.expiries.copied == turn


async def test_a_value_that_was_begun_anew_is_copied(source: Server, target: Server) -> None:
    """A renewal that came too late: the counter had expired on the target and began at 1."""
    async with following(source, target) as made:
        for database in (0, 4):
            await made.write("SET counter 41", database=database)
            target.client(db=database).delete("counter")
            await made.write("INCR counter", "PEXPIRE counter 300000", database=database)
            assert target.client(db=database).get("counter") == b"1"
            assert listed(target, DOUBTFUL, database) == {"counter"}
        expire_one(target)
        await made.settle()
        assert not made.expiries.doubts

    for database in (0, 4):
        assert target.client(db=database).get("counter") == b"42"
        assert expires(target, "counter", database) == expires(source, "counter", database)
        assert target.client(db=database).exists(EXPIRING, COPYING, DOUBTFUL) == 0


@pytest.mark.parametrize("name", NAMES)
async def test_nothing_is_copied_where_nothing_expired(name: str, server: Servers) -> None:
    """The target says so: keys renewed while behind have their value."""
    source, target = server(name), server(name)
    async with following(source, target) as made:
        for database in (0, 4):
            await made.write("SET k 1", "PEXPIRE k 300000", "PERSIST k", "GETEX x EX 9", database=database)
            assert listed(target, DOUBTFUL, database) >= {"k"}
            target.client(db=database).set("k", "seen again if nobody copies it")
        await made.settle()
        for database in (0, 4):
            assert target.client(db=database).get("k") == b"seen again if nobody copies it"
            assert target.client(db=database).exists(EXPIRING, COPYING, DOUBTFUL) == 0
    assert made.status.expiries.copied == 0


async def test_doubtful_keys_join_those_to_be_copied(source: Server, target: Server) -> None:
    """Both lists are there: no key leaves either."""
    async with following(source, target) as made:
        await made.write("SET a 1", "SET b 1", "SET c 1")
        await made.write(f"PEXPIREAT a {FAR}")
        target.client().sadd(COPYING, "b")
        for key in ("a", "b"):
            target.client().delete(key)
        expire_one(target)
        await made.settle()
    assert differences(source, target) == []
    assert target.client().exists(EXPIRING, COPYING, DOUBTFUL) == 0


async def test_what_was_made_of_keys_that_were_gone_is_copied(source: Server, target: Server) -> None:
    """An outage that nobody foresaw let keys expire on the target that the source made others of."""
    async with following(source, target) as made:
        await made.write(
            "SET string v", "SET renamed v", "SADD set a b", "SADD other-set c",
            "ZADD sorted 1 m", "GEOADD places 13 38 p", "RPUSH list 1 2 3", "PFADD sketch a", "XADD log 1-1 f v",
            "XGROUP CREATE log g 0", "SET old before", "SET moved v", "SET copied v",
        )  # fmt: skip
        expire_one(target)
        target.client().delete(*source.client().keys("*"))
        await made.write(
            "RENAME renamed old", "MOVE moved 2", "COPY copied copy", "COPY copied copy DB 3",
            "SUNIONSTORE union set other-set", "SMOVE set other-set a", "ZUNIONSTORE sum 1 sorted",
            "ZRANGESTORE range sorted 0 -1", "SORT list STORE ordered", "LMOVE list end LEFT RIGHT",
            "GEOSEARCHSTORE near places FROMMEMBER p BYRADIUS 9 km", "GEORADIUS places 13 38 9 km STORE about",
            "LSET list 0 v", "BITOP NOT bits string", "PFMERGE sketches sketch", "XSETID log 5-5",
            "XGROUP SETID log g 1-1",
        )  # fmt: skip
        # What was not used in any of these is as it was made: gone on the target.
        source.client().delete("string", "set", "sorted", "places", "copied", "sketch")
        await made.settle()

    assert differences(source, target) == []
    assert made.status.stream.commands_rejected == 0


async def test_what_is_to_be_copied_and_is_gone(source: Server, target: Server) -> None:
    """On the source: it goes. On both: nothing."""
    async with following(source, target) as made:
        await made.write("SET a 1", "PEXPIRE a 300000", "SET b 1")
        target.client().sadd(COPYING, "ghost", "nowhere", "b")
        target.client().set("ghost", 1)
        await made.settle()
    assert target.client().exists("ghost", "nowhere") == 0
    assert differences(source, target) == []


@pytest.mark.parametrize("name", ["redis-8.0", "valkey-9.1"])
async def test_expiries_of_fields(name: str, server: Servers) -> None:
    """A hash whose fields expire is copied whole: its payload has the true ones, or those with the margin."""
    source, target = server(name), server(name)
    client = source.client()
    client.hset("snapshot", mapping={"a": 1, "b": 2, "c": 3})
    client.execute_command("HPEXPIRE", "snapshot", 300_000, "FIELDS", 1, "a")
    async with following(source, target) as made:
        await made.write("HSET h a 1 b 2 c 3", "HPEXPIRE h 300000 FIELDS 1 a", "HEXPIRE h 200 FIELDS 1 b",
                         "HSETEX s PX 300000 FIELDS 1 a 1", "HSET s b 2", "PEXPIRE s 400000")  # fmt: skip
        assert listed(target, COPYING) >= {"h", "s"}
        target.client().hdel("h", "a")
        target.client().delete("snapshot")
        target.client().sadd(COPYING, "snapshot")
        await made.settle()

    assert differences(source, target) == []
    for key, field in (("h", "a"), ("h", "b"), ("s", "a"), ("snapshot", "a")):
        [at] = target.client().execute_command("HPEXPIRETIME", key, "FIELDS", 1, field)
        assert at > time.time() * 1000
        assert [at] == client.execute_command("HPEXPIRETIME", key, "FIELDS", 1, field)


async def test_a_value_too_large_for_one_barrier_is_copied_in_pieces(source: Server, target: Server) -> None:
    """With its expiry; others are copied beside it."""
    async with following(source, target, limits={"copy_bytes": 10_000}) as made:
        source.client().set("large", "x" * 20_000)
        await made.write("PEXPIRE large 300000", "SET small 1", "PEXPIRE small 300000")
        target.client().delete("large", "small")
        await made.settle()
        assert target.client().get("large") == b"x" * 20_000
        for key in ("small", "large"):
            assert expires(target, key) == expires(source, key)
        assert "expired" not in made.status.reasons


async def test_values_are_copied_in_portions(source: Server, target: Server) -> None:
    """Of a bounded size; one that is larger than the rest of a portion waits for the next one."""
    sizes = []

    class Measured(Barriers):
        @asynccontextmanager
        async def at(self, source: Client, requests: Sequence[Request]) -> AsyncIterator[Held]:
            async with super().at(source, requests) as held:
                sizes.append(sum(len(reply) for reply in held.replies if isinstance(reply, bytes)))
                yield held

    numbers = random.Random(1)
    async with following(source, target, Measured, limits={"copy_bytes": 10_000}) as made:
        for number in range(20):
            source.client().set(f"k{number}", numbers.randbytes(3000))
        await made.write(*(f"PEXPIRE k{number} 300000" for number in range(20)))
        target.client().delete(*(f"k{number}" for number in range(20)))
        await made.settle()
    assert differences(source, target) == []
    assert 5000 < max(sizes) <= 10_000


@pytest.mark.parametrize(("source_name", "target_name"), [("redis-7.0", "redis-6.2"), ("redis-8.0", "valkey-9.1")])
async def test_a_copy_is_built_where_the_target_does_not_take_it(
    source_name: str, target_name: str, server: Servers
) -> None:
    """An older target and one of the other product get the value by commands, in one transaction."""
    source, target = server(source_name), server(target_name)
    async with following(source, target) as made:
        await made.write("HSET h a 1 b 2", "PEXPIRE h 300000", "ZADD z 1.5 a", "PEXPIRE z 9000", "PERSIST z")
        if source_name == "redis-8.0":
            await made.write("HPEXPIREAT h 4102444800000 FIELDS 1 a")
        target.client().delete("h", "z")
        await made.settle()

    assert differences(source, target) == []
    assert made.status.expiries.copied >= 2
