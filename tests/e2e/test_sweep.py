"""After a full resync onto earlier data the target ends as the source: stale keys go, and only they."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.support.compare import differences
from tests.support.load import LoadProcess
from tests.support.proxy import Proxy
from tests.support.servers import Server, wait_until
from tests.support.sweeping import (
    DATABASES,
    FAST,
    FEW,
    KEYS,
    SHORTEST_EXPIRY,
    SLOW,
    STALE,
    Reading,
    begun,
    fill,
    leftovers,
    lose_backlog,
    remove,
    stage,
    swept,
)
from tests.support.worker import Worker
from tests.support.writes import checkpoint, syncs

Servers = Callable[..., Server]
Workers = Callable[..., Worker]


def test_stale_keys_go_while_the_target_is_read(source: Server, target: Server, worker: Workers) -> None:
    """1,500 keys of three databases, under load; no read misses a key that the source has."""
    fill(source)
    running = worker(source, target, **FAST)
    swept(running)
    assert running.events("keys of the target listed") == []
    assert not {"cmdstat_sadd", "cmdstat_srem"} & set(target.info("commandstats")), (
        "the first full sync pays for it"
    )
    with LoadProcess(source, rate=1000, shortest_expiry=SHORTEST_EXPIRY), Reading(target):
        running.kill()
        remove(source)
        lose_backlog(source)
        running.start()
        status = swept(running)
    running.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source)[0] == 2
    assert status["sweep"]["keys_listed"] >= KEYS
    assert status["sweep"]["keys_deleted"] >= STALE
    assert status["sweep"]["keys_stale"] == 0
    assert leftovers(target) == []


LARGE = 5 << 20  # bytes of a value that passes in pieces


def test_keys_that_come_back_begin_from_nothing(source: Server, target: Server, worker: Workers) -> None:
    """A stale key that the source makes anew has nothing of its old value, whenever it does; a large one stays."""
    fill(source, FEW)
    client = source.client()
    names = ("number", "list", "string", "hash")

    def write(suffix: str) -> None:
        client.incrby(f"number{suffix}", 41)
        client.rpush(f"list{suffix}", "a", "b", "c")
        client.set(f"string{suffix}", "old")
        client.hset(f"hash{suffix}", "old", 1)

    def write_anew(suffix: str) -> None:
        client.incr(f"number{suffix}")
        client.rpush(f"list{suffix}", "d")
        client.setnx(f"string{suffix}", "new")
        client.hset(f"hash{suffix}", "new", 1)

    for suffix in ("", ":soon", ":late"):
        write(suffix)
    client.set("large", os.urandom(LARGE))
    with Proxy(target) as proxy:
        running = worker(source, proxy.url, **FAST)
        swept(running)
        running.kill()
        remove(source)
        client.delete(*(f"{name}{suffix}" for name in names for suffix in ("", ":soon", ":late")))
        lose_backlog(source)
        proxy.set("up", latency=0.02)
        running.start()
        running.wait(lambda: running.events("full sync"), "the full sync")
        write_anew(":soon")
        running.wait(lambda: stage(target) == "removal", "the removal", 60)
        write_anew(":late")
        assert target.client().get("number:soon") in (b"41", None)
        proxy.heal()
        swept(running)
        running.wait_applied(source)

    assert differences(source, target) == []
    assert target.client().get("number:soon") == target.client().get("number:late") == b"1"
    assert target.client().strlen("large") == LARGE


def test_keys_that_are_written_anew_stay(source: Server, target: Server, worker: Workers) -> None:
    """The source writes stale keys again all the while: none of them is deleted."""
    fill(source, FEW)
    running = worker(source, target, **FAST)
    swept(running)
    running.kill()
    remove(source)
    lose_backlog(source)
    running.start()
    rewritten = 0
    while not (running.events("keys of the target listed") and running.status()["ready"]):
        for database in DATABASES:
            source.client(db=database).set(f"stale:{rewritten % (STALE // len(DATABASES))}", rewritten)
        rewritten += 1
    running.wait_applied(source)

    assert differences(source, target) == []
    assert rewritten > 10
    assert target.client().exists("stale:0") == 1
    assert syncs(source)[0] == 2


def test_the_source_is_told_when_the_target_is_equal(source: Server, target: Server, worker: Workers) -> None:
    """A deletion before the snapshot is applied when the stale key is gone; `/readyz` says what goes on."""
    fill(source, FEW)
    with Proxy(target) as proxy:
        running = worker(source, proxy.url, **FAST)
        swept(running)
        running.kill()
        remove(source)
        lose_backlog(source)
        proxy.set("up", latency=SLOW)
        running.start()
        running.wait(lambda: "the keys of the target are being listed" in running.get("/readyz")[1], "the listing")
        running.wait_state("snapshot")
        running.wait(lambda: "stale keys are being removed" in running.get("/readyz")[1], "the removal", 60)
        running.wait_state("catching_up")
        replica = source.info()["slave0"]
        assert (stage(target), replica["offset"]) == ("removal", 0)
        assert source.client().wait(1, 1) == 0
        proxy.heal()
        swept(running)
        running.wait_applied(source)
        wait_until(lambda: source.client().wait(1, 100) == 1, "the acknowledgement")


def test_a_stop_in_the_removal_is_not_the_end(source: Server, target: Server, worker: Workers) -> None:
    """With nothing to apply it does not wait for the rest, and its exit code says that there is more to do."""
    fill(source, FEW)
    with Proxy(target) as proxy:
        running = worker(source, proxy.url, **FAST)
        swept(running)
        running.kill()
        remove(source)
        lose_backlog(source)
        proxy.set("up", latency=SLOW)
        running.start()
        running.wait(lambda: begun(target, "removal"), "the removal", 60)
        running.terminate()
        assert running.wait_ended() == 75
        assert stage(target) == "removal"
        proxy.heal()
        running.start()
        status = swept(running)
        running.wait_applied(source)

    assert differences(source, target) == []
    assert status["full_syncs"] == 0


def test_a_snapshot_alone_is_swept(source: Server, target: Server) -> None:
    """`mode=snapshot` ends when the target is what the snapshot is; killed before, it goes on without another."""
    fill(source, FEW)
    with Worker(source, target, SHAKER_MODE="snapshot") as running:
        assert running.wait_ended() == 0
    remove(source)
    cut_short(target)
    with Proxy(target) as proxy, Worker(source, proxy.url, SHAKER_MODE="snapshot") as running:
        proxy.set("up", latency=SLOW)
        running.wait(lambda: begun(target, "removal"), "the removal", 60)
        running.kill()
        proxy.heal()
        running.start()
        assert running.wait_ended(60) == 0

    assert differences(source, target) == []
    assert syncs(source)[0] == 2
    assert leftovers(target) == []


def test_migrate_waits_for_the_sweep(source: Server, target: Server) -> None:
    """Exit code 0 means that the target is what the source is."""
    fill(source, FEW)
    with Worker(source, target, SHAKER_MODE="migrate") as running:
        assert running.wait_ended() == 0
    remove(source)
    lose_backlog(source)
    again = {"SHAKER_MODE": "migrate", "SHAKER_MIGRATE__AGAIN": "true"}
    with Proxy(target) as proxy, Worker(source, proxy.url, **again) as running:
        proxy.set("up", latency=0.02)
        assert running.wait_ended(60) == 0

    assert differences(source, target) == []
    assert checkpoint(target)["sweep"] == ""


@pytest.mark.parametrize("keep", [{"SHAKER_TARGET__ON_EXISTING": "merge"}, {"SHAKER_TARGET__STALE_KEYS": "keep"}])
def test_keys_are_kept_where_that_is_wanted(keep: dict[str, str], source: Server, target: Server) -> None:
    """`merge` implies it: which keys were never the source's is not known."""
    fill(source, 300)
    target.client().set("own", 1)
    merge = {"SHAKER_TARGET__ON_EXISTING": "merge"}
    with Worker(source, target, **merge) as running:
        swept(running)
    remove(source)
    lose_backlog(source)
    with Worker(source, target, **keep) as running:
        swept(running)

    assert syncs(source)[0] == 2
    assert target.client().exists("own", "stale:0", "key:0") == 3
    assert running.events("full sync")[0]["sweep"] is False


