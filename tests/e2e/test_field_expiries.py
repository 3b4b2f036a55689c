"""Expiries of hash fields come with the snapshot and with the stream, from every server that has them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.codec.rdb.field_expiries import LAST_TIME
from tests.support.compare import LATER, differences
from tests.support.servers import Server
from tests.support.worker import Worker

FAR = 4_102_444_800_000  # the year 2100, in milliseconds


@pytest.mark.parametrize("name", ["redis-8.0", "valkey-9.1"])
def test_expiries_of_fields(name: str, server: Callable[..., Server], worker: Callable[..., Worker]) -> None:
    source, target = server(name), server(name)
    client = source.client()
    client.hset("snapshot", mapping={f"field:{number}": "x" * 70 for number in range(20)})
    client.execute_command("HPEXPIREAT", "snapshot", FAR, "FIELDS", 1, "field:3")

    running = worker(source, target)
    running.wait_state("streaming")
    client.hset("stream", mapping={"one": 1, "two": 2})
    client.execute_command("HPEXPIREAT", "stream", FAR, "FIELDS", 1, "two")
    running.wait_applied(source)

    assert differences(source, target) == []
    for key, field in (("snapshot", "field:3"), ("stream", "two")):
        [at] = target.client().execute_command("HPEXPIRETIME", key, "FIELDS", 1, field)
        assert 2000 <= at - FAR <= LATER


@pytest.mark.parametrize("condition", ["NX", "XX", "GT", "LT"])
@pytest.mark.parametrize("name", ["redis-8.0", "valkey-9.1"])
def test_conditions_that_one_field_meets_and_another_does_not(
    name: str, condition: str, server: Callable[..., Server], worker: Callable[..., Worker]
) -> None:
    """Valkey sends both fields with the condition, Redis the one that met it; in a database other than 0 too."""
    source, target = server(name), server(name)
    running = worker(source, target)
    running.wait_state("streaming")
    for database in (0, 9):
        client = source.client(db=database)
        client.hset("key", mapping={"early": 1, "late": 2, "never": 3})
        for field, at in (("early", FAR), ("late", FAR + 200_000)):
            client.execute_command("HPEXPIREAT", "key", at, "FIELDS", 1, field)
        replies = client.execute_command(
            "HPEXPIREAT", "key", FAR + 100_000, condition, "FIELDS", 3, "early", "late", "never"
        )
        assert set(replies) == {0, 1}
    running.wait_applied(source)
    running.wait_status(lambda status: status["ready"], "the worker to be ready")

    assert differences(source, target) == []
    assert running.status()["rejected_commands"] == 0


@pytest.mark.parametrize("name", ["redis-8.0", "valkey-9.1"])
def test_the_last_expiry_that_a_field_can_have(
    name: str, server: Callable[..., Server], worker: Callable[..., Worker]
) -> None:
    """No margin makes it one that Redis refuses."""
    source, target = server(name), server(name)
    running = worker(source, target)
    running.wait_state("streaming")
    for database in (0, 9):
        client = source.client(db=database)
        client.hset("key", mapping={"field": 1, "other": 2})
        client.execute_command("HPEXPIREAT", "key", LAST_TIME, "FIELDS", 1, "field")
        client.execute_command("HSETEX", "key", "PXAT", LAST_TIME - 1, "FIELDS", 1, "other", "value")
    status = running.wait_applied(source)

    assert differences(source, target) == []
    assert (status["rejected_commands"], status["reasons"]) == (0, [])
