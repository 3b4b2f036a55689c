"""A target without a command or a right that the worker needs is refused before anything is written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.checks.abilities import check_abilities
from shaker.errors import AccessError, RefusedError
from shaker.net.connection import connect
from tests.support.servers import NAMES, Server
from tests.support.settings import settings

pytestmark = pytest.mark.anyio


async def check(target: Server, *, flushes: bool = False, **given: str) -> None:
    """Check the abilities of the default user of a target."""
    made = settings(target__url=target.url, **given)
    address = made.target.address
    async with connect(address, side="target", tls=None, connect_timeout=5, timeout=10) as connection:
        await check_abilities(connection, made, flushes=flushes)


@pytest.mark.parametrize("name", NAMES)
async def test_an_ordinary_target_passes_untouched(name: str, server: Callable[..., Server]) -> None:
    """Its rights are tried in a transaction that cannot run."""
    target = server(name)
    await check(target, flushes=True)

    assert target.client().dbsize() == 0
    assert "cmdstat_flushall" not in target.info("commandstats") or (
        target.info("commandstats")["cmdstat_flushall"].get("calls", 0) == 0
    )


async def test_missing_commands_are_all_named(server: Callable[..., Server]) -> None:
    """A command that the worker does not need may be missing."""
    target = server(rename_command=['RESTORE ""', 'HSET ""', 'FLUSHALL ""'])
    with pytest.raises(RefusedError, match="has no HSET, RESTORE; ") as caught:
        await check(target)
    assert "rename-command" in caught.value.hint
    with pytest.raises(RefusedError, match="has no HSET, RESTORE, FLUSHALL; ") as caught:
        await check(target, flushes=True)
    assert "target.stale_keys=sweep" in caught.value.hint


async def test_a_missing_right_to_flush_is_refused(target: Server) -> None:
    """Where the target is to be flushed: waiting would not help."""
    target.client().execute_command("ACL", "SETUSER", "default", "-flushall")
    await check(target)
    with pytest.raises(RefusedError, match="forbids FLUSHALL"):
        await check(target, flushes=True)


@pytest.mark.parametrize("command", ["hset", "restore", "sadd", "unlink"])
async def test_any_other_missing_right_is_an_error_of_access(target: Server, command: str) -> None:
    """It can be granted while the worker waits."""
    target.client().execute_command("ACL", "SETUSER", "default", f"-{command}")
    with pytest.raises(AccessError):
        await check(target)


async def test_rights_that_only_a_sweep_needs_are_not_needed_without_one(target: Server) -> None:
    """`keep` removes nothing."""
    target.client().execute_command("ACL", "SETUSER", "default", "-sadd", "-srem", "-unlink")
    await check(target, target__stale_keys="keep")
