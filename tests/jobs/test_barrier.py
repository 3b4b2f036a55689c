"""Barriers on real servers under load: both sides at exactly one point, given up with a reason, never half."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from shaker.codec.resp.replies import encode
from shaker.errors import LinkError
from shaker.jobs import barrier as module
from shaker.jobs.barrier import BarrierError, Barriers
from shaker.model.batch import CommandRun
from shaker.net import client as reader_module
from shaker.net.client import Asked, Client, Request, open_client
from shaker.settings.schema import Settings
from tests.support.counting import counting
from tests.support.links import Links, replicating
from tests.support.proxy import Proxy
from tests.support.servers import DEFAULT, OLDEST, SOURCES, Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

Servers = Callable[..., Server]
BARRIERS = 200


@pytest.fixture(autouse=True)
def values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the readers of these tests read a value, which a worker's never do."""
    monkeypatch.setattr(reader_module, "READ_COMMANDS", reader_module.READ_COMMANDS | {"GET"})


async def count(links: Links) -> int:
    """Return the counter of the target."""
    return int(await links.target.call("GET", "counter") or 0)


async def goes_on(links: Links, source: Server, target: Server) -> None:
    """Check that the stream is not held, and that the next barrier works."""
    expected = source.client().incr("counter")
    await links.wait_applied(source)
    assert int(target.client().get("counter")) == expected  # type: ignore[arg-type]
    async with links.barriers.at(links.source, [("GET", "counter")]) as held:
        assert int(held.replies[0]) == expected == await count(links)


def reader_of(source: Server, target: Server) -> Any:
    """Return a new reader of the source."""
    return open_client(Settings(source={"url": source.url}, target={"url": target.url}).source)  # type: ignore[arg-type]


# --- exactness ---


@pytest.mark.parametrize("kind", ["primary", "replica"])
@pytest.mark.parametrize("name", SOURCES)
async def test_both_sides_are_at_one_point(name: str, kind: str, server: Servers) -> None:
    """The counter read on the source is the target's while it is held, each time, and the target stands still."""
    primary, target = server(name), server(DEFAULT if name == OLDEST else name)
    source = primary
    if kind == "replica":
        source = server(name)
        source.replicate(primary)
    seen = []
    async with replicating(source, target) as links:
        with counting(primary):
            for _ in range(BARRIERS):
                async with links.barriers.at(links.source, [("GET", "counter"), ("DBSIZE",)]) as held:
                    first = await count(links)
                    seen.append(int(held.replies[0] or 0))
                    assert first == seen[-1]
                    assert await count(links) == first
                while await count(links) == first:  # the load, a process of its own, goes on
                    await anyio.lowlevel.checkpoint()
                assert held.replica == (kind == "replica")
        await links.wait_applied(source)
        assert await count(links) == int(primary.client().get("counter"))  # type: ignore[arg-type]
    assert seen == sorted(seen)
    assert len(set(seen)) == BARRIERS


@pytest.mark.parametrize("name", SOURCES)
async def test_what_is_applied_takes_its_place(name: str, server: Servers) -> None:
    """The block's writes are exactly where the source was read, and only the registered connection makes them."""
    source, target = server(name), server(DEFAULT if name == OLDEST else name)
    commands = []
    with target.client().monitor() as monitor:
        async with replicating(source, target) as links:
            with counting(source):
                for number in range(30):
                    async with links.barriers.at(links.source, [("GET", "counter")]) as held:
                        note = CommandRun(0, encode("EVAL", NOTE, 0, held.replies[0]), 1)
                        held.apply(note, CommandRun(3, encode("SET", "last", number), 1))
            await links.wait_applied(source)
        target.client().echo("the end")
        for command in monitor.listen():
            if command["command"] == "ECHO the end":
                break
            commands.append(command)
    noted = target.client().lrange("noted", 0, -1)
    assert len(noted) == 30
    assert all(one == other for one, other in (pair.split(b" ") for pair in noted))
    assert target.client(db=3).get("last") == b"29"
    writers = {
        command["client_port"]
        for command in commands
        if command["client_type"] != "lua" and command["command"].split()[0] in ("EVAL", "SET", "INCR", "HSET")
    }
    assert len(writers) == 1


NOTE = "return redis.call('RPUSH', 'noted', ARGV[1] .. ' ' .. redis.call('GET', 'counter'))"


async def test_one_barrier_at_a_time(source: Server, target: Server) -> None:
    """The second waits until the stream continues after the first."""
    happened: list[str] = []
    async with replicating(source, target) as links:
        source.client().incr("counter")

        async def hold(name: str) -> None:
            async with (
                reader_of(source, target) as reader,
                links.barriers.at(reader, [("GET", "counter")]),
            ):
                happened.append(f"{name} begins")
                await anyio.sleep(0.02)
                happened.append(f"{name} ends")

        async with anyio.create_task_group() as tasks:
            for name in ("a", "b", "c"):
                tasks.start_soon(hold, name)
        await goes_on(links, source, target)
    assert [each.split()[1] for each in happened] == ["begins", "ends"] * 3
    assert [each.split()[0] for each in happened[::2]] == [each.split()[0] for each in happened[1::2]]


