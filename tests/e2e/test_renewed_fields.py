"""Fields of a hash that had expired in the snapshot and are renewed live; hashes of expired fields do no harm."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis

from tests.support.compare import differences
from tests.support.proxy import Proxy
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker

FIELDS = ["redis-8.0", "valkey-9.1"]
KEYS = 30
LIFE_MS = 4000
# As listpacks where the server has those with expiries, and as tables.
ENCODINGS = ({}, {"hash_max_listpack_entries": "0"})


def _expiring(client: redis.Redis, key: str, milliseconds: int) -> None:
    client.hset(key, mapping={"a": 1, "b": 2, "c": 3})
    client.execute_command("HPEXPIRE", key, milliseconds, "FIELDS", 2, "a", "b")


@pytest.mark.parametrize("database", [0, 3])
@pytest.mark.parametrize("encoding", ENCODINGS, ids=["small", "table"])
@pytest.mark.parametrize("name", FIELDS)
def test_fields_renewed_behind_the_snapshot(
    name: str,
    encoding: dict[str, str],
    database: int,
    server: Callable[..., Server],
    worker: Callable[..., Worker],
) -> None:
    """They expire on their way, and the source gives them another expiry before that: the target has them."""
    source = server(name, repl_diskless_sync_delay=2, **encoding)
    target = server(name, **encoding)
    client = source.client(db=database)
    client.config_set("rdb-key-save-delay", 50_000)  # microseconds
    with Proxy(source) as proxy:
        running = worker(proxy.url, target)
        wait_until(lambda: source.info()["connected_slaves"], "the worker to ask for a snapshot")
        for number in range(KEYS):
            _expiring(client, f"hash:{number}", LIFE_MS)
        expired = time.monotonic() + LIFE_MS / 1000
        wait_until(lambda: source.info("persistence")["rdb_bgsave_in_progress"], "the snapshot to begin")
        proxy.set("down", stalled=True)
        for number in range(KEYS):
            client.execute_command("HPEXPIRE", f"hash:{number}", 100_000, "FIELDS", 1, "a")
        assert time.monotonic() < expired
        while time.monotonic() < expired + 0.5:
            time.sleep(0.05)
        proxy.heal()
        running.wait_state("streaming")
        running.wait_applied(source)
        running.wait_status(lambda document: not document["expiries"]["pending"], "expiries to be settled", 60)

        assert running.status()["rejected_commands"] == 0
        assert differences(source, target) == []
        for number in range(KEYS):
            assert target.client(db=database).hmget(f"hash:{number}", "a", "b", "c") == [b"1", None, b"3"]


@pytest.mark.parametrize("mode", ["follow", "migrate", "snapshot"])
@pytest.mark.parametrize("encoding", ENCODINGS, ids=["small", "table"])
@pytest.mark.parametrize("name", FIELDS)
def test_hashes_of_expired_fields(
    name: str, encoding: dict[str, str], mode: str, server: Callable[..., Server], worker: Callable[..., Worker]
) -> None:
    """Nothing is left to read of them, and they end no worker, whatever it is for."""
    source, target = server(name, **encoding), server(name, **encoding)
    client = source.client(db=3)
    client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    client.hset("all", mapping={"a": 1, "b": 2})
    client.execute_command("HPEXPIRE", "all", 50, "FIELDS", 2, "a", "b")
    _expiring(client, "some", 50)
    wait_until(lambda: client.hget("some", "a") is None, "the fields to expire")

    running = worker(source, target, SHAKER_MODE=mode)
    if mode == "follow":
        running.wait_state("streaming")
        running.wait_applied(source)
        assert running.status()["rejected_commands"] == 0
        client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "1")
        running.wait_status(lambda document: not document["expiries"]["pending"], "expiries to be settled", 60)
    else:
        assert running.wait_ended() == 0
    other = target.client(db=3)
    wait_until(lambda: other.hgetall("all") == {}, "the fields to be gone")
    wait_until(lambda: other.hgetall("some") == {b"c": b"3"}, "the fields to be gone")
