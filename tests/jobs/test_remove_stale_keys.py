"""The requests and writes of a sweep, and their execution: bounded, of one server, never a traceback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shaker.codec.resp.replies import encode
from shaker.errors import LinkError
from shaker.jobs import remove_stale_keys as module
from shaker.jobs.remove_stale_keys import STEP_BYTES, STEP_KEYS, Round, Rounds, forgetting, listing, removal
from shaker.model.position import Sweep
from shaker.net.client import Client, open_client
from shaker.readers import acknowledge as acknowledgements_module
from shaker.readers import psync_connection as psync_module
from shaker.settings.endpoints import Endpoint
from shaker.settings.schema import Settings
from shaker.writers import redis_connection as target_module
from tests.support.links import Links, replicating
from tests.support.proxy import Proxy
from tests.support.servers import Server

pytestmark = pytest.mark.anyio


class Answering:
    """A target in a test's own words: databases of keys, and the lists that are written there."""

    def __init__(self, keys: dict[int, list[bytes]], page: int | None = None) -> None:
        self.keys = keys
        self.page = page
        self.counts: list[int] = []
        self.database = 0

    def answer(self, step: Round) -> list[Any]:
        """Return the replies to the requests of a round."""
        return [self._reply(*request) for request in step.requests]

    def _reply(self, name: str | bytes | int, *arguments: str | bytes | int) -> Any:
        if name == "SELECT":
            self.database = int(arguments[0])
            return b"OK"
        keys = self.keys.get(self.database, [])
        if name == "SCARD":
            return len(keys)
        cursor, count = int(arguments[-3]), int(arguments[-1])
        self.counts.append(count)
        end = cursor + (self.page or count)
        return [b"%d" % end if end < len(keys) else b"0", keys[cursor:end]]


def written(rounds: Rounds, target: Answering) -> Iterator[Round]:
    """Go through `rounds`, yielding those that write."""
    step = next(rounds)
    while True:
        if step.writes:
            yield step
        try:
            step = rounds.send(target.answer(step))
        except StopIteration:
            return


# --- requests and writes ---


def test_every_key_is_listed_in_its_database() -> None:
    """Those of workers are nobody's data; the last step records that all of them are."""
    keys = [b"%d" % number for number in range(2500)]
    target = Answering({0: [*keys, b"shaker:fence:default"], 4: [b"shaker:stale:default"], 9: [b"one"]})
    steps = list(written(listing("default", [0, 4, 9]), target))

    data = b"".join(part.data for step in steps for part in step.parts if part.database == 0)
    assert all(b"\r\n%b\r\n" % key in data for key in keys)
    assert b"fence" not in data
    assert [part.database for step in steps for part in step.parts if part.database] == [9]
    assert sum(step.keys for step in steps) == 2501
    assert [step.sweep for step in steps if step.sweep is not None] == [Sweep.LISTED]
    assert steps[-1].sweep == Sweep.LISTED


def test_a_target_without_keys_is_listed() -> None:
    """There is nothing to list, and the step records it."""
    assert list(written(listing("default", []), Answering({}))) == [Round(sweep=Sweep.LISTED)]
    assert list(written(removal("default", []), Answering({}))) == [Round(sweep="")]


@pytest.mark.parametrize("make", [listing, removal])
def test_steps_are_bounded_in_keys(make: Any) -> None:
    """More are asked for from step to step, up to what the target can do between other requests."""
    target = Answering({0: [b"%d" % number for number in range(20_000)]})
    rounds = make("default", [0])
    step = next(rounds)
    for _ in range(6):
        step = rounds.send(target.answer(step))
    assert max(target.counts) == STEP_KEYS
    assert target.counts == sorted(target.counts)
    assert target.counts[0] < STEP_KEYS / 50


def test_steps_are_bounded_in_bytes() -> None:
    """Long keys are asked for in smaller numbers."""
    target = Answering({0: [b"%08d" % number * 1000 for number in range(2000)]})
    sizes = [sum(len(part.data) for part in step.parts) for step in written(listing("default", [0]), target)]

    assert max(sizes) < 2 * STEP_BYTES
    assert sum(sizes) > 2000 * 8000