@pytest.mark.parametrize("name", SOURCES)
async def test_keys_that_the_reading_expires(name: str, server: Servers) -> None:
    """Before Redis 7.0 the offset lies inside the transaction of their deletion: held behind its end, there too."""
    source, target = server(name), server(DEFAULT if name == OLDEST else name)
    client = source.client()
    client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    async with replicating(source, target) as links:
        client.set("one", 1, px=1)
        client.set("two", 2, px=1)
        await links.wait_applied(source)
        await links.wait(lambda: client.pttl("one") != 1 and client.time()[1] % 5000 > 2000, "the expiries")
        requests: list[Request] = [("EXISTS", "one"), ("EXISTS", "two")]
        async with links.barriers.at(links.source, requests) as held:
            assert target.client().exists("one", "two") == 0 or not name.startswith(("redis-5", "redis-6"))
        assert held.replies == [0, 0]
        await goes_on(links, source, target)


@pytest.mark.parametrize("name", SOURCES)
async def test_readings_of_several_databases(name: str, server: Servers) -> None:
    """Redis 5.0 sends a SELECT before the EXEC of a reading that ends in another database than it began in."""
    source, target = server(name), server(DEFAULT if name == OLDEST else name)
    async with replicating(source, target) as links:
        for database in (0, 9, 15):
            source.client(db=database).set("counter", database)
        for ending in (9, 15, 0, 9, 0):
            requests: list[Request] = [("SELECT", 9), ("GET", "counter"), ("SELECT", ending), ("GET", "counter")]
            async with links.barriers.at(links.source, requests) as held:
                assert (held.replies[1], held.replies[3]) == (b"9", str(ending).encode())
                assert target.client(db=ending).get("counter") == str(ending).encode()
        source.client(db=0).set("counter", 0)
        await goes_on(links, source, target)


# --- given up ---


async def test_a_source_that_does_not_answer(source: Server, target: Server) -> None:
    """Given up in time; while it is asked the intake pauses, and afterwards continues."""
    async with replicating(source, target) as links:
        links.barriers = Barriers(links.flow, read_seconds=0.2)
        source.pause()
        try:
            with pytest.raises(BarrierError, match="did not answer within"):
                async with links.barriers.at(links.source, [("GET", "counter")]):
                    raise AssertionError("held")
        finally:
            source.resume()
        async with AsyncExitStack() as stack:
            links.source = await stack.enter_async_context(reader_of(source, target))
            await goes_on(links, source, target)


async def test_a_reader_that_was_not_answered_is_not_used_again(source: Server, target: Server) -> None:
    """The late answer would be taken for the next one's."""
    source.client().set("counter", 5)
    async with replicating(source, target) as links:
        links.barriers = Barriers(links.flow, read_seconds=0.2)
        source.pause()
        try:
            with pytest.raises(BarrierError):
                async with links.barriers.at(links.source, [("GET", "counter")]):
                    raise AssertionError("held")
        finally:
            source.resume()
        with pytest.raises(LinkError, match="not answered an earlier"):
            async with links.barriers.at(links.source, [("GET", "other")]):
                raise AssertionError("held")


async def test_another_server_answers_for_the_source(source: Server, target: Server, server: Servers) -> None:
    """Behind a balancer or after a failover: its offsets mean something else, even with the same history."""
    replica = server()
    replica.replicate(source)
    async with replicating(source, target) as links, reader_of(replica, target) as other:
        with pytest.raises(LinkError, match="another server"):
            async with links.barriers.at(other, [("GET", "counter")]):
                raise AssertionError("held")
        await goes_on(links, source, target)


async def test_the_source_has_begun_another_history(source: Server, target: Server) -> None:
    """The stream that still comes is not the one that the offset is of."""
    with Proxy(source) as proxy:
        async with replicating(source, target, url=proxy.url) as links:
            proxy.set("down", stalled=True)
            source.client().execute_command("DEBUG", "CHANGE-REPL-ID")
            with pytest.raises(BarrierError, match="present history"):
                async with links.barriers.at(links.source, [("GET", "counter")]):
                    raise AssertionError("held")
            proxy.heal()


class Late(Client):
    """A reader whose answers come when they are no longer true."""

    def __init__(self, reader: Client) -> None:
        super().__init__(reader.connection, reader.side)
        self._answers = b""

    async def raw(self, requests: Sequence[Asked]) -> bytes:
        self._answers = self._answers or await super().raw(requests)
        return self._answers


