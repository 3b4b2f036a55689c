"""Gathers the facts of both servers: reading only, each server by connections of its own."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import anyio

from shaker.apply.records import Checkpoint, checkpoint_key, fence_key
from shaker.apply.upstream import Upstream
from shaker.checks.preflight.at_start import has_database
from shaker.checks.preflight.facts import Facts, Sample, ServerFacts, WriteRate
from shaker.checks.preflight.read_server import read_server
from shaker.codec.rdb.field_expiries import CHECKSUM_SIZE, FOOTER_SIZE
from shaker.errors import LinkError
from shaker.model.cutover import Turn
from shaker.model.server_info import ServerInfo, parse_info
from shaker.net.client import Client, open_client
from shaker.net.connection import ReplyError
from shaker.net.reply_types import array, blob, number, record, scan_page
from shaker.rules.command_table import CommandTable
from shaker.rules.target_form import TargetForm, form_of
from shaker.settings.schema import Settings
from shaker.settings.url import Address

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
OVERCOMMIT: Final = Path("/proc/sys/vm/overcommit_memory")
# The sample: so many keys by SCAN from random cursors, and DUMPs of so many bytes in all. A larger value is counted
# by its memory and not read.
SAMPLE_KEYS: Final = 200
SAMPLE_BYTES: Final = 16 * 1024 * 1024
LARGE_VALUE: Final = 256 * 1024
SAMPLE_SECONDS: Final = 5.0
DUMP_BATCH: Final = 50
SCAN_BATCHES: Final = 10


async def gather(settings: Settings, *, rate_seconds: float) -> Facts:
    """Return the facts of both servers; the write rate is measured for `rate_seconds`, 0 leaves it out."""
    found: dict[str, Any] = {}

    async def read(side: str) -> None:
        if side == "source" and rate_seconds > 0:
            # Before the link test: without a backlog the rate is the network input, to which that would count.
            found["write_rate"] = await _quietly(lambda: _write_rate(settings, rate_seconds))
        found[side] = await read_server(settings, "source" if side == "source" else "target")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read, "source")
        tasks.start_soon(read, "target")
    facts = Facts(settings, found["source"], found["target"], write_rate=found.get("write_rate"))
    facts = replace(facts, overcommit=_overcommit(settings.source.address, facts.source))
    form = None if facts.target.info is None else await _quietly(lambda: _target_form(facts))
    if facts.source.info is not None:
        if facts.source.info.keys:
            facts = replace(facts, sample=await _quietly(lambda: _sample(settings, facts.info("source"), form)))
        if form is not None and not form.able.functions:
            facts = replace(facts, libraries=await _quietly(lambda: _libraries(settings)))
    if facts.target.info is not None:
        facts = await _quietly(lambda: _read_records(facts)) or facts
    if facts.target.info is not None and facts.source.info is not None:
        facts = replace(facts, loop=await _quietly(lambda: _find_loop(facts)))
    return facts


async def _quietly(read: Callable[[], Any]) -> Any:
    """Return what `read` returns; None where the server is gone or silent: the facts stay unknown."""
    try:
        return await read()
    except LinkError:
        return None


async def _write_rate(settings: Settings, seconds: float) -> WriteRate | None:
    async with open_client(settings.source) as client:
        before, began = await _info(client), time.monotonic()
        await anyio.sleep(seconds)
        after, passed = await _info(client), time.monotonic() - began
    if before is None or after is None or before.run_id != after.run_id:
        return None
    offsets = before.replication.offset, after.replication.offset
    # Without a backlog a primary does not count its offset.
    if after.replication.backlog_active and offsets[0] is not None and offsets[1] is not None:
        return WriteRate((offsets[1] - offsets[0]) / passed, passed, by_offset=True)
    if before.input_bytes is None or after.input_bytes is None:
        return None
    return WriteRate(max(0, after.input_bytes - before.input_bytes) / passed, passed, by_offset=False)


async def _info(client: Client) -> ServerInfo | None:
    (reply,) = await client.pipeline([("INFO",)])
    return parse_info(blob(reply)) if isinstance(reply, bytes) else None


async def _read_records(facts: Facts) -> Facts:
    """Read this worker's records on the target, and whether the target has the source's highest database."""
    name = facts.settings.name
    highest = max(facts.source.info.keyspace, default=0) if facts.source.info is not None else 0
    async with open_client(facts.settings.target) as client:
        found, fence, selected, _ = await client.pipeline(
            [("HGETALL", checkpoint_key(name)), ("EXISTS", fence_key(name)), ("SELECT", highest), ("SELECT", 0)]
        )
    facts = replace(facts, highest_database=has_database(selected))
    if isinstance(found, ReplyError):
        return replace(facts, target=replace(facts.target, checkpoints=None))
    keys = set(facts.target.checkpoints or ()) | ({checkpoint_key(name)} if found else set())
    return replace(
        facts,
        checkpoint=Checkpoint.parse(record(found)),
        fence_keys=0 if isinstance(fence, ReplyError) else number(fence),
        target=replace(facts.target, checkpoints=tuple(sorted(keys))),
    )


async def _find_loop(facts: Facts) -> str | None:
    """Return the key of a worker's record on the source by which its data come from the target."""
    settings, target = facts.settings, facts.info("target")
    names = {settings.name} | (facts.source.writers or set())
    keys = sorted({checkpoint_key(name) for name in names} | set(facts.source.checkpoints or ()))
    upstream = Upstream(checkpoint_key(settings.name))
    upstream.turn = 0 if facts.checkpoint is None else Turn.parse(facts.checkpoint.turned).number
    async with open_client(settings.source) as client:
        replies = await client.pipeline([("HGETALL", key) for key in keys])
    for key, reply in zip(keys, replies, strict=True):
        if not isinstance(reply, ReplyError) and (fields := record(reply)):
            upstream.put(key, fields)
    streams = facts.checkpoint is not None and facts.checkpoint.phase == "stream"
    ids = [each for each in (target.run_id, target.replication.replid) if each.strip("0")]
    return upstream.circle_through(ids, streams=streams, address=settings.target.address.text)


