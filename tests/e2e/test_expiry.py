"""Expiry while behind: what lives on the source lives on the target, however late the renewals come."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import pytest

from tests.support.oracle import LATER, differences
from tests.support.proxy import Proxy
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker
from tests.support.writes import checkpoint

Servers = Callable[..., Server]
Workers = Callable[..., Worker]

FILL = 3000
HOT = 200
DYING = 50
FAST = {"SHAKER_RETRY__MAX_SECONDS": "0.2"}
EXPIRING, COPYING = "shaker:expiring:default", "shaker:copying:default"
DATABASES = (0, 5)


class Renewing:
    """A thread that keeps HOT keys with expiries of 800 to 1500 ms alive, in every way. A context manager.

    In the end all of them expire in minutes. `dying:` keys are not renewed.
    """

    def __init__(self, source: Server) -> None:
        self.rounds = 0
        self.failure: BaseException | None = None
        self._clients = {database: source.client(db=database) for database in DATABASES}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewing", daemon=True)
        numbers = random.Random(1)
        self.expiries = {f"hot:{number}": numbers.choice((800, 1000, 1200, 1500)) for number in range(HOT)}

    def _run(self) -> None:
        try:
            while not self._stopped.wait(0.12):
                self.renew()
        except BaseException as error:
            self.failure = error

    def renew(self, extra: int = 0) -> None:
        """Renew each key in its own way."""
        for client in self._clients.values():
            pipeline = client.pipeline(transaction=False)
            for number, (key, ms) in enumerate(self.expiries.items()):
                match number % 5:
                    case 0:
                        pipeline.pexpire(key, ms + extra)
                    case 1:
                        pipeline.incr(key)
                        pipeline.pexpire(key, ms + extra)
                    case 2:
                        pipeline.set(key, self.rounds, px=ms + extra)
                    case 3:
                        pipeline.getex(key, px=ms + extra)
                    case _:
                        pipeline.set(key, self.rounds, xx=True, keepttl=True)
                        pipeline.expire(key, 1 + (ms + extra) // 1000)
            pipeline.execute()
        self.rounds += 1

    def begin(self) -> None:
        """Make the keys."""
        for client in self._clients.values():
            pipeline = client.pipeline(transaction=False)
            for key, ms in self.expiries.items():
                pipeline.set(key, 1, px=ms)
            for number in range(DYING):
                pipeline.set(f"dying:{number}", 1, px=300 + 20 * number)
            pipeline.execute()

    def __enter__(self) -> Self:
        self.begin()
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop, with all keys alive for minutes; raises what ended the thread early."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._thread.join()
            if self.failure is not None:
                raise self.failure
            for client in self._clients.values():  # a machine that is busy for a second loses some
                assert client.exists(*self.expiries) > HOT * 0.5, "the source itself has lost keys"
            self.renew(120_000)

    def __exit__(self, *_: object) -> None:
        self.stop()


def fill(source: Server) -> None:
    """Write a snapshot of about a megabyte and a half."""
    numbers = random.Random(1)
    source.client().mset({f"key:{number}": numbers.randbytes(500) for number in range(FILL)})


def settled(running: Worker, source: Server, target: Server) -> dict[str, Any]:
    """Wait until all is applied and no expiry waits any more; return the status."""
    running.wait_applied(source)
    wait_until(lambda: checkpoint(target)["expiring"] == "0", "the true expiries")
    return running.wait_status(lambda document: document["state"] == "streaming", "the stream")


def check(source: Server, target: Server, tolerance_ms: int = 0) -> None:
    """Check that both are equal: keys, values, and expiries within some milliseconds."""
    found = differences(source, target)
    if tolerance_ms:
        # Those that were given a little more, and the time that relative ones were on the way.
        found = [text for text in found if " expires at " not in text or "-1" in text]
    assert found == []
    for database in DATABASES:
        mine, theirs = (server.client(db=database) for server in (source, target))
        hot = [f"hot:{number}" for number in range(HOT)]
        assert theirs.exists(*hot) == mine.exists(*hot) > HOT * 0.5
        assert theirs.exists(*(f"dying:{number}" for number in range(DYING))) == 0
        assert theirs.exists(EXPIRING, COPYING) == 0
        for key in hot if tolerance_ms else ():
            assert -tolerance_ms <= theirs.pttl(key) - mine.pttl(key) <= tolerance_ms + LATER
        keys, expires = keyspace(source, database)
        records = 2 if database == 0 else 0
        assert keyspace(target, database) == (keys + records, expires)


def keyspace(server: Server, database: int) -> tuple[int, int]:
    """Return how many keys a database has, and how many of them expire."""
    info = server.info("keyspace")[f"db{database}"]
    return info["keys"], info["expires"]


def lagging(running: Worker, seconds: float) -> None:
    """Wait until the worker is so far behind."""
    running.wait_status(
        lambda document: document["stream"]["lag_seconds"] >= seconds or document["state"] == "snapshot",
        f"a lag of {seconds} s",
    )


SERVERS = ["redis-7.0", "redis-8.0", "valkey-9.1"]


@pytest.mark.parametrize("name", SERVERS)
def test_lag_in_the_snapshot(name: str, server: Servers, worker: Workers) -> None:
    """It is received for seconds, and the stream of that time behind it."""
    source, target = server(name), server(name)
    fill(source)
    with Proxy(source) as proxy, Renewing(source) as renewing:
        proxy.set("down", bandwidth=400_000)
        running = worker(proxy.url, target, **FAST)
        wait_until(lambda: target.client().exists("hot:0") == 1 and renewing.rounds > 30, "some of the snapshot")
        renewing.stop()
        proxy.heal()
        status = settled(running, source, target)
    check(source, target)
    assert status["expiries"]["keys_settled"] >= HOT
    assert status["full_syncs"] == 1


@pytest.mark.parametrize("name", SERVERS)
def test_lag_in_the_stream(name: str, server: Servers, worker: Workers) -> None:
    """What was close behind stands still for longer than any of the expiries."""
    source, target = server(name), server(name)
    with Proxy(source) as proxy, Renewing(source) as renewing:
        running = worker(proxy.url, target, **FAST)
        running.wait_state("streaming")
        running.wait_status(lambda document: document["expiries"]["keys_waiting"] == 0, "a settled beginning")
        proxy.set("down", stalled=True)
        lagging(running, 3.0)
        proxy.set("down", stalled=False, bandwidth=200_000)
        rounds = renewing.rounds
        wait_until(lambda: renewing.rounds > rounds + 5, "more renewals")
        renewing.stop()
        proxy.heal()
        status = settled(running, source, target)
    check(source, target)
    assert status["expiries"]["keys_settled"] + status["expiries"]["keys_copied"] >= HOT
    assert (status["full_syncs"], status["errors"]) == (1, {})


@pytest.mark.parametrize("place", ["snapshot", "stream"])
def test_a_worker_killed_while_behind(place: str, source: Server, target: Server, worker: Workers) -> None:
    """The next one knows of the keys that wait, and takes the rest for late."""
    fill(source)
    with Proxy(source) as proxy, Renewing(source) as renewing:
        if place == "snapshot":
            proxy.set("down", bandwidth=400_000)
        running = worker(proxy.url, target, **FAST)
        if place == "stream":
            running.wait_state("streaming")
            proxy.set("down", stalled=True)
            lagging(running, 2.0)
            proxy.set("down", stalled=False, bandwidth=100_000)
        wait_until(lambda: target.client().exists(EXPIRING) == 1, "keys that wait")
        running.kill()
        rounds = renewing.rounds
        wait_until(lambda: renewing.rounds > rounds + 12, "renewals that nobody reads")
        running.start()
        rounds = renewing.rounds
        wait_until(lambda: renewing.rounds > rounds + 5, "more renewals")
        renewing.stop()
        proxy.heal()
        settled(running, source, target)
    check(source, target)


def test_stopped_with_keys_that_wait(source: Server, target: Server, worker: Workers) -> None:
    """They are left in the target, and the next run settles them, even if nothing happens any more."""
    fill(source)
    with Proxy(source) as proxy, Renewing(source) as renewing:
        proxy.set("down", bandwidth=600_000)
        running = worker(proxy.url, target, **FAST)
        wait_until(lambda: renewing.rounds > 10 and target.client().exists(EXPIRING), "keys that wait")
        renewing.stop()
        proxy.heal()
        wait_until(lambda: checkpoint(target)["phase"] == "stream", "the stream")
        running.terminate()
        running.wait_ended()
        waiting = sum(target.client(db=database).scard(EXPIRING) for database in DATABASES)
        assert waiting >= HOT
        assert checkpoint(target)["expiring"] == "1"
        assert target.client().pttl("hot:0") > 3_600_000

        running.start()
        assert running.wait(lambda: running.events("registered"), "the registration")[0]["expiries_wait"] is True
        settled(running, source, target)
    check(source, target)


@pytest.mark.parametrize("lag", [False, True])
def test_relative_times_of_redis_62(lag: bool, server: Servers, worker: Workers) -> None:
    """They count from when the source wrote them, as well as that can be known."""
    source, target = server("redis-6.2"), server("redis-6.2")
    with Proxy(source) as proxy, Renewing(source) as renewing:
        running = worker(proxy.url, target, **FAST)
        running.wait_state("streaming")
        running.wait_status(lambda document: document["expiries"]["keys_waiting"] == 0, "a settled beginning")
        source.client().set("relative", 1, px=60_000)
        if lag:
            proxy.set("down", stalled=True)
            lagging(running, 3.0)
            source.client().expire("key of the lag", 5)
            source.client().set("of the lag", 1, ex=60)
        wait_until(lambda: renewing.rounds > 10, "renewals")
        renewing.stop()
        proxy.heal()
        settled(running, source, target)
    check(source, target, tolerance_ms=1500)
    for key, tolerance in (("relative", 1500), ("of the lag", 500)):
        if lag or key == "relative":
            assert -tolerance < target.client().pttl(key) - source.client().pttl(key) < tolerance + LATER


@pytest.mark.parametrize("name", ["valkey-8.1", "valkey-9.1"])
def test_import_mode(name: str, server: Servers, worker: Workers) -> None:
    """The target itself keeps what expires: nothing is put off, and at the end nothing has to be settled."""
    source, target = server(name), server(name, **{"import-mode": "yes"})
    with Proxy(source) as proxy, Renewing(source) as renewing:
        running = worker(proxy.url, target, **FAST)
        running.wait_state("streaming")
        assert running.events("registered")[0]["import_mode"] is True
        proxy.set("down", stalled=True)
        lagging(running, 3.0)
        renewing.stop()
        proxy.heal()
        running.wait_applied(source)
        status = running.status()
    assert checkpoint(target)["expiring"] == "0"
    assert (status["expiries"]["keys_settled"], status["expiries"]["keys_copied"]) == (0, 0)
    target.client().config_set("import-mode", "no")
    check(source, target)


@pytest.mark.parametrize("name", ["redis-7.0", "redis-6.2"])
def test_a_migration_ends_with_true_expiries(name: str, server: Servers, worker: Workers) -> None:
    """It does not end before, and leaves nothing of its own behind but its records."""
    source, target = server(name), server(name)
    fill(source)
    with Proxy(source) as proxy, Renewing(source) as renewing:
        proxy.set("down", bandwidth=600_000)
        running = worker(proxy.url, target, SHAKER_MODE="migrate", **FAST)
        wait_until(lambda: renewing.rounds > 10 and target.client().exists("hot:0"), "some of the snapshot")
        renewing.stop()
        proxy.heal()
        assert running.wait_ended() == 0
    check(source, target, tolerance_ms=100 if name == "redis-6.2" else 0)
    assert differences(source, target, later=0) == []
    assert checkpoint(target)["expiring"] == "0"


def test_a_snapshot_alone_holds_nothing(source: Server, target: Server, worker: Workers) -> None:
    """It is not kept up to date: its expiries are those of the source at its moment."""
    source.client(db=5).set("k", 1, px=300_000)
    source.client().set("gone", 1, px=40)
    running = worker(source, target, SHAKER_MODE="snapshot")
    assert running.wait_ended() == 0
    assert differences(source, target, later=0) == []
    assert target.client(db=5).exists("k", EXPIRING) == 1
    assert target.client().exists("gone", EXPIRING) == 0


@pytest.mark.parametrize("database", [0, 5])
def test_close_behind_expiries_get_the_margin(
    source: Server, target: Server, worker: Workers, database: int
) -> None:
    """And are not remembered; the source's deletion comes on time."""
    running = worker(source, target)
    running.wait_state("streaming")
    mine, theirs = source.client(db=database), target.client(db=database)
    mine.set("warm", 1)
    running.wait_applied(source)
    mine.set("short", 1, px=1000)
    mine.set("long", 1, px=30_000)
    mine.set("long again", 1)
    mine.pexpireat("long again", mine.execute_command("PEXPIRETIME", "long"))
    running.wait_applied(source)

    at = mine.execute_command("PEXPIRETIME", "long")
    for key in ("long", "long again"):
        assert 2000 <= theirs.execute_command("PEXPIRETIME", key) - at <= LATER or theirs.exists(EXPIRING)
    wait_until(lambda: mine.exists("short") == 0, "the expiry")
    running.wait_applied(source)
    assert theirs.exists("short") == 0


