"""Deferred expiries become the source's, at barriers; lost keys are copied."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from shaker.errors import LinkError
from shaker.flow.lifecycle import FlowEvent
from shaker.jobs import barrier as barrier_module
from shaker.jobs import copy_keys as settler_module
from shaker.jobs import restore_expiries as module
from shaker.jobs.barrier import BarrierError, Barriers, Held
from shaker.jobs.restore_expiries import RestoreExpiries
from shaker.net.client import Client, Request
from shaker.run.supervise import supervise
from shaker.settings.schema import Settings
from tests.support.compare import EXPIRY_TOLERANCE, differences
from tests.support.links import Links, replicating
from tests.support.proxy import Proxy
from tests.support.servers import NAMES, Server, wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

Servers = Callable[..., Server]
EXPIRING, COPYING, DOUBTFUL = "shaker:expiring:default", "shaker:copying:default", "shaker:doubtful:default"
FAR = 4_102_444_800_000  # the year 2100, in milliseconds


class Following:
    """Links whose lag the test decides about, and the true expiries at work."""

    def __init__(self, links: Links, source: Server) -> None:
        self.links = links
        self.status = links.status
        self.flow = links.flow
        self.expiries = links.flow.expiries
        self._source = source
        self.observing = False

    async def observe(self) -> None:
        """Ask the source for its offset, as the monitor does."""
        while True:
            if self.observing:
                asked = self.status.clock()
                offset = self._source.client().info("replication")["master_repl_offset"]
                self.status.observe_source_offset(max(offset, self.status.stream.received_offset), asked)
            self.flow.refresh_state()
            await anyio.sleep(0.02)

    def fall_behind(self) -> None:
        """Have far to go from now on."""
        self.observing = False
        self.flow.source.caught_up_at = 1 << 62
        assert self.flow.expiry.behind

    def catch_up(self) -> None:
        """Be close behind the source from now on."""
        self.flow.source.caught_up_at = 0
        self.observing = True

    async def write(self, *commands: str, database: int = 0) -> None:
        """Have the source execute commands and wait until the target has."""
        pipeline = self._source.client(db=database).pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command.split())
        pipeline.execute()
        await self.links.wait_applied(self._source)

    async def settle(self, seconds: float = 20.0) -> None:
        """Catch up, and wait until no key waits any longer."""
        self.catch_up()
        await self.links.wait(lambda: not self.expiries.waiting, "the true expiries", seconds)


@asynccontextmanager
async def following(
    source: Server,
    target: Server,
    barriers: Callable[..., Barriers] = Barriers,
    *,
    source_url: str | None = None,
    target_url: str | None = None,
    **options: Any,
) -> AsyncIterator[Following]:
    """Replicate, behind at first, with the true expiries at work; without a margin unless `expiry` has one."""
    options["expiry"] = {"margin_seconds": 0, **options.get("expiry", {})}
    settings = Settings(
        source={"url": source_url or source.url},  # type: ignore[arg-type]
        target={"url": target_url or target.url},  # type: ignore[arg-type]
    )
    if target_url is not None:
        options["target_settings"] = {"url": target_url}
    async with replicating(source, target, url=source_url, **options) as links, anyio.create_task_group() as tasks:
        made = Following(links, source)
        made.fall_behind()
        tasks.start_soon(made.observe)
        job = RestoreExpiries(settings, links.flow, barriers(links.flow), poll_seconds=0.01, pause_seconds=0.05)
        tasks.start_soon(supervise, job, links.status, settings)
        yield made
        tasks.cancel_scope.cancel()


def expire_one(target: Server) -> None:
    """Have the target expire a key by itself."""
    target.client().set("passing", 1, px=1)
    wait_until(lambda: target.client().exists("passing") == 0, "the expiry")


def listed(server: Server, key: str = EXPIRING, database: int = 0) -> set[str]:
    """The keys in one of the two sets of a database."""
    return {one.decode() for one in server.client(db=database).smembers(key)}


def expires(server: Server, key: str, database: int = 0) -> int:
    """When a key expires in Unix milliseconds; up to the time that asking takes on Redis 6.2."""
    client = server.client(db=database)
    if server.name != "redis-6.2":
        found: int = client.execute_command("PEXPIRETIME", key)
        return found
    left: int = client.pttl(key)
    return left if left < 0 else time.time_ns() // 1_000_000 + left


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
        assert made.status.expiries_settled == 0
        await made.settle()

    for database in (0, 7):
        for key in ("a", "b", "far"):
            at = expires(source, key, database)
            assert abs(expires(target, key, database) - at) <= (EXPIRY_TOLERANCE if name == "redis-6.2" else 0), key
        assert expires(target, "persisted", database) == -1
        assert target.client(db=database).exists("gone", "ghost", "not there", "short") == 0
        assert target.client(db=database).exists(EXPIRING, COPYING) == 0
    assert differences(source, target) == []
    assert made.status.expiries_settled == 16
    assert made.status.expiries_waiting == 0


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
    assert made.status.expiries_copied == 3


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
    assert made.status.expiries_copied == 0


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
    assert made.status.rejected_commands == 0


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
                made.status.observe_round_trip(side, seconds)
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
            for _ in range(5):  # rounds that must leave them alone
                async with made.links.barriers.at(made.links.source, []):
                    pass
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


async def test_a_value_too_large_to_copy_is_named(
    source: Server, target: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left as it is, and keeps the worker from being ready; others are copied."""
    monkeypatch.setattr(settler_module, "COPY_BYTES", 10_000)
    async with following(source, target) as made:
        source.client().set("large", "x" * 20_000)
        await made.write("PEXPIRE large 300000", "SET small 1", "PEXPIRE small 300000")
        target.client().delete("large", "small")
        await made.settle()
        assert target.client().exists("large") == 0
        assert expires(target, "small") == expires(source, "small")
        assert "large" in made.status.reasons["expired"]
        assert made.status.errors["worker", "expiry"] == 1


