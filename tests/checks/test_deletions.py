"""Bulk deletions on the target need consent: above target.max_deletions nothing is removed."""

from __future__ import annotations

import pytest

from shaker.checks.deletions import check_deletions, check_flush
from shaker.errors import HeldError
from shaker.model.server_info import ServerInfo
from tests.support.info import server_info
from tests.support.servers import Server
from tests.support.settings import settings


def source_of(keys: int) -> ServerInfo:
    """Return the INFO of a source with so many keys."""
    return server_info(run_id="r" * 40, db0=f"keys={keys},expires=0,avg_ttl=0")


@pytest.mark.parametrize(
    ("share", "removed", "held"), [("30%", 30, False), ("30%", 31, True), ("0", 1, True), ("100%", 100, False)]
)
def test_more_than_the_share_is_held(share: str, removed: int, held: bool) -> None:
    """The message has both numbers, the share and the setting."""
    made = settings(target__max_deletions=share)
    if not held:
        check_deletions(made, removed=removed, of=100, because="it is a test")
        return
    with pytest.raises(HeldError, match=f"would remove {removed} of the target's 100 keys, it is a test") as caught:
        check_deletions(made, removed=removed, of=100, because="it is a test")
    assert "SHAKER_TARGET__MAX_DELETIONS" in caught.value.hint


def test_an_empty_target_has_nothing_to_hold() -> None:
    """Whatever the share is."""
    check_deletions(settings(target__max_deletions="0"), removed=0, of=0, because="it is empty")


@pytest.mark.anyio
async def test_a_flush_is_held_where_the_source_brings_too_few_keys(target: Server) -> None:
    """The worker's own records are no keys, neither here nor there."""
    client = target.client()
    client.mset({f"k{number}": 1 for number in range(10)})
    client.hset("shaker:fence:default", "epoch", 1)
    client.hset("shaker:checkpoint:default", "offset", 1)
    made = settings(target__url=target.url)
    await check_flush(made, source_of(7), first=False, records=0)
    with pytest.raises(HeldError, match="would remove 4 of the target's 10 keys, since the source has 6 keys"):
        await check_flush(made, source_of(7), first=False, records=1)


@pytest.mark.anyio
async def test_the_first_flush_has_consent_unless_the_source_is_empty(target: Server) -> None:
    """target.on_existing=flush gives it; an empty source is more likely a wrong one."""
    target.client().mset({f"k{number}": 1 for number in range(10)})
    made = settings(target__url=target.url, target__on_existing="flush")
    await check_flush(made, source_of(1), first=True, records=0)
    with pytest.raises(HeldError):
        await check_flush(made, source_of(2), first=True, records=2)