def test_a_flush_is_said_loudly_and_seen(source: Server, target: Server, worker: Workers) -> None:
    """The target is emptied first: readers miss keys until the snapshot is applied."""
    fill(source, FEW)
    running = worker(source, target, SHAKER_TARGET__STALE_KEYS="flush")
    swept(running)
    running.kill()
    remove(source)
    lose_backlog(source)
    source.client().config_set("rdb-key-save-delay", 50)
    running.start()
    wait_until(lambda: target.client().dbsize() < 1000, "an empty target")
    (event,) = running.wait(lambda: running.events("full sync"), "the line about the full sync")
    assert (event["level"], event["flush"]) == ("warning", True)
    source.client().config_set("rdb-key-save-delay", 0)
    swept(running)
    running.wait_applied(source)

    assert differences(source, target) == []


def test_records_are_not_swept(source: Server, target: Server, worker: Workers) -> None:
    """They are nobody's data: this worker's, another one's, in any database; other keys under shaker: are."""
    fill(source, 300)
    running = worker(source, target)
    swept(running)
    running.kill()
    target.client().hset("shaker:checkpoint:other", "phase", "stream")
    target.client(db=2).sadd("shaker:stale:other", 1)
    target.client(db=2).set("shaker:anything", 1)
    target.client(db=2).set("shaken", 1)
    remove(source)
    lose_backlog(source)
    running.start()
    swept(running)

    assert target.client().hget("shaker:checkpoint:other", "phase") == b"stream"
    assert target.client().exists("shaker:fence:default", "shaker:checkpoint:default") == 2
    assert target.client(db=2).exists("shaker:anything", "shaken") == 0
    assert target.client(db=2).exists("shaker:stale:other") == 1
    assert differences(source, target) == []


