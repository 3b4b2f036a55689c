"""Bulk deletions on the target need consent: an empty source, an old dump or swapped URLs must not erase it."""

from __future__ import annotations

from shaker.apply.records import checkpoint_key, fence_key
from shaker.errors import HeldError
from shaker.model.server_info import ServerInfo, parse_info
from shaker.net.client import open_client
from shaker.net.reply_types import blob, number
from shaker.settings.schema import Settings


def check_deletions(settings: Settings, *, removed: int, of: int, because: str) -> None:
    """Raise HeldError where `removed` of `of` keys are more than target.max_deletions allows."""
    share = settings.target.max_deletions
    if removed > share * of:
        raise HeldError(
            f"a full resync would remove {removed} of the target's {of} keys, {because}: more than "
            f"target.max_deletions allows ({share * 100:g}%)",
            hint="is this the right source, and complete? If so, let a worker in mode=follow continue by "
            "`shaker resume`, or start it with a larger target.max_deletions "
            "(SHAKER_TARGET__MAX_DELETIONS=100%), or with target.stale_keys=keep",
        )


async def check_flush(settings: Settings, source: ServerInfo, *, first: bool, records: int) -> None:
    """Raise HeldError where a FLUSHALL would remove more keys than allowed; `source` is the source's INFO.

    target.on_existing=flush consents to the `first` one, unless the source has no keys to replace them: `records` of
    its keys are records of workers.
    """
    async with open_client(settings.target) as reader:
        own = ("EXISTS", fence_key(settings.name), checkpoint_key(settings.name))
        info, records_there = await reader.results([("INFO",), own], "counting the keys to flush")
    keys = parse_info(blob(info)).keys - number(records_there)
    brought = max(0, source.keys - records)
    if not first or not brought:
        because = f"since the source has {brought} keys"
        check_deletions(settings, removed=max(0, keys - brought), of=keys, because=because)
