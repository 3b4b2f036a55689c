"""Memory, databases and limits of the target, on servers made so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.preflight import judge, made_up, preflight
from tests.support.servers import Server

Servers = Callable[..., Server]
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def filled() -> object:
    """A source with some 12 MB of data."""
    with Server() as source:
        pipeline = source.client().pipeline(transaction=False)
        for number in range(100):
            pipeline.set(f"key:{number}", b"x" * 120_000)
        pipeline.execute()
        yield source


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru"])
def test_a_target_without_memory_for_the_data(filled: Server, target: Server, policy: str) -> None:
    """Failed, and the effect depends on the policy; the CONFIG SET of the remedy makes it pass."""
    client = target.client()
    client.config_set("maxmemory-policy", policy)
    client.config_set("maxmemory", 4 * MIB)
    found = preflight(filled, target)["target-memory"]
    assert found.status == "failed", found
    assert ("refuses writes" if policy == "noeviction" else "evicts keys") in found.finding
    client.config_set("maxmemory", found.remedy.rpartition(" ")[2])
    assert preflight(filled, target)["target-memory"].status == "ok"


def test_memory_that_is_nearly_too_little(filled: Server, target: Server) -> None:
    """A warning from 80 % on; a target that is to be flushed has its whole memory."""
    data = filled.info("memory")["used_memory"]
    target.client().config_set("maxmemory", data * 6 // 5)
    assert preflight(filled, target)["target-memory"].status == "warning"
    target.client().config_set("maxmemory", 0)
    target.client().set("old", b"x" * 25 * MIB)
    target.client().config_set("maxmemory", 30 * MIB)
    merged = preflight(filled, target, target={"on_existing": "merge"})["target-memory"]
    flushed = preflight(filled, target, target={"on_existing": "flush"})["target-memory"]
    assert (merged.status, flushed.status) == ("failed", "ok")


@pytest.mark.parametrize(("system", "status"), [(10_000, "ok"), (1000, "warning")])
def test_a_target_without_maxmemory(system: int, status: str) -> None:
    """Its machine bounds it."""
    facts = made_up({"used_memory": 900 * MIB}, {"used_memory": MIB, "total_system_memory": system * MIB})
    assert judge("target-memory", facts).status == status


@pytest.mark.parametrize(
    ("policy", "status"), [("noeviction", "ok"), ("volatile-ttl", "warning"), ("allkeys-lru", "failed")]
)
def test_the_eviction_policy(source: Server, target: Server, policy: str, status: str) -> None:
    """Named; target.allow_eviction makes a warning of the failure."""
    target.client().config_set("maxmemory-policy", policy)
    found = preflight(source, target)["target-eviction"]
    assert (found.status, policy in found.finding) == (status, True)
    if status != "ok":
        assert "maxmemory-policy noeviction" in found.remedy
    if status == "failed":
        found = preflight(source, target, target={"allow_eviction": True})["target-eviction"]
        assert (found.status, "the checkpoint too" in found.finding) == ("warning", True)


@pytest.mark.parametrize("hidden", [False, True])
def test_databases_that_the_target_lacks(server: Servers, source: Server, hidden: bool) -> None:
    """Failed with keys in one of them, known by SELECT where CONFIG is taken away; a warning without."""
    target = server(databases=4, **({"rename_command": ['CONFIG ""']} if hidden else {}))
    source.client(db=3).set("key", 1)
    assert preflight(source, target)["target-databases"].status == ("ok" if hidden else "warning")
    source.client(db=12).set("key", 1)
    found = preflight(source, target)["target-databases"]
    assert (found.status, "database 12" in found.finding) == ("failed", True)
    assert found.remedy.endswith("13")


def test_the_longest_value_that_the_target_takes(source: Server, target: Server) -> None:
    """A lower limit than the source's is a warning; one below a sampled value fails."""
    assert preflight(source, target)["target-bulk-limit"].status == "ok"
    target.client().config_set("proto-max-bulk-len", MIB)
    found = preflight(source, target)["target-bulk-limit"]
    assert (found.status, f"proto-max-bulk-len {512 * MIB}" in found.remedy) == ("warning", True)
    source.client().set("large", b"x" * 2 * MIB)
    assert preflight(source, target)["target-bulk-limit"].status == "failed"


def test_the_query_buffer_of_the_target(source: Server, target: Server) -> None:
    """Below twice of what the worker holds it is a warning."""
    assert preflight(source, target)["target-query-buffer"].status == "ok"
    target.client().config_set("client-query-buffer-limit", 8 * MIB)
    found = preflight(source, target)["target-query-buffer"]
    assert found.status == "warning"
    target.client().config_set("client-query-buffer-limit", found.remedy.rpartition(" ")[2])
    assert preflight(source, target)["target-query-buffer"].status == "ok"


@pytest.mark.parametrize(("seconds", "status"), [(0, "ok"), (5, "warning"), (60, "ok")])
def test_the_timeout_of_idle_connections(source: Server, target: Server, seconds: int, status: str) -> None:
    """One below the worker's PING is a warning."""
    target.client().config_set("timeout", seconds)
    assert preflight(source, target)["target-timeout"].status == status


def test_limits_that_are_not_revealed(server: Servers, source: Server) -> None:
    """Skipped, and the finding names the limit."""
    target = server(rename_command=['CONFIG ""'])
    found = preflight(source, target)
    for check in ("target-bulk-limit", "target-query-buffer", "target-timeout"):
        assert (found[check].status, "is not known: CONFIG GET" in found[check].finding) == ("skipped", True)
