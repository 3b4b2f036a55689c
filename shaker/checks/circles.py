"""Circles of workers are refused: records of other workers on the source name the origin of its data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import anyio
import structlog

from shaker.apply.records import checkpoint_key
from shaker.apply.upstream import CHECKPOINTS
from shaker.errors import LinkError, RefusedError
from shaker.flow.flow import Flow
from shaker.net.client import Client, open_client
from shaker.net.connection import ReplyError
from shaker.net.reply_types import record, scan_page
from shaker.rules.record_keys import RESERVED, is_record
from shaker.settings.schema import Settings

log = structlog.get_logger("shaker.source")

LOOK_SECONDS: Final = 5.0
# Maximum time of a scan of all keys, enough for some 100 million.
SCAN_SECONDS: Final = 60.0
SCAN_KEYS: Final = 1000
WRITER: Final = "name=shaker-writer:"


def refuse_loop(settings: Settings, flow: Flow, *, streams: bool) -> None:
    """Raise RefusedError where the source gets its data from the target, through other workers.

    `streams`: whether this worker's own checkpoint is in the stream.
    """
    upstream, address = flow.source.upstream, settings.target.address.text
    key = upstream.circle_through(flow.target.ids, streams=streams, address=address)
    if key is not None:
        raise circle_error(key)


def circle_error(key: str) -> RefusedError:
    """Return the error for a record on the source that closes a circle."""
    return RefusedError(
        f"the source gets its data from the target: {key} on the source is the record of a worker that copies, "
        "directly or through others, from the target of this one",
        hint="two workers in a circle apply every command indefinitely: stop one of them, or check source.url and "
        f"target.url. If that worker is gone for good, DEL {key} on the source",
    )


async def look(settings: Settings, flow: Flow) -> None:
    """Read the records of the workers that write to the source now, and one of this worker's own name.

    Failures are ignored, because the stream carries each record that a worker writes.
    """
    try:
        with anyio.fail_after(LOOK_SECONDS):
            async with open_client(settings.source) as reader:
                names = {settings.name}
                (clients,) = await reader.pipeline([("CLIENT", "LIST")])
                if isinstance(clients, bytes):
                    names |= writers(clients.decode("utf-8", "replace"))
                await _read(flow, reader, map(checkpoint_key, sorted(names)))
    except (LinkError, TimeoutError) as error:
        log.debug("records on the source not read", error=str(error))


async def scan(settings: Settings, flow: Flow) -> int:
    """Read all records on the source, including those of absent workers; return their number.

    A flush of the target is worth a scan of all keys of the source beforehand.
    """
    found: set[bytes] = set()
    try:
        with anyio.fail_after(SCAN_SECONDS):
            async with open_client(settings.source) as reader:
                cursor = b"0"
                while True:
                    request = ("SCAN", cursor, "MATCH", RESERVED + b"*", "COUNT", SCAN_KEYS)
                    (page,) = await reader.results([request], "looking for records")
                    cursor, keys = scan_page(page)
                    found.update(key for key in keys if is_record(key))
                    if cursor == b"0":
                        break
                checkpoints = (key.decode() for key in sorted(found) if key.startswith(CHECKPOINTS.encode()))
                await _read(flow, reader, checkpoints)
    except (LinkError, TimeoutError) as error:
        log.debug("records on the source not searched", error=str(error))
    return len(found)


async def look_at(settings: Settings, flow: Flow, keys: set[str]) -> None:
    """Read the records that a snapshot contains; raises RefusedError where one of them closes a circle."""
    try:
        with anyio.fail_after(LOOK_SECONDS):
            async with open_client(settings.source) as reader:
                await _read(flow, reader, sorted(keys))
    except (LinkError, TimeoutError) as error:
        log.debug("records on the source not read", error=str(error))
    refuse_loop(settings, flow, streams=False)


async def _read(flow: Flow, reader: Client, keys: Iterable[str]) -> None:
    named = list(keys)
    replies = await reader.pipeline([("HGETALL", key) for key in named])
    for key, reply in zip(named, replies, strict=True):
        if isinstance(reply, ReplyError):
            log.debug("record on the source not read", error=str(reply))
        elif found := record(reply):
            flow.source.upstream.put(key, found)


def writers(clients: str) -> set[str]:
    """Return the names of the workers among the connections of a CLIENT LIST."""
    words = (word for line in clients.splitlines() for word in line.split(" ") if word.startswith(WRITER))
    return {word[len(WRITER) :].partition(":")[0] for word in words} - {""}
