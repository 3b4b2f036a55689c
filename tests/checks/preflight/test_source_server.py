"""Identity and role of the source, on servers made so."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.support.preflight import judge, made_up, preflight
from tests.support.relay import Relay
from tests.support.servers import OLDEST, SOURCES, Server, free_port, wait_until

Servers = Callable[..., Server]


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_of_every_release_passes(server: Servers, target: Server, name: str) -> None:
    """No check of the source fails, and those of its identity have nothing against it."""
    source = server(name)
    source.client().set("key", "value")

    found = preflight(source, target)

    failed = [each for each in found.values() if each.side == "source" and each.status == "failed"]
    assert failed == []
    for check in ("reachable", "rights", "psync", "version", "role", "cluster", "sentinel", "keys", "min-replicas"):
        assert found[f"source-{check}"].status == "ok", found[f"source-{check}"]


def test_a_source_that_is_away(target: Server) -> None:
    """It is named with what to look at; checks that need its INFO are skipped, those of the target are made."""
    found = preflight(f"redis://127.0.0.1:{free_port()}", target)

    assert found["source-reachable"].status == "failed"
    assert "source.url" in found["source-reachable"].remedy
    assert found["source-backlog"].status == found["same-dataset"].status == "skipped"
    assert found["target-reachable"].status == found["target-writable"].status == "ok"


def test_a_password_that_the_source_refuses(server: Servers, target: Server) -> None:
    """The remedy names the settings, and nothing shows the password."""
    source = server(requirepass="right")
    found = preflight(f"redis://:hunter2@127.0.0.1:{source.port}", target)

    assert found["source-reachable"].status == "failed"
    assert "source.password" in found["source-reachable"].remedy
    assert "hunter2" not in str(found)


@pytest.mark.parametrize("name", SOURCES)
def test_psync_is_missing_or_renamed(server: Servers, target: Server, name: str) -> None:
    """Failed under its own name; under the other one a warning, because only some services answer it as PSYNC."""
    source = server(name, rename_command=["PSYNC abcsync"])

    assert preflight(source, target)["source-psync"].status == "failed"
    found = preflight(source, target, source={"psync_command": "abcsync"})["source-psync"]
    assert (found.status, "abcsync" in found.finding) == ("warning", True)


@pytest.mark.parametrize("renamed", [False, True])
@pytest.mark.parametrize("name", ["redis-6.2", "redis-7.0", "valkey-9.1"])
def test_psync_is_known_to_a_user_who_may_ask_nothing(
    server: Servers, target: Server, name: str, renamed: bool
) -> None:
    """By the error of a PSYNC without arguments, which no server carries out."""
    source = server(name, **({"rename_command": ["PSYNC abcsync"]} if renamed else {}))
    source.client().execute_command("ACL", "SETUSER", "few", "on", ">pass", "-@all", "+info", "+psync", "+replconf")

    found = preflight(f"redis://few:pass@127.0.0.1:{source.port}", target)["source-psync"]

    assert found.status == ("failed" if renamed else "ok")
    assert source.info("stats")["sync_full"] == 0


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"redis_version": "3.2.1"}, "failed"),
        ({"redis_version": "4.0.14"}, "warning"),
        ({"redis_version": "5.0.14"}, "ok"),
        ({"redis_version": "8.0.2"}, "ok"),
        ({"redis_version": "8.9.0"}, "warning"),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, "ok"),
        ({"redis_version": "7.2.4", "valkey_version": "10.0.0"}, "warning"),
        ({"redis_version": ""}, "skipped"),
    ],
)
def test_the_version_of_the_source(fields: dict[str, object], status: str) -> None:
    """Too old to follow a failover, older or newer than the tests, or fine."""
    assert judge("source-version", made_up(fields, {})).status == status


@pytest.mark.parametrize(("version", "status"), [("3.2.13", "failed"), ("8.9.0", "warning"), ("7.0.15", "ok")])
def test_a_source_that_says_its_version(source: Server, target: Server, version: str, status: str) -> None:
    """Of a release that is not here: a server whose INFO names it, by a relay."""
    info = re.sub(rb"redis_version:[\d.]+", b"redis_version:" + version.encode(), _info(source))
    answer = b"$%d\r\n%b\r\n" % (len(info), info)
    with Relay(source, lambda asked, data: answer if asked[0] == b"INFO" else None) as relay:
        found = preflight(relay.url, target)["source-version"]
    assert (found.status, version in found.finding) == (status, True)


def _info(server: Server) -> bytes:
    connection = server.client(protocol=2).connection_pool.get_connection()
    connection.send_command("INFO")  # type: ignore[no-untyped-call]
    return bytes(connection.read_response())


def test_a_replica_as_the_source(server: Servers, target: Server) -> None:
    """A warning that names its primary; failed while it has lost that one; a primary names its best replica."""
    primary, replica = server(), server()
    primary.client().set("key", 1)
    replica.replicate(primary)

    found = preflight(replica, target)["source-role"]
    assert (found.status, f"127.0.0.1:{primary.port}" in found.remedy) == ("warning", True)
    found = preflight(primary, target)["source-role"]
    assert (found.status, f"127.0.0.1:{replica.port}" in found.finding) == ("ok", True)

    primary.kill()
    wait_until(lambda: replica.info()["master_link_status"] == "down", "the replica to miss its primary")
    found = preflight(replica, target)["source-role"]
    assert (found.status, "lost its own primary" in found.finding) == ("failed", True)


def test_a_source_in_cluster_mode(server: Servers, target: Server) -> None:
    """Failed, with the sentence of `shaker run`."""
    source = server(cluster_enabled="yes", cluster_port=free_port())

    found = preflight(source, target)["source-cluster"]

    assert (found.status, "has cluster mode enabled" in found.finding) == ("failed", True)


def test_sentinels_that_watch_the_source(source: Server, target: Server) -> None:
    """A warning where source.url names the server, by the names of their connections; skipped where not known."""
    with source.client(client_name="sentinel-0a1b2c3d-cmd").client() as watching:
        watching.ping()
        found = preflight(source, target)["source-sentinel"]
        assert (found.status, "redis+sentinel://" in found.remedy) == ("warning", True)
    source.client().execute_command("ACL", "SETUSER", "few", "on", ">pass", "-@all", "+info")
    assert preflight(f"redis://few:pass@127.0.0.1:{source.port}", target)["source-sentinel"].status == "skipped"


def test_urls_of_sentinels_and_clusters() -> None:
    """Sentinels are followed; the URL of a cluster fails before its node says anything."""
    url = {
        "source": {"url": "redis+sentinel://127.0.0.1:1/service"},
        "target": {"url": "redis+cluster://127.0.0.1:2"},
    }
    assert judge("source-sentinel", made_up({}, {}, sections=url)).status == "ok"
    assert judge("target-cluster", made_up({}, {}, sections=url)).status == "failed"
    url = {"source": {"url": "redis+cluster://127.0.0.1:1"}}
    assert judge("source-cluster", made_up({}, {}, sections=url)).status == "failed"


def test_the_keys_of_the_source(source: Server, target: Server) -> None:
    """An empty source is a warning: it may be the wrong one."""
    assert preflight(source, target)["source-keys"].status == "warning"
    source.client().set("key", 1)
    source.client(db=3).set("key", 1, ex=100)

    found = preflight(source, target)["source-keys"]

    assert found.status == "ok"
    assert "2 keys" in found.finding
    assert "db0 1, db3 1" in found.finding
    assert "50 % of them expire" in found.finding


def test_min_replicas_of_the_source(source: Server, target: Server) -> None:
    """The worker counts as a replica: a warning either way."""
    assert preflight(source, target)["source-min-replicas"].status == "ok"
    source.client().config_set("min-replicas-to-write", 1)
    found = preflight(source, target)["source-min-replicas"]
    assert (found.status, "0 are there" in found.finding) == ("warning", True)


@pytest.mark.needs_servers(OLDEST)
def test_a_server_that_keeps_its_configuration_to_itself(server: Servers, target: Server) -> None:
    """As managed services do: such checks are skipped, and name the missing fact."""
    for name in (OLDEST, "redis-7.0"):
        source = server(name, rename_command=['CONFIG ""'])
        source.client().set("key", 1)
        found = preflight(source, target)
        for check in ("source-diskless", "source-output-buffer", "source-min-replicas", "source-ping-period"):
            assert found[check].status == "skipped", check
        assert "repl-diskless-sync is not known: CONFIG GET" in found["source-diskless"].finding
        assert not [each for each in found.values() if each.status == "failed"]