def test_removal_goes_through_all_lists_until_they_are_empty() -> None:
    """Including keys that a pass over a list left; each step gives the number of keys left."""

    class Forgetful(Answering):
        def _reply(self, name: str | bytes | int, *arguments: str | bytes | int) -> Any:
            reply = super()._reply(name, *arguments)
            if name == "SSCAN" and len(self.counts) == 1:
                return [b"0", self.keys[self.database][:2]]  # a scan that misses something
            return reply

    target = Forgetful({0: [b"a", b"b", b"c"], 3: [], 5: [b"d"]})
    steps = []
    for step in written(removal("default", [0, 3, 5]), target):
        steps.append(step)
        for part in step.parts:
            kept = [key for key in target.keys[part.database] if b"\r\n%b\r\n" % key not in part.data]
            target.keys[part.database] = kept
    assert target.keys == {0: [], 3: [], 5: []}
    assert [step.left for step in steps] == [2, 1, 0, 0]
    assert sum(step.keys for step in steps) == 4
    assert [step.sweep for step in steps] == [None, None, None, ""]
    assert steps[-1].parts == ()


def test_lists_are_dropped_at_once() -> None:
    """In one step, which also records the end of the sweep."""
    (step,) = forgetting("default", [0, 3])
    assert [(part.database, part.data) for part in step.parts] == [
        (database, encode("UNLINK", "shaker:stale:default")) for database in (0, 3)
    ]
    assert step.sweep == ""


STRANGE: list[Any] = [
    *(None, 5, b"text", [], [b"0"]),
    *([b"0", b"keys"], [[], []], [b"0", [None]], [5, [b"key"]], [b"0", [[]]]),
]


@pytest.mark.parametrize("reply", STRANGE, ids=repr)
def test_a_reply_of_another_shape(reply: Any) -> None:
    """The peer may not be a Redis: an error that retrying may fix, never a traceback."""
    rounds = listing("default", [0])
    next(rounds)
    with pytest.raises(LinkError):
        rounds.send([b"OK", reply])

    rounds = removal("default", [0])
    next(rounds)
    rounds.send([b"OK", 1])
    with pytest.raises(LinkError):
        rounds.send([b"OK", reply])


@pytest.mark.parametrize("reply", [None, b"text", [], [1]], ids=repr)
def test_a_length_of_another_shape(reply: Any) -> None:
    """The length of a list is a number."""
    rounds = removal("default", [0])
    next(rounds)
    with pytest.raises(LinkError):
        rounds.send([b"OK", reply])


# --- how it is carried out ---


async def begin_resync(links: Links, source: Server) -> None:
    """Have the source begin another history, and wait until a full synchronisation onto the old data begins."""
    full = links.status.links.full_syncs
    source.client().execute_command("DEBUG", "CHANGE-REPL-ID")
    source.client().client_kill_filter(_type="replica")
    await links.wait(lambda: links.status.links.full_syncs > full, "a full synchronisation")


async def end_resync(links: Links) -> None:
    """Wait until it is over."""
    await links.wait(lambda: links.status.snapshot.finished and not links.flow.sweep, "its end")


async def resync(links: Links, source: Server) -> None:
    """Have a full synchronisation onto the old data."""
    await begin_resync(links, source)
    await end_resync(links)


async def test_a_database_that_the_source_does_not_have(source: Server, target: Server) -> None:
    """Nothing of it is the source's."""
    async with replicating(source, target) as links:
        source.client().set("stays", 1)
        for database in (0, 3, 9):
            target.client(db=database).set("stale", 1)
        await resync(links, source)
    assert [target.client(db=database).exists("stale") for database in (0, 3, 9)] == [0, 0, 0]
    assert target.client().get("stays") == b"1"
    assert links.status.sweep.deleted == 3


