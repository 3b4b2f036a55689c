"""Acknowledgements to the source: the applied offset; before the stream, newlines that show the worker is alive."""

from __future__ import annotations

from typing import Final

import anyio

from shaker.flow.flow import Flow
from shaker.net.connection import Connection
from shaker.psync.handshake_states import ReplicaState
from shaker.psync.session import ReplicaSession

ACK_SECONDS: Final = 1.0
# A diskless source holds its stream back until the first acknowledgement after the snapshot, and can overlook an
# immediate one: for a second they follow at this interval.
EAGER_ACK_SECONDS: Final = 0.05
EAGER_ACKS: Final = 20


class Acknowledgements:
    """The acknowledgements of one connection to the source."""

    def __init__(self, flow: Flow, connection: Connection, session: ReplicaSession) -> None:
        self._flow = flow
        self._connection = connection
        self._session = session
        self._eager = 0

    def hurry(self) -> None:
        """Acknowledge often for a second: the snapshot has ended."""
        self._eager = EAGER_ACKS
        self._flow.wakeups.acknowledge.set()

    async def run(self) -> None:
        """Acknowledge every second, and at once when the source asks or its awaited offset is applied."""
        while True:
            eager = self._eager > 0 and self._session.state is ReplicaState.STREAMING
            self._eager -= eager
            with anyio.move_on_after(EAGER_ACK_SECONDS if eager else ACK_SECONDS):
                await self._flow.wakeups.acknowledge.wait()
            self._flow.status.heartbeat("source")
            await self.send()

    async def send(self) -> None:
        """Send the applied offset; while a snapshot is loaded, a newline that shows the worker is alive."""
        state = self._session.state
        if state in (ReplicaState.PREPARING, ReplicaState.LOADING, ReplicaState.MARK):
            await self._connection.send(b"\n")
        elif state is ReplicaState.STREAMING:
            await self._connection.send(ack(self._flow.acknowledged_offset))


def ack(offset: int) -> bytes:
    """Return the request by which a replica acknowledges `offset`."""
    number = b"%d" % offset
    return b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$%d\r\n%b\r\n" % (len(number), number)