@pytest.mark.parametrize("database", [0, 5])
def test_a_renewal_in_the_last_moment_lives(source: Server, target: Server, worker: Workers, database: int) -> None:
    """The worker stands still over the end of a key, for less than the margin: strings, hashes, fields of a session."""
    running = worker(source, target)
    running.wait_state("streaming")
    mine, theirs = source.client(db=database), target.client(db=database)
    for _ in range(2):
        for number in range(20):
            mine.set(f"string:{number}", "v", px=1500)
            mine.hset(f"hash:{number}", mapping={"user": number, "cart": "full"})
            mine.pexpire(f"hash:{number}", 1500)
        running.wait_applied(source)
        time.sleep(1.1)  # most of their life
        running.pause()
        renewed = 0
        for number in range(20):
            renewed += mine.getex(f"string:{number}", px=600_000) is not None
            if mine.hset(f"hash:{number}", "seen", "again") and mine.hlen(f"hash:{number}") == 3:
                mine.pexpire(f"hash:{number}", 600_000)
                renewed += 1
            else:
                mine.delete(f"hash:{number}")  # too late on the source itself
        time.sleep(0.7)  # beyond their end
        running.resume()
        running.wait_applied(source)
        assert renewed > 0, "a machine so busy that the source lost all of them"
        assert differences(source, target) == []
        assert theirs.dbsize() - 2 * (database == 0) == mine.dbsize()
    wait_until(lambda: running.get("/readyz")[0] == 200, "the worker to be ready")


