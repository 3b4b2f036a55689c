"""A server that is not there, or not ready, at the start is waited for; probes tell it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from random import Random

import pytest

from tests.support.compare import differences
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker

Servers = Callable[..., Server]
Workers = Callable[..., Worker]

FAST = {"SHAKER_RETRY__MAX_SECONDS": "0.2"}


@pytest.fixture
def absent() -> Iterator[Server]:
    """A server that was not started: nobody listens on its port."""
    with closing(Server()) as server:
        yield server


def waiting(running: Worker, side: str, reason: str) -> None:
    """Assert that the worker is alive, not ready, and tells why in status, probe and log."""
    running.wait(lambda: len(running.events("link failed")) >= 3, "some attempts")
    assert running.get("/livez")[0] == 200
    assert running.get("/startupz")[0] == 200
    code, text = running.get("/readyz")
    assert code == 503
    assert reason in text
    # Each attempt has its moment of another state.
    status = running.wait_status(lambda found: found["state"] == "connecting", "the state between two attempts")
    assert not status[side]["connected"]
    assert reason in status[side]["last_error"]


def arrives(running: Worker, source: Server, target: Server) -> None:
    """Assert that the worker now replicates and is ready."""
    running.wait_state("streaming")
    source.client().incr("later")
    running.wait_applied(source)
    assert differences(source, target) == []
    wait_until(lambda: running.get("/readyz")[0] == 200, "the worker to be ready")
    assert running.status()["source"]["last_error"] is None
    assert running.status()["target"]["last_error"] is None


def test_the_source_is_not_there(absent: Server, target: Server, worker: Workers) -> None:
    """It is connected to when it appears."""
    running = worker(absent, target, **FAST)
    waiting(running, "source", f"no connection to the source 127.0.0.1:{absent.port}")
    assert target.info("stats")["total_commands_processed"] < 10

    absent.start()

    arrives(running, absent, target)


def test_the_target_is_not_there(source: Server, absent: Server, worker: Workers) -> None:
    """Nothing is asked of the source until the target says where to begin."""
    source.client().set("key", 1)
    running = worker(source, absent, **FAST)
    running.wait(lambda: len(running.events("link failed")) >= 3, "some attempts")
    assert running.get("/livez")[0] == 200
    code, text = running.get("/readyz")
    assert code == 503
    assert f"no connection to the target 127.0.0.1:{absent.port}" in text
    assert source.info("stats")["sync_full"] == 0

    absent.start()

    arrives(running, source, absent)


def test_the_source_ends_the_link_that_waits_for_the_target(
    server: Servers, absent: Server, worker: Workers
) -> None:
    """A source that meanwhile ends the silent link is connected to anew."""
    source = server(timeout=1)
    source.client().set("key", 1)
    running = worker(source, absent, **FAST)

    def links() -> int:
        return sum(client["cmd"] == "replconf" for client in source.client().client_list())

    wait_until(links, "the link to the source")
    wait_until(lambda: links() == 0, "the source to end it")

    absent.start()

    arrives(running, source, absent)
    assert running.status()["full_syncs"] == 1


def loading(server: Server) -> None:
    """Restart `server` so that it answers LOADING for 20 s, or until its `key-load-delay` is set to 0."""
    client, random = server.client(), Random(1)
    for number in range(2000):
        client.set(f"key:{number}", random.randbytes(500))
    # It answers once for so many bytes, the least that it takes: for two keys.
    server.config |= {"key-load-delay": 10_000, "loading-process-events-interval-bytes": 1024}
    server.restart()
    assert server.info("persistence")["loading"] == 1


def test_the_source_is_loading(server: Servers, target: Server, worker: Workers) -> None:
    """A source that loads its dataset is waited for."""
    source = server(save="3600 1")
    loading(source)
    running = worker(source, target, **FAST)
    waiting(running, "source", "LOADING")

    source.client().config_set("key-load-delay", 0)

    arrives(running, source, target)


def test_the_target_is_loading(server: Servers, source: Server, worker: Workers) -> None:
    """A target that loads its dataset is waited for, and then refused if there are keys in it."""
    target = server(save="3600 1")
    loading(target)
    running = worker(source, target, **FAST)
    running.wait(lambda: len(running.events("link failed")) >= 3, "some attempts")
    assert "LOADING" in running.get("/readyz")[1]
    assert running.get("/livez")[0] == 200

    target.client().config_set("key-load-delay", 0)

    assert running.wait_ended() == 3


def test_a_replica_as_the_source_that_has_lost_its_primary(
    server: Servers, target: Server, worker: Workers
) -> None:
    """Its stream stands still with the primary gone: it is waited for; then a replica is as good a source."""
    primary = server(repl_diskless_load="swapdb")
    replica = server()
    primary.client().set("key", 1)
    replica.replicate(primary)
    primary.stop()
    wait_until(lambda: replica.info()["master_link_status"] == "down", "the replica to lose its primary")
    running = worker(replica, target, **FAST)
    waiting(running, "source", "has lost its own primary")

    primary.start()
    wait_until(lambda: replica.info()["master_link_status"] == "up", "the replica to find its primary")

    running.wait_state("streaming")
    primary.client().incr("later")
    replica.wait_replica(primary)
    running.wait_applied(replica)
    assert differences(replica, target) == []
    assert target.client().get("later") == b"1"


def test_a_replica_as_the_target_is_waited_for_until_it_is_promoted(
    server: Servers, source: Server, target: Server, worker: Workers
) -> None:
    """It takes no writes; nothing is written before it can be."""
    primary = server()
    target.replicate(primary)
    running = worker(source, target, **FAST)
    running.wait(lambda: len(running.events("link failed")) >= 3, "some attempts")
    assert "is a replica and takes no writes" in running.get("/readyz")[1]

    target.detach()

    arrives(running, source, target)
