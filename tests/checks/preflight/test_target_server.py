"""Identity, state and contents of the target, on servers made so."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable

import pytest

from shaker.apply.records import checkpoint_key
from tests.support.preflight import judge, made_up, preflight
from tests.support.servers import NAMES, OLDEST, Server, free_port, wait_until
from tests.support.worker import Worker

Servers = Callable[..., Server]
Workers = Callable[..., Worker]


@pytest.mark.parametrize("name", NAMES)
def test_a_target_of_every_release_passes(server: Servers, source: Server, name: str) -> None:
    """No check of the target fails, and those of its identity have nothing against it."""
    source.client().set("key", 1)
    found = preflight(source, server(name))

    assert [each for each in found.values() if each.side == "target" and each.status == "failed"] == []
    for check in ("reachable", "rights", "version", "cluster", "writable", "contents", "memory", "databases"):
        assert found[f"target-{check}"].status == "ok", found[f"target-{check}"]


def test_a_target_that_is_away(source: Server) -> None:
    """It is named with what to look at."""
    found = preflight(source, f"redis://127.0.0.1:{free_port()}")

    assert found["target-reachable"].status == "failed"
    assert "target.url" in found["target-reachable"].remedy
    assert found["target-contents"].status == "skipped"


@pytest.mark.needs_servers(OLDEST)
def test_a_target_that_is_too_old(server: Servers, source: Server) -> None:
    """Failed, with the sentence of `shaker run`."""
    found = preflight(source, server(OLDEST))["target-version"]
    assert (found.status, "6.2 or later" in found.finding) == ("failed", True)


def test_a_version_that_is_not_given() -> None:
    """Skipped."""
    assert judge("target-version", made_up({}, {"redis_version": ""})).status == "skipped"


def test_a_target_in_cluster_mode(server: Servers, source: Server) -> None:
    """Failed."""
    target = server(cluster_enabled="yes", cluster_port=free_port())
    assert preflight(source, target)["target-cluster"].status == "failed"


def test_a_replica_takes_no_writes(server: Servers, source: Server, target: Server) -> None:
    """Failed, until it is promoted."""
    target.replicate(server())
    found = preflight(source, target)["target-writable"]
    assert (found.status, "is a replica" in found.finding) == ("failed", True)
    target.detach()
    assert preflight(source, target)["target-writable"].status == "ok"


def test_a_target_that_lacks_its_replicas(source: Server, target: Server) -> None:
    """Failed: it refuses writes by NOREPLICAS."""
    target.client().config_set("min-replicas-to-write", 1)
    found = preflight(source, target)["target-writable"]
    assert (found.status, "NOREPLICAS" in found.finding) == ("failed", True)
    assert "CONFIG SET min-replicas-to-write 0" in found.remedy


def test_a_target_that_cannot_save(server: Servers, source: Server) -> None:
    """Failed: it refuses writes by MISCONF; without stop-writes-on-bgsave-error it takes them."""
    target = server(save="3600 1")
    target.client().set("key", 1)
    shutil.rmtree(target.directory)
    target.client().bgsave()
    wait_until(lambda: not target.client().info("persistence")["rdb_bgsave_in_progress"], "the end of the save")
    found = preflight(source, target)["target-writable"]
    assert (found.status, "MISCONF" in found.finding) == ("failed", True)
    target.client().config_set("stop-writes-on-bgsave-error", "no")
    assert preflight(source, target)["target-writable"].status == "ok"


def test_a_target_that_is_loading(server: Servers, source: Server) -> None:
    """Failed while it reads its file, here a millisecond for each key; then it passes."""
    target = server(save="3600 1", key_load_delay=1000, loading_process_events_interval_bytes=1024)
    target.client().mset({f"key:{number}": "x" * 50 for number in range(3000)})
    target.restart()
    found = preflight(source, target, target={"on_existing": "merge"})["target-writable"]
    assert (found.status, "is loading" in found.finding) == ("failed", True)
    target.client().config_set("key-load-delay", 0)
    target.wait_loaded()
    assert preflight(source, target, target={"on_existing": "merge"})["target-writable"].status == "ok"


def test_what_the_target_holds(source: Server, target: Server) -> None:
    """Empty, or keys of somebody: failed, unless the settings say what to do with them."""
    assert "is empty" in preflight(source, target)["target-contents"].finding
    target.client(db=2).set("key", 1)
    found = preflight(source, target)["target-contents"]
    assert (found.status, "holds 1 key" in found.finding) == ("failed", True)
    assert "target.on_existing=merge" in found.remedy
    for rule in ("merge", "flush"):
        found = preflight(source, target, target={"on_existing": rule})["target-contents"]
        assert (found.status, f"on_existing is {rule}" in found.finding) == ("warning", True)


def test_the_target_holds_this_replication(
    server: Servers, source: Server, target: Server, worker: Workers
) -> None:
    """Its own checkpoint is resumed; that of another source is refused, unless it is adopted."""
    source.client().set("key", 1)
    assert worker(source, target, SHAKER_MODE="migrate").wait_ended() == 0

    found = preflight(source, target)
    assert found["target-contents"].status == found["target-memory"].status == "ok"
    assert "the replication resumes there" in found["target-contents"].finding
    other = server()
    found = preflight(other, target)
    assert (found["target-contents"].status, "another source" in found["target-contents"].finding) == (
        "failed",
        True,
    )
    assert preflight(other, target, target={"adopt": True})["target-contents"].status == "ok"


def test_contents_that_the_user_may_not_read(source: Server, target: Server) -> None:
    """Skipped: whether the checkpoint is there is not known."""
    target.client().set("key", 1)
    target.client().execute_command("ACL", "SETUSER", "few", "on", ">pass", "-@all", "+info")
    found = preflight(source, f"redis://few:pass@127.0.0.1:{target.port}")["target-contents"]
    assert (found.status, checkpoint_key("default") in found.finding) == ("skipped", False)


def test_replicas_of_the_target(server: Servers, source: Server, target: Server) -> None:
    """One in step passes, one that has not begun is a warning."""
    assert "no replicas" in preflight(source, target)["target-replicas"].finding
    replica = server()
    replica.replicate(target)
    wait_until(lambda: target.info()["slave0"]["state"] == "online", "the replica to be in step")
    found = preflight(source, target)["target-replicas"]
    assert (found.status, "1 replica in step" in found.finding) == ("ok", True)
    # Only a replica that takes a snapshot from the socket has to wait for others.
    target.client().config_set("repl-diskless-sync-delay", 60)
    with socket.create_connection(("127.0.0.1", target.port)) as waiting:
        waiting.sendall(b"REPLCONF capa eof\r\n")
        assert waiting.recv(64) == b"+OK\r\n"
        waiting.sendall(b"PSYNC ? -1\r\n")
        wait_until(lambda: target.info()["connected_slaves"] == 2, "the second replica")
        assert preflight(source, target)["target-replicas"].status == "warning"


def test_the_backlog_of_the_target(server: Servers, source: Server, target: Server) -> None:
    """It begins with the first replica; without one there is no way back."""
    found = preflight(source, target)["target-backlog"]
    assert (found.status, "--reverse" in found.finding) == ("warning", True)
    server().replicate(target)
    assert preflight(source, target)["target-backlog"].status == "ok"


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({}, "warning"),
        ({"save": "3600 1"}, "ok"),
        ({"appendonly": "yes"}, "ok"),
        ({"appendonly": "yes", "appendfsync": "always"}, "warning"),
        ({"rename_command": ['CONFIG ""']}, "skipped"),
    ],
)
def test_what_a_restart_of_the_target_keeps(
    server: Servers, source: Server, settings: dict[str, str], status: str
) -> None:
    """Nothing is a warning; so is a disk that every transaction waits for."""
    assert preflight(source, server(**settings))["target-persistence"].status == status


@pytest.mark.parametrize("name", ["redis-7.0", "valkey-8.0", "valkey-8.1", "valkey-9.1"])
def test_the_import_mode_of_the_target(server: Servers, source: Server, name: str) -> None:
    """Valkey has it from 8.1 on; either way is fine, and the finding says which."""
    target = server(name)
    found = preflight(source, target)["target-import-mode"]
    if name == "redis-7.0":
        assert (found.status, "has no import mode" in found.finding) == ("ok", True)
    elif name == "valkey-8.0":
        assert found.status == "skipped"
    else:
        assert "not in import mode" in found.finding
        target.client().config_set("import-mode", "yes")
        assert "is in import mode" in preflight(source, target)["target-import-mode"].finding
