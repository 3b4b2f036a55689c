"""The comparison finds each kind of difference, small and large, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest
import redis.asyncio

from shaker.commands.sample import Load, seed
from shaker.compare.reading import Database
from shaker.compare.servers import Comparison, Kind, compare
from shaker.errors import AccessError, LinkError
from tests.support.servers import Server, free_port

pytestmark = pytest.mark.anyio

Make = Callable[..., Server]
LARGE = 12_000  # elements of a hundred bytes: more than one piece of each type
LAST = f"{LARGE - 1:0100}"

PLANTED: dict[str, tuple[str, Kind]] = {
    "string": ("APPEND string x", Kind.VALUE),
    "large string": ("SETRANGE big:string 2500000 x", Kind.VALUE),
    "large string's length": ("APPEND big:string x", Kind.VALUE),
    "list": ("LMOVE list list LEFT RIGHT", Kind.VALUE),
    "large list": ("LSET big:list -1 x", Kind.VALUE),
    "set": ("SREM set one", Kind.VALUE),
    "large set": (f"SMOVE big:set spare {LAST}", Kind.VALUE),
    "hash": ("HSET hash one x", Kind.VALUE),
    "large hash": (f"HSET big:hash {LAST} x", Kind.VALUE),
    "zset": ("ZINCRBY zset 0.5 one", Kind.VALUE),
    "large zset": (f"ZINCRBY big:zset 0.25 {LAST}", Kind.VALUE),
    "stream": ("XDEL stream 1-2", Kind.VALUE),
    "large stream": (f"XDEL big:stream {LARGE - 1}-1", Kind.VALUE),
    "last id": ("XSETID stream 99-99", Kind.VALUE),
    "group": ("XGROUP CREATE stream more 0", Kind.VALUE),
    "position of a group": ("XGROUP SETID stream readers 1-1", Kind.VALUE),
    "consumer": ("XGROUP CREATECONSUMER stream readers new", Kind.VALUE),
    "pending": ("XACK stream readers 1-1", Kind.VALUE),
    "pending to another": ("XCLAIM stream readers reader2 0 1-1 JUSTID", Kind.VALUE),
    "missing": ("DEL string", Kind.MISSING),
    "extra": ("SET new x", Kind.EXTRA),
    "expiry gone": ("PERSIST expiring", Kind.EXPIRY),
    "expiry new": ("EXPIRE string 1000", Kind.EXPIRY),
    "type": ("COPY list string REPLACE", Kind.TYPE),
}


def _fill(server: Server) -> None:
    client = server.client()
    pipeline = client.pipeline(transaction=False)
    for command in (
        "SET string value",
        "RPUSH list one two three",
        "SADD set one two three",
        "HSET hash one 1 two 2",
        "ZADD zset 1.5 one 2 two",
        "XADD stream 1-1 field value",
        "XADD stream 1-2 field value",
        "XGROUP CREATE stream readers 0",
        "XREADGROUP GROUP readers reader STREAMS stream >",
        "SET expiring value PXAT 99999999999998",
        "SET shaker:mine 1",
        "SET shaker:fence:mine 1",
        "SADD spare x",
    ):
        pipeline.execute_command(*command.split())
    pipeline.setrange("big:string", 3_000_000, "end")
    items = [f"{number:0100}" for number in range(LARGE)]
    pipeline.rpush("big:list", *items)
    pipeline.sadd("big:set", *items)
    pipeline.hset("big:hash", mapping=dict.fromkeys(items, "value"))
    pipeline.zadd("big:zset", {item: number / 3 for number, item in enumerate(items)})
    for number, item in enumerate(items):
        pipeline.xadd("big:stream", {"field": item}, id=f"{number + 1}-1")
    pipeline.execute()


async def _compare(source: Server, target: Server) -> Comparison:
    one, other = source.aclient(), target.aclient()
    try:
        return await compare(one, other)
    finally:
        await one.aclose()
        await other.aclose()


def _kept(key: bytes) -> bytes:
    """Return where a key is kept in between: in a record of a worker, which is not compared."""
    return b"shaker:stale:" + key.replace(b":", b".")


@pytest.mark.parametrize(
    ("source_name", "target_name"),
    [("redis-7.0", "redis-7.0"), ("redis-6.2", "redis-8.0"), ("redis-7.0", "valkey-9.1")],
)
async def test_every_planted_difference_is_found_and_named(
    server: Make, source_name: str, target_name: str
) -> None:
    """One difference planted, one found, of the right kind and on the right key."""
    source, target = server(source_name), server(target_name)
    _fill(source)
    _fill(target)
    client = target.client()
    client.response_callbacks.clear()
    keys = client.keys()
    for key in keys:
        client.copy(key, _kept(key))
    for name, (command, kind) in PLANTED.items():
        client.delete("new", *keys)
        for key in keys:
            client.copy(_kept(key), key)
        clean = await _compare(source, target)
        assert clean.equal, (name, clean)
        assert clean.compared == 15

        client.execute_command(*command.split())

        found = await _compare(source, target)
        words = command.split()
        changed = words[2] if words[0] == "XGROUP" else words[1]
        wanted = [(kind, changed.encode())] + ([(Kind.VALUE, b"spare")] if name == "large set" else [])
        if kind is Kind.TYPE:
            wanted = [(kind, b"string")]
        assert sorted((one.kind, one.key) for one in found.examples) == sorted(wanted), name
        assert not found.equal


@pytest.mark.needs_servers("valkey-9.1")
async def test_a_replica_under_load_of_every_kind_is_equal_once_it_stands_still(server: Make) -> None:
    """Nothing is reported that Redis's own replica has otherwise, though keys expire while they are compared."""
    source, target = server("valkey-9.1"), server("valkey-9.1")
    seed(source.client(), 20_000, 3)
    target.replicate(source)
    with Load(source.client(), rate=None):
        time.sleep(1.0)  # noqa: ASYNC251  the load itself is what is waited for
    target.wait_replica(source)
    target.detach()

    found = await _compare(source, target)

    assert found.equal, found
    assert found.compared > 20_000