@pytest.mark.parametrize("database", [0, 5])
@pytest.mark.parametrize("how", ["stopped", "link lost"])
def test_an_outage_beyond_the_margin(
    source: Server, target: Server, worker: Workers, database: int, how: str
) -> None:
    """The target expires keys whose expiry had been restored; their renewals and commands arrive afterwards."""
    mine, theirs = source.client(db=database), target.client(db=database)
    for number in range(50):
        mine.set(f"counter:{number}", 1000 + number, px=9000)
    mine.set("large", "x" * 5_000_000, px=9000)
    with Proxy(target) as proxy:
        running = worker(source, proxy.url, **FAST)
        running.wait_state("streaming")
        wait_until(lambda: theirs.exists(EXPIRING) == 0, "the source's expiries")
        running.wait_applied(source)
        if how == "stopped":
            running.pause()
        else:
            proxy.refuse()
            proxy.reset()
        pipeline = mine.pipeline(transaction=False)
        for number in range(50):
            pipeline.expire(f"counter:{number}", 1000)
            pipeline.incr(f"counter:{number}")
        pipeline.expire("large", 1000)
        pipeline.append("large", "four")
        replies = pipeline.execute()
        assert all(replies), "too late: the source has expired the keys"
        wait_until(lambda: theirs.exists("counter:0", "large") == 0, "the target to expire the keys", 30)
        if how == "stopped":
            running.resume()
        else:
            proxy.heal()
        settled(running, source, target)
        wait_until(lambda: running.get("/readyz")[0] == 200, "the worker to be ready")
    assert differences(source, target) == []
    assert theirs.get("counter:7") == b"1008"
    assert mine.exists("large") == theirs.exists("large") == 1