async def test_an_offset_that_was_passed(source: Server, target: Server) -> None:
    """The stream cannot go back."""
    async with replicating(source, target) as links:
        late = Late(links.source)
        async with links.barriers.at(late, [("GET", "counter")]):
            pass
        source.client().incr("counter")
        await links.wait_applied(source)
        with pytest.raises(BarrierError, match="could not be held"):
            async with links.barriers.at(late, [("GET", "counter")]):
                raise AssertionError("held")
        await goes_on(links, source, target)


async def test_an_offset_that_does_not_come(source: Server, target: Server) -> None:
    """The source is ahead and its stream is stalled: given up in time, and a later arrival holds nothing."""
    with Proxy(source) as proxy:
        async with replicating(source, target, url=proxy.url) as links:
            links.barriers = Barriers(links.flow, reach_seconds=0.2)
            proxy.set("down", stalled=True)
            source.client().incr("counter")
            with pytest.raises(BarrierError, match="did not reach offset"):
                async with links.barriers.at(links.source, [("GET", "counter")]):
                    raise AssertionError("held")
            proxy.heal()
            await goes_on(links, source, target)


async def test_a_source_link_lost_on_the_way(source: Server, target: Server) -> None:
    """The offset lies ahead, the link is lost: given up at once, without waiting for the time to pass."""
    with Proxy(source) as proxy:
        async with replicating(source, target, url=proxy.url) as links:
            proxy.set("down", stalled=True)
            source.client().incr("counter")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cut_soon, proxy)
                with anyio.fail_after(module.REACH_SECONDS - 1), pytest.raises(BarrierError, match="not be held"):
                    async with links.barriers.at(links.source, [("GET", "counter")]):
                        raise AssertionError("held")
            proxy.heal()
            await goes_on(links, source, target)


async def cut_soon(proxy: Proxy) -> None:
    """Break the connections once the barrier waits."""
    await anyio.sleep(0.1)
    proxy.reset()


async def test_a_target_link_lost_while_it_is_held(source: Server, target: Server) -> None:
    """The block gets the error, its requests have no effect, and the stream continues."""
    async with replicating(source, target) as links:
        source.client().incr("counter")
        await links.wait_applied(source)
        reconnects = links.status.links.reconnects["target"]
        with pytest.raises(BarrierError, match="may not have taken effect"):  # noqa: PT012  it comes from the end of the block
            async with links.barriers.at(links.source, [("GET", "counter")]) as held:
                (writer,) = (
                    one["id"] for one in target.client().client_list() if one["name"].startswith("shaker-writer:")
                )
                target.client().client_kill_filter(_id=writer)
                await links.wait(lambda: links.status.links.reconnects["target"] > reconnects, "the new connection")
                held.apply(CommandRun(0, encode("SET", "counter", "spoilt"), 1))
        assert await count(links) == 1
        await goes_on(links, source, target)


async def test_a_block_that_fails(source: Server, target: Server) -> None:
    """The error is raised, the block's requests have no effect, and the stream continues."""
    async with replicating(source, target) as links:
        source.client().incr("counter")
        with pytest.raises(ZeroDivisionError):  # noqa: PT012  what the block does before is the point
            async with links.barriers.at(links.source, [("GET", "counter")]) as held:
                held.apply(CommandRun(0, encode("SET", "counter", "spoilt"), 1))
                raise ZeroDivisionError
        await goes_on(links, source, target)


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.002, 0.004, 0.008, 0.05])
async def test_a_barrier_that_is_cancelled(seconds: float, source: Server, target: Server) -> None:
    """At any point of it, the stream continues."""
    async with replicating(source, target) as links:
        source.client().incr("counter")
        with anyio.move_on_after(seconds):
            async with links.barriers.at(links.source, [("GET", "counter")]) as held:
                held.apply(CommandRun(0, encode("SET", "counter", "spoilt"), 1))
                await anyio.sleep_forever()
        async with AsyncExitStack() as stack:
            links.source = await stack.enter_async_context(reader_of(source, target))
            await goes_on(links, source, target)


# --- readers ---


@pytest.mark.parametrize(
    "command",
    ["SET", "DEL", "UNLINK", "EVAL", "FLUSHALL", "RESTORE", "set", "CONFIG", "CLIENT", "SUBSCRIBE", "SPOP"],
)
async def test_a_reader_refuses_what_does_not_only_read(command: str, source: Server) -> None:
    """Before anything is sent; not the first request only, and in any case of letters."""
    settings = Settings(source={"url": source.url}, target={"url": "redis://other"})  # type: ignore[arg-type]
    source.client().set("key", 1)
    async with open_client(settings.source) as reader:
        with pytest.raises(ValueError, match=command):
            await reader.pipeline([("EXISTS", "key"), (command, "key", "0")])
        assert await reader.call("EXISTS", "key") == 1
