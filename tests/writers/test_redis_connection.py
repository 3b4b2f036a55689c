"""One registered connection: it sends what the session plans, writes what the checkpoint lacks, notices silence."""

from __future__ import annotations

from typing import cast

import anyio
import pytest

from shaker.apply.records import Checkpoint, Fence
from shaker.apply.session import TargetSession
from shaker.codec.resp.replies import encode
from shaker.errors import LinkError
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent, RunState
from shaker.flow.progress import FlowProgress
from shaker.model.position import Phase
from shaker.net.connection import Connection
from shaker.net.reconnect import Reconnect
from shaker.rules.chain import Chain
from shaker.rules.command_table import CommandTable
from shaker.watch.status import Status
from shaker.writers.applied import AppliedCounter
from shaker.writers.redis_connection import RedisConnection
from tests.support.scripted_target import ScriptedConnection, ScriptedTarget
from tests.support.settings import settings
from tests.support.target_driver import REPLID, Stream

pytestmark = pytest.mark.anyio

STREAMING = Checkpoint(phase=Phase.STREAM, replid=REPLID, offset=1000, confirmed=1000, confirmed_at="1000 0")


class Linked:
    """A connection to a scripted target, in the stream, with its tasks."""

    def __init__(self, **given: str) -> None:
        made = settings(target__timeout_seconds="1", **given)
        self.flow = Flow(Status(), made, window_limit=1 << 20)
        self.flow.happen(FlowEvent.STARTED)
        self.flow.registered(STREAMING, same_server_run=False, first=True)
        self.target = ScriptedTarget()
        self.link = ScriptedConnection(self.target)
        self.session = TargetSession(
            name="default", window=self.flow.window, checkpoint=STREAMING, fence=Fence(1, "token", 7, "run"),
            chain=Chain(CommandTable({})), expiries=self.flow.expiries, unconfirmed=self.flow.unconfirmed,
            on_rejected=lambda _: None,
        )  # fmt: skip
        reconnect = Reconnect(made, "target", self.flow.status, FlowProgress(self.flow))
        self.connection = RedisConnection(
            made, self.flow, cast("Connection", self.link), self.session, reconnect, AppliedCounter(made, self.flow)
        )

    async def run(self, seconds: float) -> None:
        """Run the tasks for a while; raises the error of one that ends."""
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                for task in (self.connection.send, self.connection.receive, self.connection.checkpoint_when_idle):
                    tasks.start_soon(task)

    @property
    def record(self) -> dict[bytes, bytes]:
        """The checkpoint on the target."""
        found = self.target.data[0].get(b"shaker:checkpoint:default", {})
        assert isinstance(found, dict)
        return found


async def test_what_waits_is_sent_and_counted_once_it_is_answered() -> None:
    """And the checkpoint catches up with the replies while the link is idle."""
    linked, stream = Linked(), Stream()
    linked.flow.put(stream.batch(("INCR", "n"), ("INCR", "n")))
    await linked.run(2.5)

    assert linked.target.data[0][b"n"] == b"2"
    assert (linked.record[b"offset"], linked.record[b"confirmed"]) == (b"%d" % stream.offset, b"%d" % stream.offset)
    status = linked.flow.status
    assert (status.stream.applied_offset, status.stream.commands_applied) == (stream.offset, 2)
    assert status.traffic.sent_bytes == len(linked.target.received)


async def test_an_idle_target_may_be_silent_for_any_time() -> None:
    """It owes nothing once the first PING is answered."""
    linked = Linked()
    await linked.run(0.5)
    linked.link.silent = True
    await linked.run(2.0)

    assert linked.target.received == encode("PING")


async def test_a_target_that_owes_an_answer_times_out() -> None:
    """After target.timeout_seconds."""
    linked, stream = Linked(), Stream()
    linked.link.silent = True
    linked.flow.put(stream.batch(("INCR", "n")))
    with pytest.RaisesGroup(pytest.RaisesExc(LinkError, match="did not answer for 1 s")):
        await linked.run(10.0)


async def test_an_offset_without_effect_is_written_at_the_drain() -> None:
    """A restart then resumes from the newest offset."""
    linked, stream = Linked(), Stream()
    linked.flow.put(stream.ping())
    await linked.run(1.0)
    assert linked.record == {}
    linked.flow.happen(FlowEvent.STOP_REQUESTED)
    await linked.run(2.0)

    assert linked.record[b"offset"] == b"%d" % stream.offset
    assert linked.flow.lifecycle.run is RunState.DRAINED