async def test_another_server_answers_for_the_target(
    source: Server, target: Server, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a balancer or after a failover: its keys are not those that will be restored over."""
    other = server()
    other.client().set("elsewhere", 1)
    balancer = {"elsewhere": True}
    opened = []

    @asynccontextmanager
    async def open_other(endpoint: Endpoint) -> AsyncIterator[Client]:
        if balancer["elsewhere"]:
            endpoint = Settings(source={"url": source.url}, target={"url": other.url}).target  # type: ignore[arg-type]
        else:
            opened.append(endpoint)
        async with open_client(endpoint) as reader:
            yield reader

    monkeypatch.setattr(module, "open_client", open_other)
    async with replicating(source, target) as links:
        target.client().set("stale", 1)
        await begin_resync(links, source)
        await links.wait(lambda: "another server" in links.status.reasons.get("sweep", ""), "the refusal")
        assert links.flow.listing
        balancer["elsewhere"] = False
        await end_resync(links)
    assert len(opened) == 2  # one for the listing, one for the removal
    assert target.client().exists("stale") == 0
    assert other.client().exists("elsewhere") == 1


async def test_a_removal_that_another_snapshot_overtakes(
    source: Server, target: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its keys stay: the keys that are stale for the next snapshot are listed again."""
    opened = []

    @asynccontextmanager
    async def open_late(endpoint: Endpoint) -> AsyncIterator[Client]:
        opened.append(endpoint)
        if len(opened) == 2:
            source.client().delete("later")
            await begin_resync(links, source)
            await links.wait(lambda: links.flow.listing, "the next snapshot")
        async with open_client(endpoint) as reader:
            yield reader

    monkeypatch.setattr(module, "open_client", open_late)
    source.client().mset({"stays": 1, "later": 1})
    async with replicating(source, target) as links:
        target.client().set("stale", 1)
        await begin_resync(links, source)
        await links.wait(lambda: links.status.links.full_syncs == 3, "the next snapshot")
        await end_resync(links)
    assert target.client().exists("stale", "later") == 0
    assert (target.client().get("stays"), links.status.sweep.deleted) == (b"1", 2)


async def test_a_sweep_that_was_held_up_is_no_target_that_does_not_answer(
    source: Server, target: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time between two of its steps is not the target's: its connection stays."""
    monkeypatch.setattr(target_module, "TICK_SECONDS", 0.02)
    client = target.client()
    with Proxy(target) as proxy:
        endpoint = {"url": proxy.url, "timeout_seconds": 1}
        async with replicating(source, target, target_settings=endpoint, retry={"access_seconds": 1}) as links:
            client.set("stale", 1)
            client.execute_command("ACL", "SETUSER", "default", "-scan")
            await begin_resync(links, source)
            await links.wait(lambda: "'scan'" in links.status.sweep.error, "the missing right")
            began = links.status.clock()
            await links.wait(lambda: links.status.clock() > began + 0.9, "the next try, nearly")
            client.execute_command("ACL", "SETUSER", "default", "+scan")
            proxy.set("up", latency=0.1)
            await end_resync(links)
    assert (links.status.links.reconnects["target"], client.exists("stale")) == (0, 0)


@pytest.mark.parametrize("windows", [psync_module.TRICKLE_WINDOWS, 0])
async def test_a_listing_that_takes_longer_than_the_source_waits(
    windows: int, source: Server, target: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A little is read meanwhile, so that one snapshot is enough; beyond that the listing outlives the snapshot."""
    monkeypatch.setattr(psync_module, "TRICKLE_SECONDS", 0.1)
    monkeypatch.setattr(psync_module, "TRICKLE_WINDOWS", windows)
    monkeypatch.setattr(acknowledgements_module, "ACK_SECONDS", 0.1)
    monkeypatch.setattr(module, "STEP_KEYS", 10)
    client = source.client()
    client.config_set("repl-timeout", 1)
    client.config_set("rdbcompression", "no")
    for number in range(60):
        client.set(f"large:{number}", bytes(1 << 20))
    with Proxy(target) as proxy:
        async with replicating(
            source, target, target_settings={"url": proxy.url}, retry={"access_seconds": 1}
        ) as links:
            target.client().mset({f"stale:{number}": 1 for number in range(1000)})
            await begin_resync(links, source)
            proxy.set("up", latency=0.1)
            await links.wait(lambda: links.flow.listing, "the listing")
            began = links.status.clock()
            if windows:
                await links.wait(lambda: links.status.clock() > began + 3, "more than the source waits")
            else:
                await links.wait(lambda: links.status.links.full_syncs > 2, "the source to start over")
            assert links.flow.listing
            proxy.heal()
            await end_resync(links)
    assert links.status.sweep.listed == 1060
    assert (links.status.links.full_syncs == 2) == (windows > 0)
    assert target.client().dbsize() == 60 + 2


async def test_a_sweep_without_target_has_no_heartbeat(source: Server, target: Server) -> None:
    """The wait for a lost target may be long; it must not restart the worker."""
    with Proxy(target) as proxy:
        async with replicating(
            source, target, target_settings={"url": proxy.url}, retry={"access_seconds": 1}
        ) as links:
            target.client().set("stale", 1)
            target.client().execute_command("ACL", "SETUSER", "default", "-scan")
            await begin_resync(links, source)
            await links.wait(lambda: "sweep" in links.status.heartbeats, "the sweep")
            proxy.refuse()
            proxy.reset()
            await links.wait(lambda: "sweep" not in links.status.heartbeats, "the end of its heartbeat", 40.0)
            target.client().execute_command("ACL", "SETUSER", "default", "+scan")
            proxy.accept()
            await end_resync(links)
    assert target.client().exists("stale") == 0
