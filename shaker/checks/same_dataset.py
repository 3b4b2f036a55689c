"""Source and target must be different datasets: otherwise a worker applies its own writes indefinitely."""

from __future__ import annotations

from shaker.errors import RefusedError
from shaker.model.server_info import ServerInfo, SourceIdentity
from shaker.net.client import open_client
from shaker.settings.schema import Settings


def refuse_same_dataset(source: SourceIdentity, target: ServerInfo) -> None:
    """Raise RefusedError where `target` is the INFO of the source itself, or of its replica or primary."""
    if target.run_id == source.run_id:
        raise RefusedError("source and target are the same server", hint="check source.url and target.url")
    # The present history only: after a cutover back, the new target's is an earlier one of the source.
    if target.replication.replid in source.replids[:1]:
        raise RefusedError(
            "source and target replicate one another already",
            hint="stop it with REPLICAOF NO ONE on the one that is the replica",
        )


async def check_same_dataset(settings: Settings, source: SourceIdentity) -> None:
    """Ask the target again and raise RefusedError like `refuse_same_dataset`; LinkError where it does not answer.

    The INFO of the registration is too old: a server changes its replication id when its first replica connects.
    """
    async with open_client(settings.target) as client:
        info = await client.info()
    refuse_same_dataset(source, info)