@pytest.mark.parametrize("command", ["scan", "sscan", "scard"])
def test_a_missing_right_is_named_and_waited_for(
    command: str, source: Server, target: Server, worker: Workers
) -> None:
    """A sweep that may not look is not a sweep that found nothing."""
    fill(source, 300)
    running = worker(source, target, SHAKER_RETRY__ACCESS_SECONDS="1")
    swept(running)
    running.kill()
    remove(source)
    lose_backlog(source)
    client = target.client()
    client.execute_command("ACL", "SETUSER", "default", f"-{command}")
    running.start()
    wait_until(lambda: f"'{command}'" in running.get("/readyz")[1], "the missing right at /readyz")
    assert client.exists("stale:0") == 1
    client.execute_command("ACL", "SETUSER", "default", f"+{command}")
    swept(running)

    assert differences(source, target) == []


def cut_short(target: Server) -> None:
    """Leave the checkpoint as a worker does that is killed in a snapshot."""
    target.client().hset("shaker:checkpoint:default", "phase", "snapshot")


@pytest.mark.parametrize(("mode", "command"), [("migrate", "scan"), ("snapshot", "sscan")])
def test_a_missing_right_ends_a_mode_that_ends(mode: str, command: str, source: Server, target: Server) -> None:
    """Nobody is there to grant it."""
    fill(source, 300)
    with Worker(source, target, SHAKER_MODE=mode) as running:
        assert running.wait_ended() == 0
    remove(source)
    cut_short(target)
    target.client().execute_command("ACL", "SETUSER", "default", f"-{command}")
    with Worker(source, target, SHAKER_MODE=mode) as running:
        assert running.wait_ended() == 3
    assert f"'{command}'" in running.events("replication ends")[0]["error"]


def test_what_is_kept_from_now_on(source: Server, target: Server, worker: Workers) -> None:
    """`keep` set while a sweep is under way: what is left of stale keys stays, their lists do not."""
    fill(source, FEW)
    with Proxy(target) as proxy:
        running = worker(source, proxy.url, **FAST)
        swept(running)
        running.kill()
        remove(source)
        lose_backlog(source)
        proxy.set("up", latency=SLOW)
        running.start()
        running.wait(lambda: begun(target, "removal"), "the removal", 60)
        running.kill()
        proxy.heal()
    with Worker(source, target, SHAKER_TARGET__STALE_KEYS="keep") as running:
        status = swept(running)
    assert status["sweep"]["keys_deleted"] == 0
    assert target.client(db=DATABASES[-1]).exists("stale:0") == 1
    assert leftovers(target) == []


def test_a_replica_as_the_source(server: Servers, target: Server, worker: Workers) -> None:
    """What its primary deleted goes, what only looks expired there is left to the stream."""
    primary, source = server(), server()
    fill(primary, FEW)
    source.replicate(primary)
    running = worker(source, target, **FAST)
    swept(running)
    running.kill()
    remove(primary)
    client = primary.client()
    for number in range(200):
        client.set(f"expiring:{number}", number, px=300_000)
    source.wait_replica(primary)
    lose_backlog(source)
    with Reading(target, FEW):
        running.start()
        swept(running)
    running.wait_applied(source)

    assert differences(source, target) == []
    assert target.client().exists("stale:0") == 0
