"""After a full resync onto earlier data the target ends as the source: stale keys go, and only they."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Self

import pytest

from tests.compare import differences
from tests.e2e.writes import checkpoint, syncs
from tests.load import LoadProcess
from tests.proxy import Proxy
from tests.servers import Server, wait_until
from tests.worker import Worker

Servers = Callable[..., Server]
Workers = Callable[..., Worker]

KEYS = 100_000
STALE = 1500
DATABASES = (0, 2, 7)
FAST = {"SHAKER_RETRY__MAX_SECONDS": "0.2"}


def fill(server: Server, keys: int = KEYS) -> None:
    """Write `keys` keys that stay, over three databases, and STALE that are to go."""
    for database in DATABASES:
        client = server.client(db=database)
        share = keys // len(DATABASES)
        for start in range(0, share, 10_000):
            client.mset({f"key:{number}": number for number in range(start, min(share, start + 10_000))})
        client.mset({f"stale:{number}": number for number in range(STALE // len(DATABASES))})


def remove(server: Server) -> None:
    """Delete what is to go."""
    for database in DATABASES:
        server.client(db=database).delete(*(f"stale:{number}" for number in range(STALE // len(DATABASES))))


def lose_backlog(server: Server) -> None:
    """Have the server begin another history: nobody can go on in the one before."""
    client = server.client()
    client.execute_command("DEBUG", "CHANGE-REPL-ID")
    client.client_kill_filter(_type="replica")


class Reading:
    """A thread that reads the keys that stay, on the target, all the time; `missed` are those not found."""

    def __init__(self, server: Server, keys: int = KEYS) -> None:
        self.missed: set[tuple[int, int]] = set()
        self.rounds = 0
        self._share = keys // len(DATABASES)
        self._clients = {database: server.client(db=database) for database in DATABASES}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reading", daemon=True)
        self.failure: BaseException | None = None

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                for database, client in self._clients.items():
                    for start in range(0, self._share, 1000):
                        numbers = range(start, min(self._share, start + 1000))
                        values = client.mget([f"key:{number}" for number in numbers])
                        pairs = zip(numbers, values, strict=True)  # type: ignore[arg-type]
                        self.missed |= {(database, number) for number, value in pairs if value is None}
                        if self._stopped.is_set():
                            return
                self.rounds += 1
        except BaseException as error:
            self.failure = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        assert self.failure is None, self.failure
        assert self.rounds or self.missed, "nothing was read"
        assert self.missed == set()


def swept(running: Worker, seconds: float = 60.0) -> dict[str, Any]:
    """Wait until the worker is ready, which it is not before the end of the sweep."""
    return running.wait_status(lambda document: document["ready"], "the end of the sweep", seconds)


def test_stale_keys_go_while_the_target_is_read(source: Server, target: Server, worker: Workers) -> None:
    """1,500 keys of three databases, under load; no read misses a key that the source has."""
    fill(source)
    running = worker(source, target, **FAST)
    swept(running)
    with LoadProcess(source, rate=1000), Reading(target):
        running.kill()
        remove(source)
        lose_backlog(source)
        running.start()
        wait_until(lambda: "stale keys are being removed" in running.get("/readyz")[1], "the sweep at /readyz")
        status = swept(running)
    running.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source)[0] == 2
    assert status["sweep"]["keys_deleted"] >= STALE
    assert checkpoint(target)["sweep"] == ""


@pytest.mark.xfail(strict=True, reason="the stream is applied before the sweep has been everywhere")
def test_keys_that_come_back_begin_from_nothing(source: Server, target: Server, worker: Workers) -> None:
    """A stale key that the source makes anew before the sweep is there has nothing of its old value."""
    fill(source)
    client = source.client()
    client.incrby("number", 41)
    client.rpush("list", "a", "b", "c")
    client.set("string", "old")
    client.hset("hash", "old", 1)
    running = worker(source, target, **FAST)
    swept(running)
    running.kill()
    remove(source)
    client.delete("number", "list", "string", "hash")
    lose_backlog(source)
    running.start()
    running.wait_state("streaming", "catching_up")
    client.incr("number")
    client.rpush("list", "d")
    client.setnx("string", "new")
    client.hset("hash", "new", 1)
    swept(running)
    running.wait_applied(source)

    assert differences(source, target) == []


def test_keys_that_are_written_anew_stay(source: Server, target: Server, worker: Workers) -> None:
    """The source writes stale keys again while the sweep runs: none of them is deleted, before or behind it."""
    fill(source)
    running = worker(source, target, **FAST)
    swept(running)
    running.kill()
    remove(source)
    lose_backlog(source)
    running.start()
    running.wait_state("streaming", "catching_up")
    rewritten = 0
    while not running.status()["ready"]:
        for database in DATABASES:
            source.client(db=database).set(f"stale:{rewritten % (STALE // len(DATABASES))}", rewritten)
        rewritten += 1
    running.wait_applied(source)

    assert differences(source, target) == []
    assert rewritten > 50
    assert target.client().exists("stale:0") == 1
    assert syncs(source)[0] == 2


FEW = 24_000


def test_the_worker_is_killed_in_the_sweep(source: Server, target: Server, worker: Workers) -> None:
    """Twice: each new process goes on where the checkpoint says, without another full resync."""
    fill(source, FEW)
    with Proxy(target) as proxy:
        running = worker(source, proxy.url, **FAST)
        swept(running)
        running.kill()
        remove(source)
        lose_backlog(source)
        proxy.set("up", latency=0.1)
        running.start()
        with Reading(target, FEW):
            reached = (0, 0)
            for _ in range(2):
                running.wait(lambda least=reached: place(target) > least, "the sweep to come further", 60)
                running.kill()
                left = checkpoint(target)["sweep"]
                reached = place(target)
                running.start()
                (begun,) = running.wait(lambda: running.events("sweep begins"), "the sweep to go on")
                assert begun["at"] == left
            proxy.heal()
            status = swept(running)
        running.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source)[0] == 2
    assert status["sweep"]["keys_scanned"] < FEW
    assert status["full_syncs"] == 0


def place(target: Server) -> tuple[int, int]:
    """Return how far the checkpoint says that the sweep came: database, and whether it is inside of it."""
    sweep = checkpoint(target)["sweep"]
    if not sweep or checkpoint(target)["phase"] != "stream":
        return 0, 0
    database, cursor = sweep.split(":")[:2]
    return int(database), int(int(cursor) > 0)


def test_the_worker_is_killed_in_the_snapshot(source: Server, target: Server, worker: Workers) -> None:
    """A snapshot cut short leaves what the next one's source does not have any more: it goes, too."""
    fill(source, FEW)
    running = worker(source, target, **FAST)
    swept(running)
    running.kill()
    remove(source)
    lose_backlog(source)
    client = source.client()
    client.set("key:cut", 1)
    client.config_set("rdb-key-save-delay", 50)
    with Reading(target, FEW):
        running.start()
        running.wait_status(lambda status: status["snapshot"]["keys_done"] > 100, "some keys of the snapshot")
        running.kill()
        assert checkpoint(target)["phase"] == "snapshot"
        client.config_set("rdb-key-save-delay", 0)
        client.delete("key:cut")
        running.start()
        status = swept(running)
    running.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source)[0] == 3
    assert status["sweep"]["keys_deleted"] >= STALE


