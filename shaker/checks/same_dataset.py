"""Source and target must be two datasets: a worker between one and the same applies its own writes for ever."""

from __future__ import annotations

from shaker.errors import RefusedError
from shaker.model.server_info import ServerInfo, SourceIdentity
from shaker.net.client import open_client
from shaker.settings.schema import Settings


def refuse_same_dataset(source: SourceIdentity, target: ServerInfo) -> None:
    """Raise RefusedError where `target`, an INFO, is of the source itself or of its replica or primary."""
    if target.run_id == source.run_id:
        raise RefusedError("source and target are the same server", hint="check source.url and target.url")
    # Only the present history: after a cutover back, the new target's is one that the source once had.
    if target.replication.replid in source.replids[:1]:
        raise RefusedError(
            "source and target replicate one another already",
            hint="stop it with REPLICAOF NO ONE on the one that is the replica",
        )


async def check_same_dataset(settings: Settings, source: SourceIdentity) -> None:
    """Ask the target anew and raise RefusedError like `refuse_same_dataset`; LinkError where it cannot be asked.

    What the registration saw does not do: a server changes its replication id when its first replica comes.
    """
    async with open_client(settings.target) as client:
        info = await client.info()
    refuse_same_dataset(source, info)
