"""Writes the checkpoint for the other direction of a replication, on the server that becomes its target."""

from __future__ import annotations

from shaker.apply.fence import Identity
from shaker.apply.records import Checkpoint, checkpoint_key, unconfirmed_key, writer_name
from shaker.errors import LinkError
from shaker.model.refusals import refusal
from shaker.model.server_info import parse_info
from shaker.net.client import connect_endpoint
from shaker.net.connection import Connection, ReplyError
from shaker.net.credentials import credentials
from shaker.net.reply_types import array, blob, number
from shaker.settings.endpoints import Endpoint
from shaker.writers.register import ATTEMPTS, take_over

DOING = "writing the checkpoint of the other direction"


async def write_turned(endpoint: Endpoint, name: str, run_id: str, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` as the one writer of `name` on the server of `run_id`; raises LinkError.

    Keys that expire there do so earlier than on the other server, by the margin of the first direction. A worker that
    finds this checkpoint therefore compares every key before it is ready, if there are any that expire.
    """
    async with connect_endpoint(endpoint, timeout=endpoint.timeout_seconds) as connection:
        with connection.deadline(DOING):
            await connection.authenticate(*credentials(endpoint))
            try:
                await _write(connection, name, run_id, checkpoint)
            except ReplyError as error:
                raise refusal(endpoint.side, str(error), DOING) from error


async def _write(connection: Connection, name: str, run_id: str, checkpoint: Checkpoint) -> None:
    info = parse_info(blob(await connection.call("INFO")))
    if info.run_id != run_id:
        raise LinkError("another server answers for the source than the one that streams", kind="moved")
    identity = Identity.new()
    await connection.call("CLIENT", "SETNAME", writer_name(name, identity.token))
    own = number(await connection.call("CLIENT", "ID"))
    for _ in range(ATTEMPTS):
        taken = await take_over(connection, name, identity, own, info.run_id, tight=False)
        if taken is not None:
            break
    else:
        raise LinkError(f"lost {ATTEMPTS} registrations against other workers of this name", kind="contended")
    checkpoint = checkpoint._replace(epoch=taken.fence.epoch, connection=own)
    requests: list[tuple[bytes | str | int, ...]] = [("MULTI",), ("DEL", checkpoint_key(name))]
    if info.expiring:
        checkpoint = checkpoint._replace(unconfirmed=1)
        requests.append(("SADD", unconfirmed_key(name), checkpoint_key(name)))
    requests += [("HSET", checkpoint_key(name), *checkpoint.pairs()), ("EXEC",)]
    replies = await connection.pipeline(requests)
    failed = [*replies, *array(replies[-1])] if isinstance(replies[-1], list) else replies
    for reply in failed:
        if isinstance(reply, ReplyError):
            raise reply
    if replies[-1] is None:
        raise LinkError("the checkpoint of the other direction was not written", kind="aborted")
