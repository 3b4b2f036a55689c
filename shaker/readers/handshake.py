"""The first part of each connection to the source: the handshake, and checks that this server can be the source."""

from __future__ import annotations

from typing import Final

from shaker.checks.circles import look, refuse_loop
from shaker.checks.fitness import refuse_cluster_source, refuse_orphan_source
from shaker.checks.same_dataset import check_same_dataset
from shaker.errors import LinkError
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import TargetState
from shaker.model.batch import Introduced
from shaker.model.position import Phase
from shaker.model.server_info import ServerInfo, SourceIdentity
from shaker.net.connection import Connection
from shaker.psync.handshake_states import ReplicaState
from shaker.psync.session import ReplicaSession
from shaker.settings.schema import Settings

# The last command sent, by the state of the handshake in which a proxy closes the connection.
ASKED: Final = {
    ReplicaState.INSPECTING: "INFO",
    ReplicaState.ANNOUNCING: "REPLCONF",
    ReplicaState.OFFERING: "REPLCONF",
}


async def introduce(connection: Connection, session: ReplicaSession, settings: Settings, flow: Flow) -> ServerInfo:
    """Shake hands, find out who the source is, and check that it can be one; return its INFO.

    Raises RefusedError for a server that cannot be the source, LinkError where waiting or a new connection helps.
    """
    info = await _handshake(connection, session)
    status = flow.status
    status.source.server = info.name
    refuse_cluster_source(status.source.address, info)
    refuse_orphan_source(info)
    replids = info.replication.replids
    before = flow.source.identity
    identity = SourceIdentity(settings.source.address.text, info.run_id, replids, info)
    if before is None or before.run_id != identity.run_id:
        # Once the stream runs, it carries the records that workers write on this server.
        await look(settings, flow)
    flow.source.identify(identity)
    resume, registered = flow.resume, flow.lifecycle.target is not TargetState.UNREGISTERED
    if registered and (info.replication.is_replica or resume is None or resume.replid not in replids):
        # Another server than before: an address can move to the target, or the source become its replica.
        await check_same_dataset(settings, identity)
    if registered:
        refuse_loop(settings, flow, streams=flow.phase == Phase.STREAM)
    return info


async def _handshake(connection: Connection, session: ReplicaSession) -> ServerInfo:
    session.start()
    with connection.deadline("the handshake"):
        while True:
            await connection.send(session.data_to_send())
            try:
                data = await connection.receive()
            except LinkError as error:
                if error.kind == "lost" and (command := ASKED.get(session.state)):
                    raise connection.no_replication(command) from error
                raise
            events = session.receive_data(data)
            introduced = next((event for event in events if isinstance(event, Introduced)), None)
            if introduced is not None:
                return introduced.info