def test_the_target_is_restarted_in_the_sweep(server: Servers, source: Server, worker: Workers) -> None:
    """Its cursors mean nothing any more: the database under way is looked at from its beginning."""
    target = server(appendonly="yes", appendfsync="always")
    fill(source, FEW)
    with Proxy(target) as proxy:
        running = worker(source, proxy.url, **FAST)
        swept(running)
        running.kill()
        remove(source)
        lose_backlog(source)
        proxy.set("up", latency=0.1)
        running.start()
        running.wait(lambda: place(target) == (0, 1), "the sweep to be on its way", 60)
        before = running.status()["sweep"]["keys_scanned"]
        target.restart()
        proxy.heal()
        status = swept(running)
        running.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source)[0] == 2
    assert status["sweep"]["keys_scanned"] >= before + FEW


def test_databases_change_places_in_the_sweep(source: Server, target: Server, worker: Workers) -> None:
    """What was looked at is another database now: the sweep begins anew."""
    fill(source, FEW)
    with Proxy(target) as proxy:
        running = worker(source, proxy.url, **FAST)
        swept(running)
        running.kill()
        remove(source)
        lose_backlog(source)
        proxy.set("up", latency=0.1)
        running.start()
        running.wait(lambda: place(target)[0] >= 1, "the first database to be done", 60)
        source.client().execute_command("SWAPDB", 0, 7)
        running.wait_applied(source)
        proxy.heal()
        swept(running)
        running.wait_applied(source)

    assert differences(source, target) == []


