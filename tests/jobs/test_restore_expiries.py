"""Deferred expiries become the source's, at barriers; lost keys are copied."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest

from shaker.errors import LinkError
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent
from shaker.jobs import restore_expiries as module
from shaker.jobs.barrier import BarrierError, Barriers, Held
from shaker.jobs.restore_expiries import RestoreExpiries
from shaker.net.client import Client, Request
from shaker.settings.schema import Settings
from tests.support.compare import differences
from tests.support.following import COPYING, DOUBTFUL, EXPIRING, FAR, expire_one, expires, following, listed
from tests.support.oracle import EXPIRY_TOLERANCE
from tests.support.proxy import Proxy
from tests.support.servers import NAMES, Server, wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

Servers = Callable[..., Server]


# --- what becomes of a key ---


@pytest.mark.parametrize("name", NAMES)
async def test_true_expiries(name: str, server: Servers) -> None:
    """Any answer of the source: an expiry, none, a missing key, in any database."""
    source, target = server(name), server(name)
    source.client(db=7).set("none", 1)
    async with following(source, target) as made:
        for database in (0, 7):
            await made.write(
                "SET a 1 PX 300000", "SET b 1 EX 200", "SET persisted 1 PX 300000", "SET gone 1 PX 300000",
                f"SET far 1 PXAT {FAR}", "SET short 1 PX 60", database=database,
            )  # fmt: skip
            assert listed(target, database=database) == {"a", "b", "persisted", "gone", "short"}
            assert expires(target, "a", database) > time.time() * 1000 + 80_000_000
            # What the stream has not brought, or somebody has changed: the source's word counts.
            target.client(db=database).pexpire("far", 5000)
            target.client(db=database).sadd(EXPIRING, "far", "ghost", "not there")
            target.client(db=database).set("ghost", 1)
            await made.write("PERSIST persisted", "DEL gone", database=database)
            target.client(db=database).pexpire("persisted", 100_000)
        wait_until(
            lambda: source.client().exists("short") == source.client(db=7).exists("short") == 0, "the expiry"
        )
        assert made.status.expiries.settled == 0
        await made.settle()

    for database in (0, 7):
        for key in ("a", "b", "far"):
            at = expires(source, key, database)
            assert abs(expires(target, key, database) - at) <= (EXPIRY_TOLERANCE if name == "redis-6.2" else 0), key
        assert expires(target, "persisted", database) == -1
        assert target.client(db=database).exists("gone", "ghost", "not there", "short") == 0
        assert target.client(db=database).exists(EXPIRING, COPYING) == 0
    assert differences(source, target) == []
    assert made.status.expiries.settled == 16
    assert made.status.expiries.waiting == 0


@pytest.mark.parametrize("name", NAMES)
async def test_what_the_reading_expires(name: str, server: Servers) -> None:
    """A source that has not deleted it yet: its word counts; on Redis 6.2 at the second attempt."""
    source, target = server(name), server(name)
    source.client().execute_command("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    async with following(source, target) as made:
        await made.write("SET a 1 PX 50", "SET b 1 PX 50", "SET c 1 PX 300000")
        now = time.monotonic()
        await made.links.wait(lambda: time.monotonic() - now > 0.1, "the expiry")
        await made.settle()
        await made.links.wait_applied(source)
    assert target.client().keys("?") == [b"c"]
    assert target.client().exists(EXPIRING, COPYING) == 0


async def test_a_judgement_that_fails_is_made_again(source: Server, target: Server) -> None:
    """A link that is lost at the barrier: the doubts stay, as they were before."""
    failures = []

    class Lost(Barriers):
        @asynccontextmanager
        async def at(self, source_reader: Client, requests: Sequence[Request]) -> AsyncIterator[Held]:
            async with super().at(source_reader, requests) as held:
                yield held
                if not requests and not failures:
                    failures.append(made.expiries.doubts)
                    raise BarrierError("lost")

    async with following(source, target, Lost) as made:
        await made.write("SET a 1")
        await made.write(f"PEXPIREAT a {FAR}")
        target.client().delete("a")
        expire_one(target)
        await made.settle()
    assert failures
    assert target.client().get("a") == b"1"


@pytest.mark.parametrize("expired", [False, True])
@pytest.mark.parametrize("database", [0, 3])
async def test_keys_that_become_doubtful_behind_the_look(
    source: Server, target: Server, database: int, expired: bool
) -> None:
    """The transaction that makes them so was on the wire when the job looked: they are judged with the others."""
    waiting = []

    class Late(Barriers):
        @asynccontextmanager
        async def at(self, source_reader: Client, requests: Sequence[Request]) -> AsyncIterator[Held]:
            async with super().at(source_reader, requests) as held:
                if not waiting:
                    waiting.append(target.client(db=database).sadd(DOUBTFUL, "a"))
                yield held

    async with following(source, target, Late) as made:
        await made.write("SET a 1", database=database)
        target.client(db=database).set("a", "another")
        if expired:
            expire_one(target)
        made.expiries.waiting = made.expiries.doubts = True
        await made.settle()
        assert target.client(db=database).exists(DOUBTFUL, COPYING) == 0
    assert waiting == [1]
    assert target.client(db=database).get("a") == (b"1" if expired else b"another")


@pytest.mark.parametrize("name", ["redis-6.2", "redis-8.0", "valkey-9.1"])
async def test_the_margin_of_what_is_settled(name: str, server: Servers) -> None:
    """Keys and fields, settled and copied, lie later by it; a copy that is left alone has the true ones."""
    source, target = server(name), server(name)
    tolerance = EXPIRY_TOLERANCE if name == "redis-6.2" else 0
    fields = name != "redis-6.2"

    def later(key: str) -> int:
        return expires(target, key, 3) - expires(source, key, 3)

    def field_expiry(server: Server) -> int:
        return int(server.client(db=3).execute_command("HPEXPIRETIME", "h", "FIELDS", 1, "f")[0])

    async with following(source, target, expiry={"margin_seconds": 7}) as made:
        await made.write("SET settled 1 PX 60000", "SET copied 1 PX 60000", "HSET h f 1", database=3)
        if fields:
            await made.write("HPEXPIRE h 60000 FIELDS 1 f", database=3)
        target.client(db=3).sadd(COPYING, "copied")
        await made.settle()
        for key in ("settled", "copied"):
            assert abs(later(key) - 7000) <= tolerance, key
        if fields:
            assert field_expiry(target) - field_expiry(source) == 7000

        made.fall_behind()
        await made.write("SET settled 2 PX 60000", database=3)
        target.client(db=3).sadd(COPYING, "copied")
        made.flow.happen(FlowEvent.END_REACHED)
        await made.settle()
        for key in ("settled", "copied"):
            assert abs(later(key)) <= tolerance, key


# --- a distance ---


@pytest.mark.parametrize(("seconds", "keys"), [(0.05, 20_000), (1.0, 300)])
async def test_over_a_distance(source: Server, target: Server, seconds: float, keys: int) -> None:
    """A round trip of so many seconds to both sides: few barriers, and deadlines that leave room for them."""
    barriers = []

    class Counted(Barriers):
        @asynccontextmanager
        async def at(self, source: Client, requests: Sequence[Request]) -> AsyncIterator[Held]:
            async with super().at(source, requests) as held:
                yield held
            barriers.append(len(requests))

    with Proxy(source) as near_source, Proxy(target) as near_target:
        async with following(
            source, target, Counted, source_url=near_source.url, target_url=near_target.url
        ) as made:
            pipeline = source.client().pipeline(transaction=False)
            for number in range(keys):
                pipeline.set(f"k{number}", number, px=300_000)
                if number % 10 == 0:
                    pipeline.persist(f"k{number}")
            pipeline.execute()
            await made.links.wait_applied(source)
            near_source.set("both", latency=seconds / 2)
            near_target.set("both", latency=seconds / 2)
            for side in ("source", "target"):
                made.status.clocks.observe_round_trip(side, seconds)
            await made.settle(60)
    assert differences(source, target) == []
    assert len(barriers) <= 10


# --- a replica as the source ---


async def test_a_replica_hides_what_its_primary_renews(server: Servers) -> None:
    """Its word that a key is gone does not count while the target has it; its deletions come in the stream."""
    primary, source, target = server(), server(), server()
    with Proxy(primary) as proxy:
        source.client().replicaof("127.0.0.1", str(proxy.port))
        source.wait_replica(primary)
        async with following(source, target) as made:
            client = primary.client()
            client.mset({"renewed": 1, "expired": 1, "late": 1})
            for key in ("renewed", "expired", "late"):
                client.pexpire(key, 1500)  # long enough for everything before the link stalls
            source.wait_replica(primary)
            await made.links.wait_applied(source)
            target.client().sadd(COPYING, "late")
            proxy.set("down", stalled=True)
            assert client.pexpire("renewed", 300_000)
            assert client.pexpire("late", 300_000)
            wait_until(
                lambda: source.client().exists("renewed", "expired", "late") == 0, "the replica to hide them"
            )
            made.catch_up()
            rounds = 0  # that must leave them alone; a barrier may fail on a busy machine
            while rounds < 5:
                with suppress(BarrierError):
                    async with made.links.barriers.at(made.links.source, []):
                        rounds += 1
                await anyio.sleep(0.02)
            assert target.client().exists("renewed", "expired", "late") == 3
            assert listed(target) == {"renewed", "expired", "late"}
            assert listed(target, COPYING) == {"late"}

            proxy.heal()
            source.wait_replica(primary)
            await made.settle()
            assert target.client().exists("expired") == 0
            assert expires(target, "renewed") == expires(primary, "renewed")
            assert expires(target, "late") == expires(primary, "late")
            assert target.client().get("late") == b"1"


async def test_what_a_replica_and_the_target_lack_is_settled(server: Servers) -> None:
    """Nothing will come for it."""
    primary, source, target = server(), server(), server()
    source.replicate(primary)
    async with following(source, target) as made:
        target.client().sadd(EXPIRING, "a")
        target.client().sadd(COPYING, "b")
        made.expiries.waiting = True
        await made.settle()
    assert target.client().exists(EXPIRING, COPYING) == 0


# --- limits and failures ---


async def test_many_keys_take_many_barriers(source: Server, target: Server) -> None:
    """No more than so many at a time, of all databases."""
    held_keys = []

    class Counted(Barriers):
        @asynccontextmanager
        async def at(self, source: Client, requests: Sequence[Request]) -> AsyncIterator[Held]:
            held_keys.append(sum(request[0] == "PEXPIRETIME" for request in requests))
            async with super().at(source, requests) as held:
                yield held

    async with following(source, target, Counted, limits={"most_keys": 10}) as made:
        for database in (0, 2):
            await made.write(*(f"SET k{number} 1 PX 300000" for number in range(95)), database=database)
        await made.settle()
    assert differences(source, target) == []
    assert max(held_keys) == 10
    assert sum(held_keys) == 190


async def test_a_source_that_stands_still_for_a_while(source: Server, target: Server) -> None:
    """A barrier is given up, and the work continues when the source does."""
    given_up = []

    class Noticing(Barriers):
        def __init__(self, flow: Flow) -> None:
            super().__init__(flow, read_seconds=0.2)

        @asynccontextmanager
        async def at(self, source_reader: Client, requests: Sequence[Request]) -> AsyncIterator[Held]:
            if not given_up:
                made.observing = False  # it would be stalled, too
                source.pause()
            try:
                async with super().at(source_reader, requests) as held:
                    yield held
            except BarrierError as error:
                source.resume()
                made.observing = True
                given_up.append(str(error))
                raise

    async with following(source, target, Noticing) as made:
        await made.write("SET a 1 PX 300000", "SET b 1 PX 300000")
        await made.settle()
    assert len(given_up) == 1
    assert differences(source, target) == []


async def test_keys_wait_if_the_last_barrier_was_none(source: Server, target: Server) -> None:
    """A link that is lost just when all seems settled: there may be more keys than were seen."""
    failures = []

    class Lost(Barriers):
        @asynccontextmanager
        async def at(self, source_reader: Client, requests: Sequence[Request]) -> AsyncIterator[Held]:
            async with super().at(source_reader, requests) as held:
                yield held
            if not requests and not failures:
                failures.append(True)
                target.client().sadd(EXPIRING, "more")
                target.client().set("more", 1)
                raise BarrierError("lost")

    async with following(source, target, Lost) as made:
        await made.write("SET a 1 PX 300000")
        await made.settle()
    assert failures
    assert target.client().exists("more", EXPIRING) == 0


async def test_nothing_is_settled_while_behind(source: Server, target: Server) -> None:
    """The true expiry could come before a renewal that is on its way."""
    async with following(source, target) as made:
        await made.write("SET a 1 PX 300000")
        await anyio.sleep(0.2)  # as long as ten rounds
        assert listed(target) == {"a"}
        made.catch_up()
        await made.settle()
        assert listed(target) == set()


async def test_another_server_answers_for_the_target(source: Server, target: Server, server: Servers) -> None:
    """Its replies say nothing about the server that is written to."""
    other = server()
    settings = Settings(source={"url": source.url}, target={"url": other.url})  # type: ignore[arg-type]
    async with following(source, target) as made, anyio.create_task_group() as tasks:
        other.client().sadd(EXPIRING, "x")
        made.expiries.waiting = True
        wrong = RestoreExpiries(settings, made.flow, made.links.barriers)
        await made.write("SET a 1 PX 300000")
        made.catch_up()
        await made.links.wait(lambda: not made.flow.expiry.behind, "the lag to be short")
        made.expiries.waiting = True
        with pytest.raises(LinkError, match="another server"):
            await wrong._work()
        tasks.cancel_scope.cancel()
    assert listed(other) == {"x"}


# --- the pause ---


async def test_how_long_the_stream_is_held(source: Server, target: Server, record_property: Any) -> None:
    """By barriers of 500 keys: milliseconds, which are recorded."""
    seconds: list[float] = []

    class Timed(Barriers):
        @asynccontextmanager
        async def at(self, source_reader: Client, requests: Sequence[Request]) -> AsyncIterator[Held]:
            begun = 0.0
            async with super().at(source_reader, requests) as held:
                begun = time.perf_counter()
                yield held
            if len(requests) >= module.KEYS:
                seconds.append(time.perf_counter() - begun)

    async with following(source, target, Timed) as made:
        await made.write(*(f"SET key:{number} 1 PX 300000" for number in range(50 * module.KEYS)))
        await made.settle()

    median, worst = statistics.median(seconds) * 1000, sorted(seconds)[int(len(seconds) * 0.99)] * 1000
    record_property("held_ms", f"median {median:.1f}, 99th percentile {worst:.1f}, {len(seconds)} barriers")
    assert len(seconds) >= 45
    assert median < 50, (median, worst)
    assert target.client().exists(EXPIRING) == 0