async def test_values_are_copied_in_portions(
    source: Server, target: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a bounded size; one that is larger than the rest of a portion waits for the next one."""
    monkeypatch.setattr(settler_module, "COPY_BYTES", 10_000)
    sizes = []

    class Measured(Barriers):
        @asynccontextmanager
        async def at(self, source: Client, requests: Sequence[Request]) -> AsyncIterator[Held]:
            async with super().at(source, requests) as held:
                sizes.append(sum(len(reply) for reply in held.replies if isinstance(reply, bytes)))
                yield held

    numbers = random.Random(1)
    async with following(source, target, Measured) as made:
        for number in range(20):
            source.client().set(f"k{number}", numbers.randbytes(3000))
        await made.write(*(f"PEXPIRE k{number} 300000" for number in range(20)))
        target.client().delete(*(f"k{number}" for number in range(20)))
        await made.settle()
    assert differences(source, target) == []
    assert 5000 < max(sizes) <= 10_000


async def test_many_keys_take_many_barriers(
    source: Server, target: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than so many at a time, of all databases."""
    monkeypatch.setattr(module, "MOST_KEYS", 10)
    held_keys = []

    class Counted(Barriers):
        @asynccontextmanager
        async def at(self, source: Client, requests: Sequence[Request]) -> AsyncIterator[Held]:
            held_keys.append(sum(request[0] == "PEXPIRETIME" for request in requests))
            async with super().at(source, requests) as held:
                yield held

    async with following(source, target, Counted) as made:
        for database in (0, 2):
            await made.write(*(f"SET k{number} 1 PX 300000" for number in range(95)), database=database)
        await made.settle()
    assert differences(source, target) == []
    assert max(held_keys) == 10
    assert sum(held_keys) == 190


async def test_a_source_that_stands_still_for_a_while(
    source: Server, target: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A barrier is given up, and the work continues when the source does."""
    monkeypatch.setattr(barrier_module, "READ_SECONDS", 0.2)
    given_up = []

    class Noticing(Barriers):
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
