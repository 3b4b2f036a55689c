"""One takeover, one resume, one full resync: the worker is killed at each step of the plan, and the next goes on.

The tables are the plans, by what the servers see. At each step the request is withheld, the worker killed, and the
request arrives late, when the next worker has registered. Where a request has an effect by itself, it is tried as
well to have it executed, and the worker killed before it gets the answer. Whatever the step, both sides end equal,
with every INCR and RPUSH done once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Self, get_args

import pytest

from tests.faults.stopping import Mark, Moment, StoppingProxy
from tests.support.compare import differences
from tests.support.servers import Server, wait_until
from tests.support.worker import ROOT, Worker
from tests.support.writes import Writes, syncs

FENCE, CHECKPOINT, LIST = "shaker:fence:default", "shaker:checkpoint:default", "shaker:stale:default"

# A worker that starts while another one replicates.
TAKEOVER = {
    "the fence is watched": Mark(("WATCH", FENCE)),
    "the fence is read": Mark(("HGETALL", FENCE)),
    "writers are listed": Mark(("CLIENT", "LIST")),
    "the registration begins": Mark(("MULTI",)),
    "the fence is queued": Mark(("HSET", FENCE)),
    "the end of the older writer is queued": Mark(("CLIENT", "KILL")),
    "the checkpoint's reading is queued": Mark(("HGETALL", CHECKPOINT), 3),
    "the registration is executed": Mark(("EXEC",), effect=True),
}
# A worker that starts where another one ended.
RESUME = {
    "the source is asked to continue": Mark(("PSYNC",), effect=True),
    "the source continues": Mark(answer=b"+CONTINUE"),
    "a database is proven": Mark(("SELECT",)),
    "the first transaction begins": Mark(("MULTI",), 2),
    "its first command is queued": Mark(("INCR",)),
    "its checkpoint is queued": Mark(("HSET", CHECKPOINT)),
    "the first transaction is executed": Mark(("EXEC",), 2, effect=True),
    "the second transaction begins": Mark(("MULTI",), 3),
    "the second transaction is executed": Mark(("EXEC",), 3, effect=True),
}
# A worker that starts with a checkpoint of a history that the source does not have any more.
FULL_RESYNC = {
    "the source is asked to continue": Mark(("PSYNC",), effect=True),
    "the source refuses": Mark(answer=b"+FULLRESYNC"),
    "the snapshot begins on the target": Mark(("MULTI",), 2),
    "the checkpoint of the beginning is queued": Mark(("HSET", CHECKPOINT)),
    "the beginning of the snapshot is executed": Mark(("EXEC",), 2, effect=True),
    "the target's keys are asked for": Mark(("SCAN",)),
    "the first of them are queued": Mark(("SADD", LIST)),
    "the first of them are listed": Mark(("EXEC",), since="SADD", effect=True),
    "more of them are listed": Mark(("EXEC",), 2, since="SADD", effect=True),
    "the first key": Mark(("RESTORE",), effect=True),
    "the first keys leave the list": Mark(("SREM", LIST), effect=True),
    "the checkpoint of the first batch": Mark(("HSET", CHECKPOINT), since="RESTORE", effect=True),
    "half of the snapshot is received": Mark(answer=b"+FULLRESYNC", behind=150_000),
    "the checkpoint of the second batch": Mark(("HSET", CHECKPOINT), 2, since="RESTORE", effect=True),
    "libraries are queued": Mark(("FUNCTION",)),
    "the end of the snapshot is executed": Mark(("EXEC",), since="FUNCTION", effect=True),
    "stale keys are asked for": Mark(("SSCAN", LIST)),
    "their removal is queued": Mark(("UNLINK",)),
    "their removal is executed": Mark(("EXEC",), since="UNLINK", effect=True),
    "the end of the sweep is executed": Mark(("EXEC",), 2, since="UNLINK", effect=True),
    "the first transaction of the stream is executed": Mark(("EXEC",), 3, since="UNLINK", effect=True),
    "the second transaction of the stream is executed": Mark(("EXEC",), 4, since="UNLINK", effect=True),
}
PLANS = {"takeover": TAKEOVER, "resume": RESUME, "full resync": FULL_RESYNC}
CASES = [
    (plan, step, moment)
    for plan, steps in PLANS.items()
    for step, mark in steps.items()
    for moment in get_args(Moment)
    if (mark.words if moment == "withheld" else mark.answer or mark.effect)
]
LIBRARY = "#!lua name=one\nredis.register_function('one', function() return 1 end)"


class World:
    """A source, a target and the worker between them, which the case before left running."""

    def __init__(self) -> None:
        self.source, self.target = Server(), Server()
        self.worker = Worker(self.source, self.target)
        self.equal = True  # what the case before found, and what this one may begin with

    def start(self) -> Self:
        """Start all, with data that a snapshot takes a few batches for."""
        self.source.start()
        self.target.start()
        client = self.source.client()
        for number in range(60):
            client.set(f"key:{number}", os.urandom(5000))
        client.function_load(LIBRARY)
        self.worker.start()
        self.worker.wait_state("streaming")
        return self

    def close(self) -> None:
        """End all."""
        self.worker.close()
        self.source.close()
        self.target.close()


@pytest.fixture(scope="module")
def worlds() -> Iterator[list[World]]:
    """The world that the cases share, in a list: one in which a case failed is replaced."""
    found: list[World] = []
    yield found
    for each in found:
        each.close()


@pytest.fixture
def world(worlds: list[World]) -> World:
    """A world in which both sides are equal and a worker streams."""
    if worlds and not worlds[0].equal:
        worlds.pop().close()
    if not worlds:
        worlds.append(World())
        worlds[0].start()
    return worlds[0]


def prepare(plan: str, world: World) -> None:
    """Bring the world to where the plan begins."""
    if plan == "takeover":
        return
    source = world.source.client()
    source.set("gone", 1)
    world.worker.wait_applied(world.source)
    world.worker.kill()
    source.delete("gone")
    if plan == "full resync":
        source.execute_command("DEBUG", "CHANGE-REPL-ID")


@pytest.mark.parametrize(("plan", "step", "moment"), CASES)
def test_killed_there(plan: str, step: str, moment: Moment, world: World) -> None:
    """The next worker goes on from what has taken effect; what comes late has none."""
    world.equal = False
    mark = PLANS[plan][step]
    source, target, older = world.source, world.target, world.worker
    prepare(plan, world)
    syncs_before = syncs(source)[0]
    at_source = bool(mark.answer) or mark.words == ("PSYNC",)
    with (
        Writes(source, pause=0.005) as writes,
        StoppingProxy(source if at_source else target, mark, moment) as proxy,
    ):
        with Worker(proxy.url if at_source else source, target if at_source else proxy.url) as stopped:
            stopped.wait(lambda: proxy.stopped, step)
            stopped.kill()
        if moment == "answer withheld":
            proxy.hang_up()
        world.worker = Worker(source, target).start()
        world.worker.wait(lambda: world.worker.events("registered"), "the next worker's registration")
        if moment == "withheld":
            proxy.go_on()
            wait_until(lambda: proxy.open == 0, "what was withheld to arrive")
        status = world.worker.wait_state("streaming")
        writes.stop()
        world.worker.wait_applied(source)
        world.worker.wait_status(lambda status: status["ready"], "the next worker to be ready")

    if plan == "takeover":
        assert older.wait_ended() == 6
    assert differences(source, target) == []
    assert status["rejected_commands"] == 0
    if plan != "full resync":
        assert syncs(source)[0] == syncs_before
    world.equal = True


@pytest.mark.parametrize("plan", PLANS)
def test_the_documentation_names_the_steps(plan: str) -> None:
    """In the plan's order, with the moments that are tried."""
    text = (ROOT / "docs" / "reliability.md").read_text()
    moments = {(True, True): "before and after it", (True, False): "before it", (False, False): "after it"}
    rows = [f"| {step} | {moments[bool(mark.words), mark.effect]} |" for step, mark in PLANS[plan].items()]
    assert "\n".join([f"| step of a {plan} | killed |", "| --- | --- |", *rows, ""]) in text
