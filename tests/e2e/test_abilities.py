"""A target that does not let the worker do its work is refused before the source is asked for anything."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.test_refusals import refused
from tests.support.compare import differences
from tests.support.servers import NAMES, Server, wait_until
from tests.support.worker import Worker

Servers = Callable[..., Server]
Workers = Callable[..., Worker]


def untouched(source: Server, target: Server) -> None:
    """Assert that nothing was asked of the source, and that the target has its key and nothing of the worker's."""
    assert source.info("stats")["sync_full"] == 0
    client = target.client(db=2)
    assert client.get("old") == b"1"
    assert target.client().keys("*") == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("renamed", ['FLUSHALL ""', "FLUSHALL secret"])
@pytest.mark.parametrize("setting", ["ON_EXISTING", "STALE_KEYS"])
def test_a_target_without_flushall(
    server: Servers, source: Server, worker: Workers, name: str, renamed: str, setting: str
) -> None:
    """3 where it is to be flushed; replicated where not."""
    target = server(name, rename_command=[renamed])
    source.client().set("k", 1)
    if setting == "STALE_KEYS":
        first = worker(source, target)
        first.wait_state("streaming")
        first.kill()
        refused(worker(source, target, SHAKER_TARGET__STALE_KEYS="flush"), 3, "has no FLUSHALL")
        assert source.info("stats")["sync_full"] == 1
    else:
        target.client(db=2).set("old", 1)
        refused(worker(source, target, SHAKER_TARGET__ON_EXISTING="flush"), 3, "has no FLUSHALL")
        untouched(source, target)
        target.client(db=2).delete("old")
    worker(source, target).wait_state("streaming")
    assert differences(source, target) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["follow", "migrate"])
def test_a_user_who_may_not_flush(server: Servers, source: Server, worker: Workers, name: str, mode: str) -> None:
    """3, found in a transaction that is never executed: the target keeps its key."""
    target = server(name)
    target.client(db=2).set("old", 1)
    target.client().execute_command("ACL", "SETUSER", "default", "-flushall")
    refused(worker(source, target, SHAKER_TARGET__ON_EXISTING="flush", SHAKER_MODE=mode), 3, "forbids FLUSHALL")
    untouched(source, target)


@pytest.mark.parametrize("name", NAMES)
def test_a_user_who_may_is_not_flushed_by_the_check(
    server: Servers, source: Server, worker: Workers, name: str
) -> None:
    """The trial has no effect: what is refused afterwards leaves the target as it was."""
    target = server(name)
    target.client(db=2).set("old", 1)
    target.client().execute_command("ACL", "SETUSER", "default", "-watch")
    running = worker(source, target, SHAKER_TARGET__ON_EXISTING="flush")
    wait_until(lambda: running.events("link failed"), "a failure")
    untouched(source, target)


@pytest.mark.parametrize("command", ["restore", "unlink", "sadd"])
def test_a_right_that_is_missing_is_named_before_the_source_is_asked(
    source: Server, target: Server, worker: Workers, command: str
) -> None:
    """`follow` waits until it is given, and has not made the source fork meanwhile."""
    source.client().hset("hash", "field", "value")
    target.client().execute_command("ACL", "SETUSER", "default", f"-{command}")
    running = worker(source, target, SHAKER_RETRY__ACCESS_SECONDS="1")
    wait_until(lambda: f"'{command}'" in running.get("/readyz")[1], "the missing right at /readyz")
    assert source.info("stats")["sync_full"] == 0
    target.client().execute_command("ACL", "SETUSER", "default", f"+{command}")
    running.wait_state("streaming")
    assert differences(source, target) == []


@pytest.mark.parametrize("command", ["RESTORE", "HSET", "EXEC"])
def test_other_commands_that_are_missing(server: Servers, source: Server, worker: Workers, command: str) -> None:
    """3, named."""
    target = server(rename_command=[f'{command} ""'])
    refused(worker(source, target), 3, f"has no {command}")
    assert source.info("stats")["sync_full"] == 0
