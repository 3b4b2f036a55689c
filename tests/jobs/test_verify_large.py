"""Large values are compared in pieces: every difference is found, and a touched key begins again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from shaker.codec.resp.replies import encode
from shaker.errors import ServerBusyError
from shaker.jobs.verify_large import BUSY, TRIES
from shaker.model.batch import CommandRun
from shaker.model.differences import Difference, Kind
from tests.support.proxy import Proxy
from tests.support.servers import DEFAULT, Server
from tests.support.verifying import Points, pair

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

Make = Callable[[redis.Redis], object]
BYTES = 6_000_000
COUNT = 6000
PIECE = b"x" * (BYTES // COUNT)
KEY = "{big}"


def streamed(client: redis.Redis) -> None:
    """A stream with a group that has pending entries."""
    pipeline = client.pipeline(transaction=False)
    for number in range(COUNT):
        pipeline.xadd(KEY, {b"f": PIECE}, id=f"{number + 1}-1")
    pipeline.xgroup_create(KEY, "g", "0")
    pipeline.xreadgroup("g", "alice", {KEY: ">"}, count=2000)
    pipeline.execute()


VALUES: dict[str, tuple[Make, Make]] = {
    "string": (
        lambda client: client.set(KEY, PIECE * COUNT),
        lambda client: client.setrange(KEY, BYTES - 1, b"y"),
    ),
    "list": (
        lambda client: client.rpush(KEY, *[PIECE] * COUNT),
        lambda client: client.lset(KEY, COUNT - 1, b"y"),
    ),
    "set": (
        lambda client: client.sadd(KEY, *[PIECE + b"%d" % number for number in range(COUNT)]),
        lambda client: (client.srem(KEY, PIECE + b"7"), client.sadd(KEY, b"other")),
    ),
    "zset": (
        lambda client: client.zadd(KEY, {PIECE + b"%d" % number: number for number in range(COUNT)}),
        lambda client: client.zadd(KEY, {PIECE + b"%d" % (COUNT - 1): COUNT + 1}),
    ),
    "hash": (
        lambda client: client.hset(KEY, mapping={b"f%d" % number: PIECE for number in range(COUNT)}),
        lambda client: client.hset(KEY, "f5999", "y"),
    ),
    "stream": (streamed, lambda client: client.xack(KEY, "g", "2000-1")),
}


@pytest.mark.parametrize("database", [0, 5])
@pytest.mark.parametrize("kind", VALUES)
async def test_equal_and_different_values(kind: str, database: int, source: Server, target: Server) -> None:
    """A last element that differs is found, in each type and in any database."""
    make, change = VALUES[kind]
    clients = [server.client(db=database) for server in (source, target)]
    for client in clients:
        make(client)
    async with pair(source, target) as made:
        equal = await made.large.compare(database, KEY.encode())
        assert (equal.difference, equal.busy) == (None, "")
        assert equal.bytes > BYTES
        assert made.points.made == 2
        change(clients[1])
        found = (await made.large.compare(database, KEY.encode())).difference
        assert found == (database, KEY.encode(), Kind.VALUE, "the values differ")


async def test_presence_type_and_expiry(source: Server, target: Server) -> None:
    """Each is a kind of its own; a key that neither side has is equal."""
    one, other = source.client(), target.client()
    async with pair(source, target, later=1000) as made:
        assert (await made.large.compare(0, b"k")).difference is None
        one.set("k", "v")
        assert (await made.large.compare(0, b"k")).difference == (0, b"k", Kind.MISSING, "")
        other.rpush("k", "v")
        found = (await made.large.compare(0, b"k")).difference
        assert found == (0, b"k", Kind.TYPE, "string on the source, list on the target")
        one.delete("k")
        assert (await made.large.compare(0, b"k")).difference == (0, b"k", Kind.EXTRA, "")
        other.delete("k")
        one.set("k", "v", pxat=4102444800000)
        other.set("k", "v", pxat=4102444800900)
        assert (await made.large.compare(0, b"k")).difference is None
        other.pexpireat("k", 4102444801100)
        found = (await made.large.compare(0, b"k")).difference
        assert found == (0, b"k", Kind.EXPIRY, "the target's expiry is 1100 ms later")


async def test_an_expired_key_whose_deletion_is_to_come_is_equal(source: Server, target: Server) -> None:
    """A replica hides it before its primary deletes it; up to the margin it is no extra key."""
    target.client().set("k", "v", px=3000)
    async with pair(source, target, later=5000) as made:
        assert (await made.large.compare(0, b"k")).difference is None
    async with pair(source, target) as made:
        assert (await made.large.compare(0, b"k")).difference == (0, b"k", Kind.EXTRA, "")


@pytest.mark.parametrize("name", ["redis-5.0", "valkey-9.1"])
async def test_expiries_on_other_versions(name: str, server: Callable[..., Server]) -> None:
    """Without PEXPIRETIME, times to live are read with each side's clock."""
    source, target = server(name), server(DEFAULT)
    for each in (source, target):
        each.client(db=2).rpush("k", "v")
        each.client(db=2).pexpireat("k", 4102444800000)
    async with pair(source, target, later=100) as made:
        assert (await made.large.compare(2, b"k")).difference is None
        target.client(db=2).persist("k")
        found = (await made.large.compare(2, b"k")).difference
        assert found is not None
        assert found.kind is Kind.EXPIRY