async def _target_form(facts: Facts) -> TargetForm | None:
    """Return the values that the target takes; None where it does not answer COMMAND."""
    target = facts.settings.target
    async with open_client(target) as client:
        (reply,) = await client.pipeline([("COMMAND",)])
    if isinstance(reply, ReplyError):
        return None
    table = CommandTable.from_reply(array(reply))
    return form_of(facts.info("target"), table, restore_limit=target.restore_limit, building="", skip=False)


async def _libraries(settings: Settings) -> int | None:
    """Return the number of function libraries on the source; None where it does not say."""
    async with open_client(settings.source) as client:
        (reply,) = await client.pipeline([("FUNCTION", "LIST")])
    return len(reply) if isinstance(reply, list) else None


async def _sample(settings: Settings, info: ServerInfo, form: TargetForm | None) -> Sample | None:
    """Return sizes and types of random keys, and what a target of `form` lacks for them.

    None where the worker's user may not read them.
    """
    sizes: list[int] = []
    names = 0
    types: Counter[tuple[int, int]] = Counter()
    lacking: Counter[str] = Counter()
    until = time.monotonic() + SAMPLE_SECONDS
    async with open_client(settings.source) as client:
        for database, count in sorted(info.keyspace.items(), key=lambda each: -each[1]):
            keys = await _random_keys(client, database, max(1, SAMPLE_KEYS * count // info.keys), until)
            payloads = None if keys is None else await _dumps(client, keys, sizes)
            if payloads is None:
                return None
            for payload in payloads:
                types[(payload[0], int.from_bytes(payload[-FOOTER_SIZE:-CHECKSUM_SIZE], "little"))] += 1
                if form is not None and (what := form.lacking(payload)):
                    lacking[what] += 1
            sizes += (len(payload) - FOOTER_SIZE for payload in payloads)
            names += sum(map(len, keys or ()))
            if sum(sizes) > SAMPLE_BYTES or time.monotonic() > until:
                break
    return Sample(len(sizes), names, sum(sizes), max(sizes, default=0), types, lacking if form else None)


async def _dumps(client: Client, keys: list[bytes], large: list[int]) -> list[bytes] | None:
    """Return the DUMP payloads of keys, and add to `large` the memory of those that are too large for one."""
    memory = await client.pipeline([("MEMORY", "USAGE", key, "SAMPLES", 5) for key in keys])
    if any(isinstance(reply, ReplyError) for reply in memory):
        return None
    sizes = [(key, number(reply)) for key, reply in zip(keys, memory, strict=True) if reply is not None]
    large += [size for _, size in sizes if size > LARGE_VALUE]
    payloads: list[bytes] = []
    small = [key for key, size in sizes if size <= LARGE_VALUE]
    for start in range(0, len(small), DUMP_BATCH):
        replies = await client.pipeline([("DUMP", key) for key in small[start : start + DUMP_BATCH]])
        if any(isinstance(reply, ReplyError) for reply in replies):
            return None
        payloads += [reply for reply in replies if isinstance(reply, bytes) and len(reply) > FOOTER_SIZE]
    return payloads


async def _random_keys(client: Client, database: int, count: int, until: float) -> list[bytes] | None:
    """Return up to `count` keys of a database: SCAN takes any number as its cursor."""
    keys: set[bytes] = set()
    for _ in range(SCAN_BATCHES):
        scans = [("SCAN", random.getrandbits(32), "COUNT", 10) for _ in range(20)]
        replies = await client.pipeline([("SELECT", database), *scans])
        if any(isinstance(reply, ReplyError) for reply in replies):
            return None
        keys.update(*(scan_page(reply)[1] for reply in replies[1:]))
        if len(keys) >= count or time.monotonic() > until:
            break
    return random.sample(sorted(keys), min(count, len(keys)))


def _overcommit(address: Address, source: ServerFacts) -> int | None:
    """Return vm.overcommit_memory where the source runs on this machine."""
    if source.info is None or not (address.path or address.host in LOOPBACK):
        return None
    try:
        return int(OVERCOMMIT.read_text())
    except (OSError, ValueError):
        return None
