"""The checks before the first write of `shaker run`: refusals, warnings, and the settings that select them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.checks.preflight.at_start import has_database
from shaker.net.connection import ReplyError
from tests.support.servers import Server
from tests.support.worker import Worker

Servers = Callable[..., Server]


@pytest.mark.parametrize(
    ("reply", "has"),
    [
        (b"OK", True),
        (ReplyError("ERR DB index is out of range"), False),
        (ReplyError("NOPERM this user has no permissions to run the 'select' command"), None),
    ],
)
def test_a_database_is_known_by_its_select(reply: object, has: bool | None) -> None:
    assert has_database(reply) is has


def test_run_makes_the_cheap_ones_before_its_first_write(
    server: Servers, source: Server, worker: Callable[..., Worker]
) -> None:
    """3, and nothing is written; a left-out check lets it begin, and a new start does not ask again."""
    target = server(maxmemory="3mb")
    source.client().set("large", b"x" * 8_000_000)

    first = worker(source, target)
    assert first.wait_ended() == 3
    (end,) = first.events("replication ends")
    assert "maxmemory" in end["error"]
    assert "--skip-check target-memory" in end["hint"]
    assert (target.client().dbsize(), source.info("stats")["sync_full"]) == (0, 0)

    second = worker(source, target, SHAKER_PREFLIGHT__SKIP_CHECKS="target-memory")
    second.wait(lambda: source.info("stats")["sync_full"], "the snapshot")
    second.kill()
    target.client().config_set("maxmemory", 0)
    target.client().flushall()
    third = worker(source, target)
    third.wait_state("streaming")
    third.kill()
    target.client().config_set("maxmemory", 3_000_000)
    fourth = worker(source, target)
    fourth.wait_state("streaming")
    assert fourth.events("preflight") == []


def test_run_logs_warnings_once_and_goes_on(server: Servers, source: Server, worker: Callable[..., Worker]) -> None:
    """With check, finding and remedy."""
    running = worker(source, server(maxmemory_policy="volatile-lru"))
    running.wait_state("streaming")
    (event,) = running.events("preflight")
    assert (event["level"], event["check"]) == ("warning", "target-eviction")
    assert "volatile-lru" in event["finding"]
    assert "noeviction" in event["remedy"]


def test_a_guard_is_not_left_out_of_run(source: Server, target: Server, worker: Callable[..., Worker]) -> None:
    """2, before anything is connected."""
    running = worker(source, target, SHAKER_PREFLIGHT__SKIP_CHECKS="same-dataset")
    assert running.wait_ended() == 2
    assert "cannot be left out of `shaker run`" in running.output[0]
