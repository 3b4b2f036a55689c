"""A large value is copied in pieces while the stream runs: whole with all that belongs to it, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import redis

from shaker.jobs import copy_keys, value_pieces
from shaker.jobs import copy_large as module
from shaker.jobs.copy_keys import KeyCopier
from tests.support import compare, oracle
from tests.support.following import COPYING, expires, following, listed
from tests.support.servers import Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

Servers = Callable[..., Server]
COUNT = 6000
FAR = 4102444800000
KINDS = ("string", "list", "set", "zset", "hash", "stream")
REBUILDING = "shaker:rebuilding:default"
LIMITS = {"copy_bytes": 10_000}


@pytest.fixture(autouse=True)
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make them small, so that a value of a test has many."""
    monkeypatch.setattr(value_pieces, "PIECE_BYTES", 30_000)
    monkeypatch.setattr(value_pieces, "PENDING", 700)
    monkeypatch.setattr(module, "TRY_AGAIN_SECONDS", 0.05)


def fill(client: redis.Redis, *, fields: bool) -> None:
    """Write a large key of each type."""
    pipeline = client.pipeline(transaction=False)
    pipeline.set("string", b"\x00\xff\r\n" * 50_000)
    pipeline.rpush("list", *(f"element:{number * 7919 % 1003}" for number in range(COUNT)))
    pipeline.sadd("set", *(f"member:{number}" for number in range(COUNT)))
    pipeline.zadd("zset", {f"member:{number}": number / 7 for number in range(COUNT)})
    pipeline.zadd("zset", {"least": "-inf", "most": "inf", "exact": 0.1})
    pipeline.hset("hash", mapping={f"field:{number}": number for number in range(COUNT)})
    if fields:
        pipeline.execute_command("HPEXPIREAT", "hash", FAR, "FIELDS", 2, "field:7", "field:5999")
    for number in range(COUNT):
        pipeline.xadd("stream", {"field": f"value:{number}"}, id=f"{number + 1}-1")
    pipeline.xgroup_create("stream", "one", "0")
    pipeline.xgroup_create("stream", "two", "5-1")
    pipeline.execute()
    for consumer in ("a", "b"):
        client.xreadgroup("one", consumer, {"stream": ">"}, count=1500)
    client.pexpireat("set", FAR)


@pytest.mark.parametrize("database", [0, 4])
@pytest.mark.parametrize(
    ("source_name", "target_name"),
    [
        ("redis-7.0", "redis-7.0"),
        ("redis-5.0", "redis-7.0"),
        ("redis-8.0", "redis-6.2"),
        ("redis-8.0", "valkey-9.1"),
        ("valkey-9.1", "redis-8.0"),
    ],
)
async def test_values_of_every_type(server: Servers, source_name: str, target_name: str, database: int) -> None:
    """The servers agree on them, by the verification and by the oracle."""
    source, target = server(source_name), server(target_name)
    newest = ("redis-8.0", "valkey-9.1")
    fill(source.client(db=database), fields=source_name in newest and target_name in newest)
    async with following(source, target, limits=LIMITS) as made:
        await made.links.wait_applied(source)
        client = target.client(db=database)
        client.delete(*KINDS)
        client.set("zset", "another value")
        client.sadd(COPYING, *KINDS, "nowhere")
        made.expiries.waiting = True
        await made.settle(60)
        assert client.exists(COPYING, REBUILDING) == 0
        assert made.status.expiries.copied == len(KINDS) + 1
        assert made.status.stream.commands_rejected == 0
    assert compare.differences(source, target, later=100) == []
    # Servers tell for how long an entry has been pending, so its time of delivery is known to a millisecond or two.
    assert oracle.differences(source, target, clocks_differ=True) == []
    if "redis-5.0" not in (source_name, target_name) and target_name != "redis-6.2":
        assert expires(target, "set", database) == FAR


async def test_a_value_that_changes_meanwhile(source: Server, target: Server) -> None:
    """The copy begins again; one that changes each time is left as it is and waits, by name."""
    fill(source.client(), fields=False)
    touching, made_pieces = True, 0

    def touch() -> None:
        nonlocal made_pieces
        made_pieces += 1
        if touching:
            source.client().sadd("set", f"more:{made_pieces}")

    async with following(source, target, limits=LIMITS) as made:
        await made.links.wait_applied(source)
        links = made.links
        copier = KeyCopier(
            links.flow,
            links.barriers,
            links.source,
            links.target,
            name="default",
            asking="PEXPIRETIME",
            copy_bytes=10_000,
            heartbeat=touch,
        )
        target.client().delete("set")
        target.client().sadd(COPYING, "set")
        assert await copier.copy({0: [b"set"]}) == 0
        assert listed(target, COPYING) == {"set"}
        assert target.client().exists(REBUILDING) == 0
        assert made_pieces >= module.TRIES
        touching = False
        assert await copier.copy({0: [b"set"]}) == 1
        assert target.client().smembers("set") == source.client().smembers("set")
        assert listed(target, COPYING) == set()


@pytest.mark.parametrize("whole", [True, False])
async def test_a_value_that_commands_cannot_make_is_copied_whole_or_named(
    source: Server, target: Server, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream with deleted entries that are still pending. A huge one is left; the worker is not ready."""
    if not whole:
        monkeypatch.setattr(copy_keys, "WHOLE_BYTES", 10_000)
    fill(source.client(), fields=False)
    async with following(source, target, limits=LIMITS) as made:
        await made.links.wait_applied(source)
        source.client().xdel("stream", "3-1")
        await made.links.wait_applied(source)
        target.client().delete("stream")
        target.client().sadd(COPYING, "stream")
        made.expiries.waiting = True
        await made.settle(60)
        assert target.client().exists(REBUILDING, COPYING) == 0
        assert target.client().exists("stream") == whole
        assert ("expired" in made.status.reasons) is not whole
        if whole:
            assert compare.differences(source, target) == []
        else:
            assert "stream" in made.status.reasons["expired"]


@pytest.mark.parametrize("database", [0, 4])
@pytest.mark.parametrize("kind", ["string", "list", "set"])
async def test_a_value_beyond_the_targets_longest_argument_is_named(
    source: Server, target: Server, kind: str, database: int
) -> None:
    """A string, and an element, that the target does not take: the others are copied, and no link is lost."""
    client = source.client(db=database)
    fill(client, fields=False)
    if kind != "string":
        client.set("string", "small")
    if kind == "list":
        client.rpush("list", os.urandom(120_000))
    if kind == "set":
        client.sadd("set", os.urandom(120_000))
    async with following(source, target, limits=LIMITS) as made:
        await made.links.wait_applied(source)
        made.flow.target.max_bulk = 110_000
        theirs = target.client(db=database)
        theirs.delete(kind, "zset")
        theirs.sadd(COPYING, kind, "zset")
        made.expiries.waiting = True
        await made.settle(60)
        assert theirs.exists(kind, REBUILDING, COPYING) == 0
        assert theirs.zcard("zset") == client.zcard("zset")
        assert f"in pieces: {kind}" in made.status.reasons["expired"]


async def test_a_worker_removes_what_another_one_left(source: Server, target: Server) -> None:
    """An unfinished copy of a worker that was killed."""
    async with following(source, target) as made:
        await made.links.wait_applied(source)
    target.client(db=3).rpush(REBUILDING, 1)
    async with following(source, target) as made:
        await made.links.wait_applied(source)
        assert target.client(db=3).exists(REBUILDING) == 0
