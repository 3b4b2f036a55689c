"""The way back of a cutover with `--reverse`: from which point the target's own stream is applied to the source.

The point is a place in the target's history behind everything that this replication has written there, and before the
first write of an application: it is read from the target's stream itself, within the fence and before the hook. That
also shows that the target gives the stream without a snapshot, and which database is selected there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final

from shaker.apply.records import Checkpoint, checkpoint_key
from shaker.checks.preflight.catalogue import CHECKS, findings
from shaker.checks.preflight.facts import Facts
from shaker.checks.preflight.finding import Status
from shaker.checks.preflight.read_server import read_server
from shaker.errors import CorruptError, LinkError, RefusedError
from shaker.flow.flow import Flow
from shaker.jobs.cutover_order import Failed, Order, Outcome
from shaker.model.batch import Batch, FullSync, Introduced, RecordWritten
from shaker.model.cutover import Turn
from shaker.model.position import Phase, Resume
from shaker.net.client import TIMEOUT_SECONDS, connect_endpoint
from shaker.net.connection import Connection
from shaker.net.credentials import credentials
from shaker.psync.session import ReplicaSession
from shaker.rules.chain import Chain
from shaker.settings.endpoints import Endpoint
from shaker.settings.schema import Settings
from shaker.settings.turned import turned_round

WriteTurned = Callable[[Endpoint, str, str, Checkpoint], Awaitable[None]]

UNKNOWN: Final = -1  # instead of a database
PASS_BYTES: Final = 1024 * 1024  # of a command that is not held whole
# Checks that the other direction has to pass.
NEEDED: Final = frozenset(
    (
        *("source-reachable", "source-rights", "source-psync", "source-role", "source-cluster"),
        *("target-reachable", "target-rights", "target-version", "target-cluster", "target-writable"),
        "target-eviction",
    )
)


async def refused_way_back(settings: Settings, order: Order) -> list[str]:
    """Return why the replication cannot be turned round, one sentence each."""
    refused: list[str] = []
    if order.fence not in ("acl", "none"):
        refused.append(
            f"--reverse with --fence {order.fence} would shut out the worker, too: use --fence-acl USER=RULES, or "
            "--fence none once the applications are stopped"
        )
    other = turned_round(settings)
    facts = Facts(
        other,
        await read_server(other, "source", link_test=False),
        await read_server(other, "target", link_test=False),
    )
    checks = [check for check in CHECKS if check.name in NEEDED]
    for finding in findings(facts, checks):
        if finding.status is Status.FAILED:
            refused.append(f"in the other direction, with {other.source.address.text} as source: {finding.finding}")
    if facts.source.info is not None and not facts.source.info.replication.backlog_active:
        refused.append(
            "the target keeps no replication backlog, so its stream cannot be followed without a full sync: CONFIG SET "
            "repl-backlog-ttl 0 there, and let a replica attach once"
        )
    return refused


class WayBack:
    """Finds the point and records it.

    `attached` keeps the connection on which it was found: as long as the target has a replica that lags behind, it
    keeps the stream from there on, up to the limit of that replica's output buffer.
    """

    def __init__(self, settings: Settings, flow: Flow, write: WriteTurned, attached: AsyncExitStack) -> None:
        self._settings = settings
        self._flow = flow
        self._write = write
        self._attached = attached
        self._point: Resume | None = None

    async def find(self, mark: Callable[[], Awaitable[None]]) -> None:
        """Find the point; `mark` has the worker write its checkpoint on the target. Raises Failed."""
        try:
            connection = await self._attached.enter_async_context(
                connect_endpoint(self._settings.target, timeout=TIMEOUT_SECONDS)
            )
            session = self._session()
            await self._attach(connection, session)
            await mark()
            self._point = await self._read(connection, session)
        except (CorruptError, RefusedError, LinkError) as error:
            raise Failed(Outcome.FAILED, f"the target's stream cannot be followed: {error}") from error

    def _session(self) -> ReplicaSession:
        target = self._settings.target
        username, password = credentials(target)
        return ReplicaSession(
            username=username, password=password, max_value=self._settings.snapshot.max_value, pass_above=PASS_BYTES
        )

    async def _attach(self, connection: Connection, session: ReplicaSession) -> None:
        """Ask the target for its stream from now on."""
        session.start()
        with connection.deadline("the handshake"):
            info = None
            while info is None:
                await connection.send(session.data_to_send())
                events = session.receive_data(await connection.receive())
                info = next((event.info for event in events if isinstance(event, Introduced)), None)
        replication = info.replication
        if info.run_id != self._flow.target.run_id:
            raise LinkError("another server answers for the target than the one that is written to", kind="moved")
        if not replication.backlog_active or replication.offset is None:
            raise Failed(Outcome.REFUSED, "the target no longer keeps a replication backlog")
        session.request(replication.replid, replication.offset, UNKNOWN, chain=Chain(self._flow.target.table))
        await connection.send(session.data_to_send())

    async def _read(self, connection: Connection, session: ReplicaSession) -> Resume:
        """Read up to the worker's own checkpoint.

        That is always written in database 0: where no SELECT precedes it, database 0 was selected all the time.
        """
        own, seen = checkpoint_key(self._settings.name).encode(), False
        while True:
            for event in session.receive_data(await connection.receive()):
                if isinstance(event, FullSync):
                    raise Failed(Outcome.FAILED, "the target answers with a snapshot instead of its stream")
                seen = seen or (isinstance(event, RecordWritten) and event.key == own)
                if isinstance(event, Batch) and seen and not event.more:
                    return Resume(event.replid, event.end_offset, max(event.database, 0))

    async def record(self, shut: Mapping[str, str]) -> None:
        """Write the checkpoint of the other direction on the source; `shut` are the rules that its fence replaces."""
        flow, point, identity = self._flow, self._point, self._flow.source.identity
        assert point is not None  # it was found
        assert identity is not None
        checkpoint = Checkpoint(
            phase=Phase.STREAM,
            replid=point.replid,
            offset=point.offset,
            database=point.database,
            turned=str(Turn(flow.source.upstream.turn + 1, shut)),
            source=self._settings.target.address.text,
            source_run_id=flow.target.run_id,
        ).confirming(point.offset, point.database)
        await self._write(self._settings.source, self._settings.name, identity.run_id, checkpoint)
