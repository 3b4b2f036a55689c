"""A page of keys is compared at one point: values, types, expiries, and keys that wait for another job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shaker.codec.resp.replies import encode
from shaker.compare.copies import Tolerance
from shaker.errors import AccessError, LinkError
from shaker.jobs.verify_page import (
    INEXACT_MS,
    Outcome,
    PageComparison,
    Settle,
    fields_expire,
    tolerance,
)
from shaker.model.batch import CommandRun
from shaker.model.differences import Difference, Kind
from shaker.model.server_info import parse_info
from tests.support.links import replicating
from tests.support.proxy import Proxy
from tests.support.servers import Server
from tests.support.verifying import Points, pair

OF_KEYS = [kind for kind in Kind if kind is not Kind.FUNCTION]
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
FAR = 4102444800000


async def compared(
    source: Server,
    target: Server | str,
    *keys: str,
    database: int = 4,
    settle: Settle = lambda differing: None,
    points: Points | None = None,
    later: int = 1000,
    **options: Any,
) -> Outcome:
    """Compare keys of a database."""
    async with pair(source, target, points=points) as made:
        allowed = Tolerance(later, 0 if made.sides.exact else INEXACT_MS)
        page = PageComparison(made.points, made.sides, lambda: allowed, **options)
        return await page.compare(database, [key.encode() for key in keys], settle=settle)


def kinds(outcome: Outcome) -> dict[str, Kind]:
    """The kind of each difference by key."""
    return {each.key.decode(): each.kind for each in outcome.differing}


def planted(source: Server, target: Server) -> dict[str, Kind]:
    """One key of each difference in database 4, and two equal ones."""
    ours, theirs = source.client(db=4), target.client(db=4)
    for client in (ours, theirs):
        client.set("equal", "v", pxat=FAR)
        client.rpush("list", 1, 2)
        client.set("value", "v")
        client.set("type", "v")
        client.set("expiry", "v")
    ours.set("missing", "v")
    theirs.set("extra", "v")
    theirs.set("value", "other")
    theirs.delete("type")
    theirs.rpush("type", "v")
    theirs.pexpireat("expiry", FAR)
    return {kind.value: kind for kind in OF_KEYS}


ALL = ("equal", "list", *(kind.value for kind in OF_KEYS), "nowhere")


async def test_each_kind_of_difference_is_found(source: Server, target: Server) -> None:
    """And nothing else, in a database other than 0."""
    expected = planted(source, target)
    outcome = await compared(source, target, *ALL)
    assert kinds(outcome) == expected
    assert {each.database for each in outcome.differing} == {4}
    assert outcome.bytes > 50
    assert kinds(await compared(source, target, *ALL, database=0)) == {}


async def test_without_values_types_and_expiries_are_compared(source: Server, target: Server) -> None:
    """A value is not read."""
    expected = planted(source, target)
    del expected["value"]
    assert kinds(await compared(source, target, *ALL, keys_only=True)) == expected


@pytest.mark.parametrize(("later", "equal"), [(900, True), (1100, False), (-100, False)])
async def test_expiries_agree_within_the_tolerance(source: Server, target: Server, later: int, equal: bool) -> None:
    """On the target an expiry may be later, never earlier."""
    source.client(db=4).set("k", "v", pxat=FAR)
    target.client(db=4).set("k", "v", pxat=FAR + later)
    assert (kinds(await compared(source, target, "k")) == {}) is equal


async def test_an_expired_key_whose_deletion_is_to_come_is_equal(source: Server, target: Server) -> None:
    """The source no longer shows it."""
    target.client(db=4).set("k", "v", px=3000)
    assert kinds(await compared(source, target, "k", later=5000)) == {}
    assert kinds(await compared(source, target, "k", later=0)) == {"k": Kind.EXTRA}


@pytest.mark.parametrize("name", ["redis-5.0", "redis-6.2"])
async def test_times_to_live_where_a_side_has_no_absolute_ones(name: str, server: Callable[..., Server]) -> None:
    """With both clocks, and some tolerance both ways."""
    source, target = server(name), server()
    for each in (source, target):
        each.client(db=4).rpush("k", "v")
        each.client(db=4).pexpireat("k", FAR)
    assert kinds(await compared(source, target, "k")) == {}
    target.client(db=4).pexpireat("k", FAR - 5000)
    assert kinds(await compared(source, target, "k")) == {"k": Kind.EXPIRY}


async def test_the_same_refusal_on_both_sides_proves_nothing(source: Server, target: Server) -> None:
    """Keys that may not be read are not equal because both servers say so in the same words."""
    urls = []
    for server in (source, target):
        server.client().acl_setuser(
            "reader", enabled=True, passwords=["+secret"], keys=["open"], commands=["+@all"], reset=True
        )
        server.client(db=4).mset({"open": "v", "closed": "v"})
        urls.append(server.url.replace("redis://", "redis://reader:secret@"))
    async with pair(*urls) as made:
        page = PageComparison(made.points, made.sides, lambda: Tolerance(0))
        assert (await page.compare(4, [b"open"])).differing == []
        with pytest.raises(AccessError, match="the source forbids"):
            await page.compare(4, [b"open", b"closed"])


async def test_the_bytes_of_the_values_are_counted_however_they_are_compared(
    source: Server, target: Server
) -> None:
    """Pages that are equal to the byte, and pages with one key that is not."""
    for server in (source, target):
        server.client(db=4).mset({"a": "1", "b": "x" * 300})
    target.client(db=4).set("c", "only there")
    sizes = [len(source.client(db=4).dump(key)) for key in ("a", "b")]
    assert (await compared(source, target, "a", "b", "nowhere")).bytes == sum(sizes)
    assert (await compared(source, target, "a", "b", "c")).bytes == sum(sizes)


async def test_keys_of_another_job_wait(source: Server, target: Server) -> None:
    """What differs and is about to be corrected is pending; an equal key needs no asking."""
    planted(source, target)
    target.client(db=4).sadd("copying", "value", "equal")
    target.client(db=4).sadd("expiring", "expiry")
    outcome = await compared(source, target, *ALL, waiting=("copying", "expiring"))
    assert outcome.pending == [b"expiry", b"value"]
    assert set(kinds(outcome)) == {"missing", "extra", "type"}


async def test_differences_are_settled_where_asked_for(source: Server, target: Server) -> None:
    """At this very point, by the commands for the keys that differ there."""
    planted(source, target)
    points = Points()

    def settle(differing: list[Difference]) -> CommandRun:
        return CommandRun(
            4, encode("SADD", "copying", *[each.key for each in differing if each.key == b"value"]), 1
        )

    await compared(source, target, *ALL, points=points, settle=settle)
    assert points.applied == [CommandRun(4, encode("SADD", "copying", "value"), 1)]
    points = Points()
    await compared(source, target, *ALL, points=points)
    assert points.applied == []


async def test_the_time_for_which_the_stream_is_held_is_measured(source: Server, target: Server) -> None:
    """A round trip of 50 ms is part of it."""
    with Proxy(target) as far:
        far.set("both", latency=0.025)
        outcome = await compared(source, far.url, "k")
    assert 0.05 <= outcome.held_seconds < 1


async def test_a_page_at_a_real_barrier(source: Server, target: Server) -> None:
    """Both servers are at one offset; where there is no stream, nothing is known of the keys."""
    source.client(db=4).set("k", "v")
    async with replicating(source, target) as links, pair(source, target) as made:
        await links.wait_applied(source)
        page = PageComparison(links.barriers, made.sides, lambda: Tolerance(0))
        assert (await page.compare(4, [b"k"])).differing == []
        target.client(db=4).set("k", "other")
        assert kinds(await page.compare(4, [b"k"])) == {"k": Kind.VALUE}
        target.client(db=4).set("k", "v")
        links.flow.resume = None
        with pytest.raises(LinkError, match="no stream"):
            await page.compare(4, [b"k"])


@pytest.mark.parametrize(
    ("infos", "expected"),
    [
        (("redis_version:7.4.1", "redis_version:8.0.0"), True),
        (("redis_version:7.4.1", "redis_version:7.2.4"), False),
        (("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.0.0",), True),
        (("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0",), False),
    ],
)
def test_fields_expire_where_all_servers_can(infos: tuple[str, ...], expected: bool) -> None:
    """Redis 7.4 and Valkey 9."""
    assert fields_expire([parse_info(each.encode()) for each in infos]) is expected


async def test_the_tolerance(source: Server, target: Server) -> None:
    """The margin in milliseconds, and what is inexact on both sides."""
    async with pair(source, target) as made:
        assert tolerance(made.sides, later=2500) == Tolerance(2500, 0)
        inexact = made.sides._replace(exact=False)
        assert tolerance(inexact, later=0) == Tolerance(INEXACT_MS, INEXACT_MS)
