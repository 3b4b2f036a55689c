"""Acknowledgements: the applied offset in the stream, a newline while a snapshot is loaded, nothing before."""

from __future__ import annotations

from typing import cast

import anyio
import pytest

from shaker.flow.flow import Flow
from shaker.net.connection import Connection
from shaker.psync.handshake_states import ReplicaState
from shaker.psync.session import ReplicaSession
from shaker.readers.acknowledge import EAGER_ACKS, Acknowledgements, ack
from shaker.watch.status import Status
from tests.support.settings import settings

pytestmark = pytest.mark.anyio


class Sent:
    """A connection to a source, and the state of its session; keeps what is sent."""

    def __init__(self, state: ReplicaState) -> None:
        self.state = state
        self.sent: list[bytes] = []
        self.flow = Flow(Status(), settings(), window_limit=1 << 20)
        self.acknowledgements = Acknowledgements(self.flow, cast("Connection", self), cast("ReplicaSession", self))

    async def send(self, data: bytes) -> None:
        """Keep the bytes."""
        self.sent.append(data)


def test_an_acknowledgement_is_what_a_replica_sends() -> None:
    """The length of the number is its own."""
    assert ack(0) == b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$1\r\n0\r\n"
    assert ack(12345) == b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$5\r\n12345\r\n"


@pytest.mark.parametrize(
    ("state", "sent"),
    [
        (ReplicaState.NEW, []),
        (ReplicaState.READY, []),
        (ReplicaState.PREPARING, [b"\n"]),
        (ReplicaState.LOADING, [b"\n"]),
        (ReplicaState.MARK, [b"\n"]),
        (ReplicaState.STREAMING, [ack(0)]),
    ],
)
async def test_what_is_sent_follows_the_state_of_the_session(state: ReplicaState, sent: list[bytes]) -> None:
    """A source drops a replica that says nothing while it loads, and refuses an offset before the stream."""
    made = Sent(state)
    await made.acknowledgements.send()

    assert made.sent == sent


async def test_behind_a_snapshot_acknowledgements_follow_quickly() -> None:
    """A diskless source may overlook the first of them."""
    made = Sent(ReplicaState.STREAMING)
    made.acknowledgements.hurry()
    with anyio.move_on_after(0.5):
        await made.acknowledgements.run()

    assert 3 <= len(made.sent) <= EAGER_ACKS + 1


async def test_an_offset_that_the_source_awaits_is_acknowledged_at_once() -> None:
    """Otherwise WAIT on the source would take up to a second."""
    made = Sent(ReplicaState.STREAMING)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.acknowledgements.run)
        await anyio.sleep(0.05)
        assert made.sent == []
        made.flow.wakeups.acknowledge.set()
        await anyio.sleep(0.05)
        assert made.sent == [ack(0)]
        tasks.cancel_scope.cancel()