def test_migrate_waits_for_the_sweep(source: Server, target: Server) -> None:
    """Exit code 0 means that the target is what the source is."""
    fill(source, FEW)
    with Worker(source, target, SHAKER_MODE="migrate") as running:
        assert running.wait_ended() == 0
    remove(source)
    lose_backlog(source)
    with Proxy(target) as proxy, Worker(source, proxy.url, SHAKER_MODE="migrate") as running:
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
    (event,) = running.events("full sync")
    assert (event["level"], event["flush"]) == ("warning", True)
    source.client().config_set("rdb-key-save-delay", 0)
    swept(running)
    running.wait_applied(source)

    assert differences(source, target) == []


def test_records_are_not_swept(source: Server, target: Server, worker: Workers) -> None:
    """Keys under shaker: are nobody's data: this worker's, another one's, whatever they are, in any database."""
    fill(source, 300)
    running = worker(source, target)
    swept(running)
    running.kill()
    target.client().hset("shaker:checkpoint:other", "phase", "stream")
    target.client(db=2).set("shaker:anything", 1)
    target.client(db=2).set("shaken", 1)
    remove(source)
    lose_backlog(source)
    running.start()
    swept(running)

    assert target.client().hget("shaker:checkpoint:other", "phase") == b"stream"
    assert target.client().exists("shaker:fence:default", "shaker:checkpoint:default") == 2
    assert target.client(db=2).exists("shaker:anything", "shaken") == 1
    assert differences(source, target) == []


def test_a_missing_right_is_named_and_waited_for(source: Server, target: Server, worker: Workers) -> None:
    """A sweep that may not ask is not a sweep that found nothing."""
    fill(source, 300)
    running = worker(source, target)
    swept(running)
    running.kill()
    remove(source)
    lose_backlog(source)
    client = source.client()
    client.execute_command("ACL", "SETUSER", "default", "-exists")
    running.start()
    wait_until(lambda: "'exists'" in running.get("/readyz")[1], "the missing right at /readyz")
    assert target.client().exists("stale:0") == 1
    client.execute_command("ACL", "SETUSER", "default", "+exists")
    swept(running)

    assert differences(source, target) == []


@pytest.mark.parametrize("command", ["select", "exists", "multi", "exec", "time"])
def test_a_missing_right_ends_a_migration(command: str, source: Server, target: Server) -> None:
    """Nobody is there to grant it."""
    fill(source, 300)
    with Worker(source, target, SHAKER_MODE="migrate") as running:
        assert running.wait_ended() == 0
    remove(source)
    lose_backlog(source)
    source.client().execute_command("ACL", "SETUSER", "default", f"-{command}")
    with Worker(source, target, SHAKER_MODE="migrate") as running:
        assert running.wait_ended() == 3
    assert f"'{command}'" in running.events("replication ends")[0]["error"]


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
