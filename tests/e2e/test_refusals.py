"""What is refused, with which exit code, and that nothing was written by then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.proxy import Proxy
from tests.support.servers import OLDEST, Server, free_port
from tests.support.worker import Worker
from tests.support.writes import checkpoint

Servers = Callable[..., Server]
Workers = Callable[..., Worker]


def written(server: Server) -> Any:
    """Return what changes with every write: the number of changes, and the keys of each database."""
    info = server.client().info()
    return info["rdb_changes_since_last_save"], {name: info[name] for name in info if name.startswith("db")}


def refused(running: Worker, code: int, *words: str) -> None:
    """Assert that the worker ends with this code, and that its error tells these words and what to do."""
    assert running.wait_ended() == code
    (end,) = running.events("replication ends") or running.events("cannot start")
    for word in words:
        assert word in end["error"]
    assert end["hint"]
    assert running.events("worker stopped") == [] or running.events("worker stopped")[0]["exit_code"] == code


def test_settings_that_cannot_be_used(source: Server, worker: Workers) -> None:
    """2, with a line for each fault that names the setting."""
    running = worker("http://somewhere", source, SHAKER_MODE="sideways")
    assert running.wait_ended() == 2
    assert len(running.output) == 2
    assert "source.url" in "".join(running.output)
    assert "mode" in "".join(running.output)


@pytest.mark.parametrize("mode", ["follow", "migrate", "snapshot"])
def test_a_target_that_is_not_empty(source: Server, target: Server, worker: Workers, mode: str) -> None:
    """3, and the target is as it was."""
    source.client().set("key", "of the source")
    target.client(db=2).set("key", "of the target")
    before = written(target)

    refused(worker(source, target, SHAKER_MODE=mode), 3, "holds 1 key and", "'default'")

    assert written(target) == before
    assert source.info("stats")["sync_full"] == 0


def test_a_checkpoint_of_another_source(server: Servers, source: Server, target: Server, worker: Workers) -> None:
    """3, and the target is as it was; `target.adopt` replaces the source."""
    other = server()
    other.client().set("key", "of the other")
    source.client().set("key", "of the source")
    first = worker(other, target)
    first.wait_state("streaming")
    first.terminate()
    assert first.wait_ended() == 0
    before = written(target)

    refused(worker(source, target), 3, "belongs to another source", f"127.0.0.1:{other.port}")

    assert written(target) == before
    adopted = worker(source, target, SHAKER_TARGET__ADOPT="true")
    adopted.wait_state("streaming")
    assert target.client().get("key") == b"of the source"
    assert checkpoint(target)["source"] == f"127.0.0.1:{source.port}"


@pytest.mark.parametrize("side", ["source", "target"])
def test_cluster_mode(server: Servers, source: Server, worker: Workers, side: str) -> None:
    """3: neither side may be a node of a cluster."""
    # By itself the port of its bus is 10,000 higher, which not every free port can be.
    cluster = server(cluster_enabled="yes", cluster_port=free_port())
    before = written(cluster)
    running = worker(cluster, source) if side == "source" else worker(source, cluster)

    refused(running, 3, side, "has cluster mode enabled")

    assert written(cluster) == before


@pytest.mark.parametrize("mode", ["follow", "migrate", "snapshot"])
@pytest.mark.needs_servers(OLDEST)
def test_a_target_that_is_too_old(server: Servers, source: Server, worker: Workers, mode: str) -> None:
    """3, by its version: Redis 5.0 knows no `SET … PXAT`. As a source it works."""
    source.client().set("key", "value", px=100_000)
    old = server(OLDEST)

    refused(worker(source, old, SHAKER_MODE=mode), 3, "Redis 5.0", "6.2 or later")

    assert old.client().dbsize() == 0
    assert source.info("stats")["sync_full"] == 0


def test_a_cluster_in_the_url(source: Server, worker: Workers) -> None:
    """3, before anything is connected."""
    refused(worker(source, "redis+cluster://127.0.0.1:1"), 3, "target.url")


def test_the_same_server_under_two_addresses(source: Server, worker: Workers) -> None:
    """3: found by the server's run id."""
    source.client().set("key", 1)
    before = written(source)
    with Proxy(source) as proxy:
        refused(worker(source, proxy.url), 3, "the same server")
    assert written(source) == before


@pytest.mark.parametrize("upside_down", [False, True])
def test_servers_that_replicate_one_another(
    source: Server, target: Server, worker: Workers, upside_down: bool
) -> None:
    """3: the worker's writes would come back to it."""
    replica, primary = (source, target) if upside_down else (target, source)
    primary.client().set("key", 1)
    replica.replicate(primary)
    before = written(target)

    refused(worker(source, target), 3, "replicate one another")

    assert written(target) == before


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_a_target_that_may_evict_the_checkpoint(
    server: Servers, source: Server, worker: Workers, policy: str
) -> None:
    """3, unless `target.allow_eviction` accepts it."""
    target = server(maxmemory="100mb", maxmemory_policy=policy)
    before = written(target)

    refused(worker(source, target), 3, policy)

    assert written(target) == before
    worker(source, target, SHAKER_TARGET__ALLOW_EVICTION="true").wait_state("streaming")


def test_a_target_with_fewer_databases(server: Servers, source: Server, worker: Workers) -> None:
    """3 before the first write; 4 in the snapshot or in the stream. No key lands in another database."""
    target = server(databases=4)
    running = worker(source, target)
    running.wait_state("streaming")
    source.client(db=3).set("key", 1)
    running.wait_applied(source)
    source.client(db=12).set("key", 1)
    refused(running, 4, "database 12")
    offset = checkpoint(target)["offset"]

    refused(worker(source, target), 4, "database 12")

    assert int(checkpoint(target)["offset"]) >= int(offset)
    target.client().flushall()
    refused(worker(source, target), 3, "database 12", "target-databases")
    refused(worker(source, target, SHAKER_PREFLIGHT__SKIP_CHECKS="target-databases"), 4, "database 12")
    assert [target.client(db=database).exists("key") for database in (0, 1, 2)] == [0, 0, 0]


def test_a_rejected_command_is_told_and_counted(source: Server, target: Server, worker: Workers) -> None:
    """With `on_error=continue` the stream goes on, not ready, over restarts of the worker, until a full sync."""
    running = worker(source, target)
    running.wait_state("streaming")
    target.client().set("list", "no list")
    source.client().rpush("list", "hunter2")
    source.client().incr("counter")
    running.wait_applied(source)
    for start in (False, True):
        if start:
            running.kill()
            running.start()
        status = running.wait_status(lambda status: status["rejected_commands"] == 1, "the count")
        assert not status["ready"]
        assert "RPUSH list: WRONGTYPE" in running.get("/readyz")[1]
        assert running.get("/readyz")[0] == 503
    assert target.client().get("counter") == b"1"
    assert checkpoint(target)["rejected"] == "1"
    assert "hunter2" not in str(running.output) + str(checkpoint(target))

    source.restart(kill=True)
    running.wait_status(lambda status: status["ready"], "the full sync to clear it")
    assert checkpoint(target)["rejected"] == "0"


def test_a_rejected_command_ends_the_worker_where_asked(source: Server, target: Server, worker: Workers) -> None:
    """With `on_error=stop`: 4; the checkpoint counts it."""
    running = worker(source, target, SHAKER_TARGET__ON_ERROR="stop")
    running.wait_state("streaming")
    target.client().set("list", "no list")
    source.client().rpush("list", "item")
    refused(running, 4, "RPUSH list", "WRONGTYPE")
    assert checkpoint(target)["rejected"] == "1"
