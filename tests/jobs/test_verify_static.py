"""Two servers without writers are compared without a worker, and nothing is written on either side."""

from __future__ import annotations

import time
from typing import Any

import pytest

from shaker.errors import LinkError
from shaker.jobs.verify_static import compare_static
from shaker.jobs.verify_walk import Selection
from shaker.model.differences import Kind
from shaker.settings.schema import Settings
from shaker.watch.verification import Findings
from tests.support.proxy import Proxy
from tests.support.servers import DEFAULT, SOURCES, Server, free_port

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
ALL = Selection()
BIG = b"x" * 6_000_000


async def compared(source: Server, target: Server | str, selection: Selection = ALL, **options: Any) -> Findings:
    """Compare both servers."""
    url = target if isinstance(target, str) else target.url
    made = Settings(source={"url": source.url}, target={"url": url})  # type: ignore[arg-type]
    return await compare_static(made, selection, **options)


def kinds(findings: Findings) -> dict[tuple[int, bytes], Kind]:
    """The kind of each difference by its place."""
    return {place: each.kind for place, each in findings.differences.items()}


def fill(*servers: Server) -> None:
    """Give each server the same keys in two databases."""
    for server in servers:
        for database in (0, 9):
            client = server.client(db=database)
            client.mset({f"key:{number}": number for number in range(300)})
            client.sadd("set", *range(50))
            client.set("expires", "v", px=1_000_000_000)
            client.pexpireat("expires", 4102444800000)
        server.client().set("big", BIG)


async def test_differences_in_any_database_are_found(source: Server, target: Server) -> None:
    """Small and large ones, and keys of one side only; equal servers are clean."""
    fill(source, target)
    findings = await compared(source, target)
    assert findings.clean
    assert findings.counted.keys == findings.counted.total == 2 * (300 + 2) + 1
    assert findings.counted.share == 1
    assert findings.counted.ended > 0
    target.client(db=9).set("key:5", "other")
    target.client(db=9).persist("expires")
    target.client().setrange("big", 1_000_000, "other")
    source.client(db=9).delete("key:6")
    target.client().delete("key:7")
    assert kinds(await compared(source, target)) == {
        (0, b"big"): Kind.VALUE,
        (0, b"key:7"): Kind.MISSING,
        (9, b"key:5"): Kind.VALUE,
        (9, b"key:6"): Kind.EXTRA,
        (9, b"expires"): Kind.EXPIRY,
    }
    assert kinds(await compared(source, target, Selection(database=9, pattern=b"key:*"))) == {
        (9, b"key:5"): Kind.VALUE,
        (9, b"key:6"): Kind.EXTRA,
    }
    assert set(kinds(await compared(source, target, keys_only=True))) == {
        (0, b"key:7"),
        (9, b"key:6"),
        (9, b"expires"),
    }


@pytest.mark.parametrize("database", [0, 9])
@pytest.mark.parametrize("expiring", ["source", "target", None])
@pytest.mark.parametrize("name", ["redis-6.2", DEFAULT])
async def test_expiries_are_read_where_any_key_has_one(name: str, expiring: str | None, database: int) -> None:
    """On either server and in any database; elsewhere nobody asks for them, and values and missing keys are found."""
    with Server(name) as source, Server(name) as target:
        for server in (source, target):
            server.client().mset({"same": 1, "differs": 1, "expires": 1})
        source.client().set("differs", 2)
        source.client().set("missing", 1)
        target.client().set("extra", 1)
        found = {(0, b"differs"): Kind.VALUE, (0, b"missing"): Kind.MISSING, (0, b"extra"): Kind.EXTRA}
        for server in (source, target):
            server.client(db=database).set("one", 1)
        if expiring is not None:
            (source if expiring == "source" else target).client(db=database).expire("one", 5000)
            found[database, b"one"] = Kind.EXPIRY
        assert kinds(await compared(source, target, delays=(0.0, 0.0))) == found
        asked = [server.info("commandstats") for server in (source, target)]
        commands = ("cmdstat_pexpiretime", "cmdstat_pttl")
        assert [any(command in stats for command in commands) for stats in asked] == [expiring is not None] * 2


async def test_a_rate_holds(source: Server, target: Server) -> None:
    """For the walk over each of both servers."""
    for server in (source, target):
        server.client().mset({f"key:{number}": number for number in range(200)})
    began = time.monotonic()
    findings = await compared(source, target, keys_per_second=400.0)
    assert time.monotonic() - began >= 0.9
    assert findings.clean


async def test_nothing_is_written(source: Server, target: Server) -> None:
    """Neither dataset changes."""
    fill(source, target)
    before = [server.info("persistence")["rdb_changes_since_last_save"] for server in (source, target)]
    await compared(source, target)
    assert [server.info("persistence")["rdb_changes_since_last_save"] for server in (source, target)] == before


@pytest.mark.parametrize("name", SOURCES)
async def test_versions_may_differ(name: str) -> None:
    """Encodings and ways to read an expiry do not count."""
    with Server(name) as source, Server(DEFAULT) as target:
        for server in (source, target):
            client = server.client(db=9)
            client.rpush("list", *range(2000))
            client.zadd("zset", {f"m{number}": number / 3 for number in range(200)})
            for number in range(30):
                client.hset("hash", f"f{number}", number)
            client.xadd("stream", {"f": "v"}, id="1-1")
            client.set("expires", "v")
            client.pexpireat("expires", 4102444800000)
        assert (await compared(source, target)).clean


async def test_a_long_round_trip_costs_no_more_than_time(source: Server, target: Server) -> None:
    """50 ms: a few requests for each page."""
    fill(source, target)
    with Proxy(target) as far:
        far.set("both", latency=0.025)
        assert (await compared(source, far.url)).clean


async def test_a_server_that_is_not_there_is_a_link_error(source: Server) -> None:
    """Nothing is reported of half a comparison."""
    with pytest.raises(LinkError):
        await compared(source, f"redis://127.0.0.1:{free_port()}")
