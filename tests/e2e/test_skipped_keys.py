"""Keys of a snapshot that are no data: without elements, or expired before it was made."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.support.compare import differences
from tests.support.servers import NAMES, Server
from tests.support.worker import Worker


@pytest.mark.parametrize("database", [0, 3])
@pytest.mark.parametrize("name", NAMES)
def test_keys_that_had_expired(
    name: str, database: int, server: Callable[..., Server], worker: Callable[..., Worker]
) -> None:
    """A primary that has not looked at them yet has them in its snapshot; no key comes of them, large or small."""
    source, target = server(name), server(name)
    client = source.client(db=database)
    client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    past = int(time.time()) + 2
    client.setrange("large", 6_000_000, "x")
    client.rpush("list", 1)
    client.set("string", 1)
    client.set("renewed", 1)
    client.set("lives", 1, ex=1000)
    for key in ("large", "list", "string"):
        client.expireat(key, past)
    while time.time() < past + 7:
        time.sleep(0.1)

    running = worker(source, target)
    running.wait_state("streaming")
    status = running.wait_applied(source)

    assert status["expired_keys_skipped"] == 3
    assert status["rejected_commands"] == 0
    assert target.client(db=database).exists("large", "list", "string") == 0
    assert differences(source, target) == []


@pytest.mark.parametrize("name", ["redis-7.0", "valkey-9.1"])
def test_a_replica_may_know_less_than_its_primary(
    name: str, server: Callable[..., Server], worker: Callable[..., Worker]
) -> None:
    """What has expired decides the primary: a key that it renews lives, whatever a replica's clock says."""
    primary, replica, target = server(name), server(name), server(name)
    client = primary.client(db=3)
    client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    replica.replicate(primary)
    past = int(time.time()) + 1
    client.set("gone", 1, exat=past)
    while time.time() < past + 7:
        time.sleep(0.1)

    running = worker(replica, target)
    running.wait_state("streaming")
    status = running.status()
    client.get("gone")  # which makes the primary delete it
    replica.wait_replica(primary)
    running.wait_applied(replica)

    assert status["expired_keys_skipped"] == 0
    assert target.client(db=3).exists("gone") == 0
