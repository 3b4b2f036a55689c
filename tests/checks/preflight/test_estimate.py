"""The estimate, by numbers and against what a migration of a real server then takes."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from shaker.checks.preflight.estimate import estimate
from shaker.checks.preflight.facts import LinkSpeed, Sample, WriteRate
from tests.support.preflight import facts_of, made_up
from tests.support.servers import Server
from tests.support.worker import ROOT, Worker

MIB = 1024 * 1024


def test_the_numbers_follow_from_the_measurements() -> None:
    """Bytes by the sample, time by the slower link, memory on the three machines."""
    facts = made_up(
        {"used_memory": 300 * MIB, "used_memory_rss": 350 * MIB, "db0": "keys=1000,expires=0"},
        {"used_memory": 10 * MIB},
        source_facts={"link": LinkSpeed(100 * MIB, MIB, 0.1)},
        target_facts={"link": LinkSpeed(10 * MIB, MIB, 0.1)},
        sample=Sample(100, 900, 10 * MIB, MIB, {}),
        write_rate=WriteRate(MIB, 3.0, by_offset=True),
    )
    found = estimate(facts)

    assert found["snapshot_bytes"] == 100 * MIB + 10 * 1000
    assert found["snapshot_seconds"] == 10.0
    assert found["source_buffer_bytes"] // MIB == 10
    assert found["catch_up_seconds"] == 1.1
    assert found["target_memory_bytes"] == 310 * MIB
    assert found["source_fork_bytes"] == 350 * MIB
    assert found["measured"]["write_rate_by"] == "replication offset"


def test_each_number_is_explained() -> None:
    """In docs/preflight.md, by the name that scripts read."""
    page = (ROOT / "docs" / "preflight.md").read_text().partition("## The estimate")[2]
    assert re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE) == list(estimate(made_up({}, {})))


def test_without_a_sample_the_memory_of_the_data_is_the_bound() -> None:
    """And many small keys are bounded by the target."""
    link = {"link": LinkSpeed(1000 * MIB, MIB, 0.1)}
    facts = made_up(
        {"used_memory": 30 * MIB, "db0": "keys=1000000,expires=0"}, {}, source_facts=link, target_facts=link
    )
    assert estimate(facts)["snapshot_bytes"] == 30 * MIB
    assert estimate(facts)["snapshot_seconds"] == 5.0


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [({"snapshot_keys": 20_000}, 50.0), ({"snapshot_bytes": MIB}, 30.0), ({"stream_bytes": MIB}, 5.0)],
)
def test_limits_that_an_operator_has_set_count(rate: dict[str, int], seconds: float) -> None:
    """They make the snapshot longer, and with it the time for which the source holds its writes."""
    link = {"link": LinkSpeed(1000 * MIB, MIB, 0.1)}
    facts = made_up(
        {"used_memory": 30 * MIB, "db0": "keys=1000000,expires=0"},
        {},
        source_facts=link,
        target_facts=link,
        sections={"rate": rate},
    )
    assert estimate(facts)["snapshot_seconds"] == seconds


def test_what_is_not_known_is_null() -> None:
    """A writer that is faster than the link never catches up: no number, either."""
    found = estimate(made_up(None, None))
    assert {found[name] for name in found if name not in ("measured", "worker_memory_bytes")} == {None}
    link = {"link": LinkSpeed(MIB, MIB, 0.1)}
    facts = made_up(
        {"used_memory": MIB},
        {},
        source_facts=link,
        target_facts=link,
        write_rate=WriteRate(2 * MIB, 3.0, by_offset=True),
    )
    assert estimate(facts)["catch_up_seconds"] is None


def test_bytes_and_memory_come_true(source: Server, target: Server, worker: Callable[..., Worker]) -> None:
    """Within a third, for keys of many sizes."""
    pipeline = source.client().pipeline(transaction=False)
    for number in range(20_000):
        pipeline.set(f"key:{number}", b"%d" % number * (number % 50 + 1))
        pipeline.hset(f"hash:{number % 500}", f"field:{number}", "value")
    pipeline.execute()
    found = estimate(facts_of(source, target))

    running = worker(source, target, SHAKER_MODE="migrate")
    assert running.wait_ended() == 0
    (copied,) = running.events("summary")
    memory = target.info("memory")["used_memory"]
    assert abs(found["target_memory_bytes"] - memory) < memory / 3
    assert found["keys"] == 20_500
    received = source.info("stats")["total_net_repl_output_bytes"]
    assert received / 2 < found["snapshot_bytes"] < received * 1.5, (found, copied)
