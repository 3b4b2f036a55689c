"""One database is read by replies that all versions share; a key that is gone meanwhile is no failure."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis

from shaker.compare.reading import Database, databases, pairs
from shaker.errors import AccessError, LinkError
from tests.support.servers import NAMES, Server, free_port

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", NAMES)
async def test_types_expiries_and_sizes_are_read(name: str, shared: Callable[[str], Server]) -> None:
    """Exactly where the server gives the time of an expiry, else by its own clock."""
    server = shared(name)
    at = int(time.time() * 1000) + 100_000
    server.client(db=2).set("string", "v", pxat=at)
    server.client(db=2).rpush("list", 1)
    async with server.aclient() as client, Database(client, 2) as database:
        [string, none, many] = await database.heads([b"string", b"none", b"list"])

        assert (string[0], many[0], none[0]) == (b"string", b"list", b"none")
        assert abs(string[1] - at) <= (0 if database.expires_exactly else 1000)
        assert (many[1], none[1]) == (-1, -2)
        assert string[2] > 0
        assert database.has_functions == (name != "redis-6.2")


async def test_keys_come_in_pages_without_records_of_workers(source: Server) -> None:
    """Other keys under the reserved prefix are data."""
    source.client().mset({f"k{number}": 1 for number in range(50)} | {"shaker:own": 1})
    source.client().hset("shaker:fence:default", "epoch", 1)
    async with source.aclient() as client, Database(client, 0) as database:
        pages = [page async for page in database.keys(10)]
    keys = {key for page in pages for key in page}

    assert len(pages) > 1
    assert b"k0" in keys
    assert b"shaker:fence:default" not in keys
    assert len(keys) in (50, 51)


async def test_databases_with_keys_are_found(source: Server) -> None:
    """By INFO: an empty one is not opened."""
    async with source.aclient() as client:
        assert await databases(client) == set()
        source.client(db=3).set("k", 1)
        source.client(db=7).set("k", 1)
        assert await databases(client) == {3, 7}


async def test_an_error_of_one_key_is_its_reply(source: Server) -> None:
    """A key of another type may have replaced it a moment ago."""
    source.client().mset({"k": 1, "l": 2})
    async with source.aclient() as client, Database(client, 0) as database:
        wrong, right = await database.ask([("LLEN", "k"), ("GET", "l")])

    assert isinstance(wrong, redis.ResponseError)
    assert right == b"2"


async def test_a_server_that_forbids_or_is_gone_is_an_error(source: Server) -> None:
    """With the command that failed."""
    source.client().execute_command("ACL", "SETUSER", "default", "-get")
    async with source.aclient() as client, Database(client, 0) as database:
        with pytest.raises(AccessError, match="at GET"):
            await database.ask([("GET", "k")])
    gone = redis.asyncio.Redis(port=free_port())
    with pytest.raises(LinkError, match="at COMMAND"):
        async with Database(gone, 0):
            pass
    await gone.aclose()


def test_flat_replies_become_pairs() -> None:
    """Names and values in turn."""
    assert pairs([b"a", 1, b"b", 2]) == {b"a": 1, b"b": 2}