@pytest.mark.needs_servers("valkey-9.1", "redis-8.0")
async def test_expiries_of_hash_fields_count(server: Make) -> None:
    """Where both servers know them."""
    source, target = server("valkey-9.1"), server("redis-8.0")
    for side, at in ((source, 9999999999998), (target, 9999999999999)):
        side.client().hset("hash", mapping={"one": 1, "two": 2})
        side.client().execute_command("HPEXPIREAT", "hash", at, "FIELDS", 1, "one")

    found = await _compare(source, target)

    assert [one.kind for one in found.examples] == [Kind.VALUE]


async def test_libraries_of_functions_count(source: Server, target: Server) -> None:
    """A library that only the target has makes the servers differ."""
    target.client().function_load("#!lua name=library\nredis.register_function('f', function() return 1 end)")

    found = await _compare(source, target)

    assert found.libraries_differ
    assert not found.equal


async def test_databases_and_counts(source: Server, target: Server) -> None:
    """Counts are of all keys, examples are limited."""
    for index in range(100):
        source.client(db=3).set(f"key:{index}", index)
        target.client(db=4).set(f"key:{index}", index)
    progress: list[int] = []
    one, other = source.aclient(), target.aclient()

    found = await compare(one, other, examples=5, chunk=10, progress=progress.append)

    await one.aclose()
    await other.aclose()
    assert (found.missing, found.extra, found.different, len(found.examples)) == (100, 100, 0, 5)
    assert progress[-1] == found.compared == 100
    assert b"key:" in found.examples[0].key


async def test_a_key_that_is_gone_between_two_questions(source: Server) -> None:
    """As a target's does when the source's answer has made the source expire it: it is none, for both questions."""

    class Racing(Database):
        async def expiries(self, keys: Sequence[bytes]) -> list[int]:
            await self.ask([("DEL", "gone")])
            return await super().expiries(keys)

    client = source.aclient()
    source.client().mset({"gone": 1, "stays": 1})
    async with Racing(client, 0) as database:
        found = await database.heads([b"gone", b"stays"])
    await client.aclose()
    assert [(kind, expiry) for kind, expiry, _ in found] == [(b"none", -2), (b"string", -1)]


async def test_a_server_that_cannot_be_asked_is_an_error(source: Server) -> None:
    """Not a difference: nobody listens, or a command is forbidden."""
    source.client().set("key", 1)
    source.client().execute_command("ACL", "SETUSER", "narrow", "on", ">word", "~*", "+@all", "-memory")
    good, gone = source.aclient(), redis.asyncio.Redis(port=free_port(), retry=None)
    narrow = source.aclient(username="narrow", password="word")
    try:
        with pytest.raises(LinkError):
            await compare(good, gone)
        with pytest.raises(AccessError, match="MEMORY"):
            await compare(good, narrow)
    finally:
        for client in (good, gone, narrow):
            await client.aclose()
