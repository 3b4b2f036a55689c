"""No bulk deletion without consent: held before the first key is removed, named, and let go on by the setting."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.test_refusals import refused
from tests.e2e.test_sweep import cut_short, lose_backlog
from tests.support.compare import differences
from tests.support.servers import NAMES, Server, wait_until
from tests.support.worker import Worker
from tests.support.writes import checkpoint, syncs

Servers = Callable[..., Server]
Workers = Callable[..., Worker]

GUARDED = {"SHAKER_TARGET__MAX_DELETIONS": "30%"}
KEYS = 100


def fill(server: Server, keys: int = KEYS) -> None:
    """Write keys into two databases."""
    for database in (0, 3):
        if values := {f"key:{number}": number for number in range(keys // 2)}:
            server.client(db=database).mset(values)


def synced(source: Server, target: Server, worker: Workers, **settings: str) -> Worker:
    """Return a worker that has copied KEYS keys."""
    fill(source)
    running = worker(source, target, **{**GUARDED, **settings})
    running.wait_state("streaming")
    running.wait_applied(source)
    return running


def held(running: Worker, *words: str) -> None:
    """Wait until the worker holds a deletion, and says so with these words."""
    wait_until(lambda: "target.max_deletions" in running.get("/readyz")[1], "the held deletion at /readyz", 60)
    code, text = running.get("/readyz")
    assert code == 503
    for word in words:
        assert word in text
    assert running.get("/livez")[0] == 200


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("left", [0, 60])
def test_a_source_that_came_back_with_less(server: Servers, worker: Workers, name: str, left: int) -> None:
    """Empty or old: held, after restarts too; another limit lets it go on where it was."""
    source, target = server(name), server()
    running = synced(source, target, worker)
    running.kill()
    for database in (0, 3):
        client = source.client(db=database)
        client.delete(*(f"key:{number}" for number in range(left // 2, KEYS // 2)))
    lose_backlog(source)
    running.start()
    gone = KEYS - left
    held(running, f"remove {gone} of the target's {KEYS} keys")
    (warning,) = running.wait(lambda: running.events("deletions held"), "the warning")
    assert (warning["level"], str(gone) in warning["error"], bool(warning["hint"])) == ("warning", True, True)
    source.client().set("new", 1)
    assert target.client().exists("key:49") == 1
    running.kill()
    running.start()
    held(running, f"remove {gone} of the target's {KEYS} keys")
    assert target.client(db=3).exists("key:49") == 1
    assert checkpoint(target)["listed"] == str(KEYS)
    running.kill()

    running = worker(source, target, SHAKER_TARGET__MAX_DELETIONS="1")
    running.wait_status(lambda status: status["ready"], "the worker to be ready")
    running.wait_applied(source)
    assert differences(source, target) == []
    assert syncs(source)[0] == 2


def test_as_many_as_are_allowed(source: Server, target: Server, worker: Workers) -> None:
    """30 of 100 keys go without a word, the source is acknowledged as ever."""
    running = synced(source, target, worker)
    running.kill()
    source.client().delete(*(f"key:{number}" for number in range(30)))
    lose_backlog(source)
    running.start()
    running.wait_status(lambda status: status["ready"], "the worker to be ready")
    running.wait_applied(source)
    assert differences(source, target) == []
    assert running.events("deletions held") == []


def test_the_source_keeps_the_link_while_the_worker_holds(server: Servers, target: Server, worker: Workers) -> None:
    """It is acknowledged that the worker is alive, and nothing as applied."""
    source = server(repl_timeout=2)
    running = synced(source, target, worker)
    source.client().delete(*(f"key:{number}" for number in range(40)))
    running.wait_applied(source)
    target.client().mset({f"key:{number}": number for number in range(40)})
    lose_backlog(source)
    held(running)
    began = running.status()["partial_syncs"]
    source.client().set("during", 1)
    client = source.client()
    wait_until(lambda: client.info("replication")["slave0"]["lag"] <= 1, "acknowledgements")
    running.wait(lambda: running.status()["stream"]["lag_seconds"] > 5, "some time")
    assert client.info("replication")["slave0"]["offset"] == 0
    assert running.status()["partial_syncs"] == began
    assert target.client().exists("key:0", "during") == 1


@pytest.mark.parametrize("mode", ["migrate", "snapshot"])
@pytest.mark.parametrize("stale_keys", ["sweep", "flush"])
def test_the_modes_that_end(source: Server, target: Server, worker: Workers, mode: str, stale_keys: str) -> None:
    """3 at once, with all of the target's keys there."""
    synced(source, target, worker).kill()
    source.client(db=3).flushdb()
    source.client().set("key:0", "other")
    cut_short(target)
    running = worker(source, target, SHAKER_MODE=mode, SHAKER_TARGET__STALE_KEYS=stale_keys, **GUARDED)
    refused(running, 3, "50 of the target's 100 keys")
    assert target.client(db=3).exists(*(f"key:{number}" for number in range(KEYS // 2))) == KEYS // 2


@pytest.mark.parametrize(("setting", "left"), [("STALE_KEYS", 0), ("STALE_KEYS", 60), ("ON_EXISTING", 0)])
def test_a_flush_is_held_before_the_source_is_asked(
    source: Server, target: Server, worker: Workers, setting: str, left: int
) -> None:
    """Nothing is flushed, the source makes no snapshot; once it is whole again, it goes on by itself."""
    if setting == "STALE_KEYS":
        synced(source, target, worker).kill()
        source.client().flushall()
        lose_backlog(source)
    else:
        fill(target)
    fill(source, left)
    before = syncs(source)[0]
    running = worker(
        source,
        target,
        **{f"SHAKER_TARGET__{setting}": "flush", "SHAKER_RETRY__ACCESS_SECONDS": "1", **GUARDED},
    )
    held(running, f"{KEYS - left} of the target's {KEYS} keys", f"the source has {left} keys")
    assert sum(target.client(db=database).exists("key:49") for database in (0, 3)) == 2
    assert syncs(source)[0] == before
    fill(source, KEYS)
    running.wait_status(lambda status: status["ready"], "the worker to be ready")
    assert differences(source, target) == []
    assert syncs(source)[0] == before + 1


def test_a_flush_that_is_asked_for_is_not_held(source: Server, target: Server, worker: Workers) -> None:
    """The first one, with a source that holds something: few keys may take the place of many."""
    fill(target)
    source.client().set("only", 1)
    running = worker(source, target, SHAKER_TARGET__ON_EXISTING="flush", **GUARDED)
    running.wait_state("streaming")
    assert differences(source, target) == []


def test_an_empty_target_is_flushed_for_an_empty_source(source: Server, target: Server, worker: Workers) -> None:
    """There is nothing to hold."""
    running = worker(source, target, SHAKER_TARGET__ON_EXISTING="flush", **GUARDED)
    running.wait_state("streaming")


def test_a_limit_of_all_holds_nothing(source: Server, target: Server, worker: Workers) -> None:
    """Even an empty source's."""
    fill(target)
    settings = {"SHAKER_TARGET__ON_EXISTING": "flush", "SHAKER_TARGET__MAX_DELETIONS": "100%"}
    worker(source, target, **settings).wait_state("streaming")
    assert differences(source, target) == []


def test_another_dataset_on_the_target_is_not_removed_unasked(
    source: Server, target: Server, worker: Workers
) -> None:
    """Somebody replaced the target's data: the full resync that follows holds before it removes a key of theirs."""
    running = synced(source, target, worker)
    target.client().flushall()
    target.client(db=2).mset({f"theirs:{number}": 1 for number in range(KEYS)})
    source.client().set("new", 1)
    held(running, f"remove {KEYS} of the target's")
    assert target.client(db=2).dbsize() >= KEYS