async def test_a_touched_key_begins_again(source: Server, target: Server) -> None:
    """Whatever was found counts only if nothing touched the key between the barriers."""
    source.client().set("k", "v")

    def before(number: int) -> None:
        if number == 2:  # the command reaches the target before the second barrier is made
            target.client().set("k", "v")
            made.watches.touch()

    async with pair(source, target, points=Points(before)) as made:
        assert (await made.large.compare(0, b"k")).difference is None
        assert made.watches.begun == 2


async def test_a_command_received_before_the_first_barrier_is_reached_counts(
    source: Server, target: Server
) -> None:
    """It lies after the barrier's offset, so the source has run it, and the target has not."""
    source.client().set("k", "new")
    target.client().set("k", "old")

    def before(number: int) -> None:
        if number == 1:
            made.watches.touch()
        if number == 2:
            target.client().set("k", "new")

    async with pair(source, target, points=Points(before)) as made:
        assert (await made.large.compare(0, b"k")).difference is None


async def test_a_key_that_is_touched_each_time_is_too_busy(source: Server, target: Server) -> None:
    """Nothing is known of it: no difference is reported."""
    source.client().set("k", "v")
    async with pair(source, target, points=Points(lambda number: made.watches.touch())) as made:
        outcome = await made.large.compare(0, b"k")
        assert (outcome.difference, outcome.busy) == (None, BUSY)
        assert made.watches.begun == TRIES


async def test_a_key_that_becomes_another_type_meanwhile_begins_again(source: Server, target: Server) -> None:
    """WRONGTYPE is no failure of the pass where a command touched the key."""
    for each in (source, target):
        each.client().rpush("k", *[b"x" * 100_000] * 60)
    changed: list[int] = []

    def change() -> None:
        if not changed:
            changed.append(1)
            for each in (source, target):
                each.client().set("k", "v")

    def before(number: int) -> None:
        if number == 2:
            made.watches.touch()

    async with pair(source, target, points=Points(before), piece=change) as made:
        outcome = await made.large.compare(0, b"k")
        assert (outcome.difference, outcome.busy) == (None, "")
        assert made.watches.begun == 2
    changed.clear()
    for each in (source, target):
        each.client().delete("k")
        each.client().rpush("k", *[b"x" * 100_000] * 60)
    async with pair(source, target, piece=change) as made:
        with pytest.raises(ServerBusyError, match="WRONGTYPE"):
            await made.large.compare(0, b"k")


async def test_a_difference_is_repaired_at_the_second_barrier(source: Server, target: Server) -> None:
    """Where it was proven; an equal key is left."""

    copied = CommandRun(3, encode("SADD", "copying", "k"), 1)

    def settle(differing: list[Difference]) -> CommandRun | None:
        return copied if differing else None

    source.client(db=3).set("k", "v")
    async with pair(source, target) as made:
        await made.large.compare(3, b"k", settle=settle)
        assert made.points.applied == [copied]
        target.client(db=3).set("k", "v")
        await made.large.compare(3, b"k", settle=settle)
        assert made.points.applied == [copied]


async def test_a_long_round_trip_costs_no_more_than_time(source: Server, target: Server) -> None:
    """50 ms to the target: a value of 6 MB is read in a few pieces."""
    for each in (source, target):
        each.client(db=5).rpush("k", *[PIECE] * COUNT)
    with Proxy(target) as far:
        far.set("both", latency=0.025)
        beats: list[int] = []
        async with pair(source, far.url, piece=lambda: beats.append(1)) as made:
            assert (await made.large.compare(5, b"k")).difference is None
            assert 5 < len(beats) < 20
