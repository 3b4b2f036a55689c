"""Source and target together, on servers made so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.checks.preflight.facts import LinkSpeed, Sample, WriteRate
from tests.soak.clock import SkewedClock
from tests.support.compatibility import FEATURES, common
from tests.support.preflight import judge, made_up, preflight
from tests.support.proxy import Proxy
from tests.support.servers import NAMES, Server
from tests.support.worker import Worker

Servers = Callable[..., Server]
Workers = Callable[..., Worker]
MIB = 1024 * 1024


def test_one_dataset_at_two_addresses(source: Server, target: Server) -> None:
    """Failed, behind a proxy and between a primary and its replica."""
    assert preflight(source, target)["same-dataset"].status == "ok"
    with Proxy(source) as proxy:
        assert preflight(source, proxy.url)["same-dataset"].status == "failed"
    source.replicate(target)
    assert preflight(source, target)["same-dataset"].status == "failed"


def test_circles_and_chains(server: Servers, source: Server, target: Server, worker: Workers) -> None:
    """A worker from target to source closes a circle; one from elsewhere makes a chain; one to the target "
    "overlaps."""
    found = preflight(source, target)
    assert found["loops"].status == found["chains"].status == "ok"

    back = worker(target, source, SHAKER_NAME="back")
    back.wait_state("streaming")
    found = preflight(source, target, target={"on_existing": "merge"})
    assert (found["loops"].status, "shaker:checkpoint:back" in found["loops"].finding) == ("failed", True)
    back.kill()
    source.client().flushall()

    other = server()
    first = worker(other, source, SHAKER_NAME="first")
    first.wait_state("streaming")
    found = preflight(source, target)
    assert found["loops"].status == "ok"
    assert (found["chains"].status, "shaker:checkpoint:first" in found["chains"].finding) == ("warning", True)

    beside = worker(other, target, SHAKER_NAME="beside")
    beside.wait_state("streaming")
    found = preflight(source, target, target={"on_existing": "merge"})
    assert (found["chains"].status, "shaker:checkpoint:beside" in found["chains"].finding) == ("warning", True)


def test_records_that_may_not_be_read(source: Server, target: Server) -> None:
    """Skipped: the stream carries them."""
    source.client().execute_command("ACL", "SETUSER", "few", "on", ">pass", "-@all", "+info", "+psync", "+replconf")
    found = preflight(f"redis://few:pass@127.0.0.1:{source.port}", target)
    assert found["loops"].status == found["chains"].status == "skipped"
    assert found["clocks"].status == "skipped"


@pytest.mark.parametrize(
    ("source", "target", "status", "words"),
    [
        (0.0, 0.1, "ok", "ahead of the source's"),
        (0.0, 7.0, "warning", "earlier than on the source"),
        (0.0, -7.0, "warning", "later than on the source"),
        (30.0, 30.0, "warning", "30.000 s ahead of this machine's"),
        (None, 0.0, "skipped", "the source"),
    ],
)
def test_the_difference_of_the_clocks(source: float | None, target: float | None, status: str, words: str) -> None:
    """Above expiry.max_clock_skew_seconds expiries come at another time."""
    facts = made_up({}, {}, source_facts={"clock_offset": source}, target_facts={"clock_offset": target})
    found = judge("clocks", facts)
    assert (found.status, words in found.finding) == (status, True), found


def test_the_clocks_of_two_servers_here_agree(source: Server, target: Server) -> None:
    """They have the same one."""
    assert preflight(source, target)["clocks"].status == "ok"


def test_a_target_whose_clock_differs(source: Server) -> None:
    """A warning with the difference; it passes once both clocks agree."""
    target = Server()
    with SkewedClock(-30.0) as clock:
        target.environment = clock.environment
        with target:
            found = preflight(source, target)["clocks"]
            assert (found.status, "later than on the source" in found.finding) == ("warning", True), found
            clock.set(0.0)
            assert preflight(source, target)["clocks"].status == "ok"


def test_a_target_far_away(source: Server, target: Server) -> None:
    """A warning from a round trip of 50 ms on, measured through a proxy."""
    assert preflight(source, target)["round-trip"].status == "ok"
    with Proxy(target) as proxy:
        proxy.set(latency=0.04)
        found = preflight(source, proxy.url)["round-trip"]
    assert (found.status, "near the target" in found.remedy) == ("warning", True), found


def test_a_link_that_is_slower_than_the_writes() -> None:
    """A warning: the worker would fall behind."""
    facts = made_up(
        {},
        {},
        source_facts={"round_trip": 0.001},
        target_facts={"round_trip": 0.001, "link": LinkSpeed(10 * MIB, MIB, 0.1)},
        write_rate=WriteRate(8 * MIB, 3.0, by_offset=True),
    )
    found = judge("round-trip", facts)
    assert (found.status, "the source writes 8.0 MiB/s" in found.finding) == ("warning", True)


@pytest.mark.needs_servers("redis-8.0")
def test_modules_that_the_target_lacks(server: Servers, target: Server) -> None:
    """A warning; failed once a sampled key is a value of one: Redis 8.0 has vector sets as a module."""
    source = server("redis-8.0")
    source.client().set("key", 1)
    found = preflight(source, target)["modules"]
    assert (found.status, "vectorset" in found.finding) == ("warning", True)
    source.client().execute_command("VADD", "vectors", "VALUES", 2, 1, 0, "a")
    found = preflight(source, target)["modules"]
    assert (found.status, "1 of 2 sampled keys" in found.finding) == ("failed", True)
    assert preflight(source, server("redis-8.0"))["modules"].status == "ok"


@pytest.mark.parametrize("target_name", NAMES)
@pytest.mark.parametrize("source_name", NAMES)
def test_types_as_the_worker_copies_them(server: Servers, source_name: str, target_name: str) -> None:
    """Values of all servers never fail; each feature fails exactly where docs/compatibility.md has the pair without."""
    source, target = server(source_name), server(target_name)
    common(source.client(), "common")
    found = preflight(source, target)
    lacks = [
        name for name, each in FEATURES.items() if source_name in each.servers and target_name not in each.servers
    ]
    expected = "warning" if set(lacks) - {"vector sets"} else "ok"
    assert found["types"].status == expected, found["types"]
    assert found["modules"].status == ("warning" if "vector sets" in lacks else "ok")
    for name, each in FEATURES.items():
        if source_name in each.servers:
            each.write(source.client())
            check = "modules" if name == "vector sets" else "types"
            found = preflight(source, target)[check]
            assert (found.status == "failed") is (name in lacks), found
            skipping = preflight(source, target, target={"on_unsupported": "skip"})[check]
            assert (skipping.status, "skip leaves out" in skipping.finding) == (
                ("warning", True) if name in lacks else (found.status, False)
            )
            source.client().flushall()
            source.client().execute_command("FUNCTION", "FLUSH") if "functions" in name else None


def test_types_of_servers_that_hide_their_version() -> None:
    """Skipped."""
    assert judge("types", made_up({"redis_version": ""}, {})).status == "skipped"
    sample = Sample(0, 0, 0, 0, {})
    assert judge("types", made_up({"redis_version": "8.0.0"}, {}, sample=sample)).status == "warning"
