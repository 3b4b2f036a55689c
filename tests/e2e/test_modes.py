"""The one-off modes: what they have done when they end with 0, and what another run does after them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from shaker.commands.sample import Load, seed
from tests.e2e.test_crashes import moved
from tests.support.compare import differences
from tests.support.proxy import Proxy
from tests.support.servers import Server
from tests.support.worker import Worker
from tests.support.writes import Writes, checkpoint, syncs

Servers = Callable[..., Server]
Workers = Callable[..., Worker]

FAR = 600_000  # milliseconds: no key of the load expires within a test
MIGRATE = {"SHAKER_MODE": "migrate"}


def test_migrate_a_source_that_stands_still(source: Server, target: Server, worker: Workers) -> None:
    """0, and the servers are equal."""
    seed(source.client(), 5000, shortest_expiry=FAR)
    running = worker(source, target, **MIGRATE)

    assert running.wait_ended() == 0

    assert differences(source, target) == []
    assert int(checkpoint(target)["offset"]) >= 0
    assert checkpoint(target)["phase"] == "stream"


def test_migrate_under_load(source: Server, target: Server, worker: Workers) -> None:
    """0 although the load goes on: what was written before it settled is applied; the next run adds the rest."""
    seed(source.client(), 5000, shortest_expiry=FAR)
    with Load(source.client(), rate=2000, shortest_expiry=FAR) as load:
        running = worker(source, target, **MIGRATE)
        assert running.wait_ended() == 0
        (settling,) = running.events("settling")
        record = checkpoint(target)
        assert int(record["offset"]) >= settling["offset"]
        assert record["confirmed"] == record["offset"]
        load.stop()
    running.start()
    assert running.wait_ended() == 0

    assert differences(source, target) == []
    assert syncs(source) == (1, 1)


def test_migrate_that_is_killed_goes_on(source: Server, target: Server, worker: Workers) -> None:
    """Killed while it settles, the next run takes a partial sync and ends with 0."""
    client, random = source.client(), Random(1)
    with Proxy(target) as proxy, Writes(source) as writes:
        running = worker(source, proxy.url, **MIGRATE)
        running.wait(lambda: running.events("snapshot applied"), "the snapshot to be applied")
        # From here on it is kept from settling.
        proxy.set("up", bandwidth=100_000)
        for number in range(100):
            client.set(f"key:{number}", random.randbytes(10_000))
        running.close()
        running.start()
        running.wait(lambda: running.events("settling"), "the offset to settle at")
        running.kill()
        proxy.heal()
        running.start()
        assert running.wait_ended() == 0
        writes.stop()
        running.start()
        assert running.wait_ended() == 0

    assert differences(source, target) == []
    assert syncs(source)[0] == 1


def test_migrate_that_is_killed_in_the_snapshot_begins_anew(
    source: Server, target: Server, worker: Workers
) -> None:
    """The target, no longer empty, is its own: the next run ends with 0."""
    client, random = source.client(), Random(1)
    for number in range(100):
        client.set(f"key:{number}", random.randbytes(10_000))
    with Proxy(target) as proxy:
        proxy.set("up", bandwidth=200_000)
        running = worker(source, proxy.url, **MIGRATE)
        running.wait_status(lambda status: status["snapshot"]["keys_done"] > 5, "some keys of the snapshot")
        running.kill()
        proxy.heal()
        running.start()
        assert running.wait_ended() == 0

    assert differences(source, target) == []
    assert syncs(source)[0] == 2


def test_migrate_that_is_stopped(source: Server, target: Server, worker: Workers) -> None:
    """75: the work is not complete, although all that was read is committed."""
    client, random = source.client(), Random(1)
    with Proxy(target) as proxy:
        running = worker(source, proxy.url, **MIGRATE)
        running.wait(lambda: running.events("full sync"), "the full sync")
        proxy.set("up", bandwidth=300_000)
        for number in range(60):
            client.set(f"key:{number}", random.randbytes(10_000))
        running.terminate()
        assert running.wait_ended() == 75


def test_a_signal_at_the_very_end(source: Server, target: Server, worker: Workers) -> None:
    """It changes nothing: the work was complete."""
    running = worker(source, target, **MIGRATE)
    for start in range(3):
        if start:
            running.start()
        running.wait(lambda: running.events("worker stopped"), "the end of the work")
        running.terminate()
        assert running.wait_ended() == 0


def test_migrate_with_a_rejected_command(server: Servers, source: Server, worker: Workers) -> None:
    """4: the target is not what the source is."""
    target = server(rename_command='INCRBY ""')
    source.client().set("key", Random(1).randbytes(200_000))
    with Proxy(target) as proxy:
        proxy.set("up", bandwidth=200_000)
        running = worker(source, proxy.url, **MIGRATE)
        # Written behind the snapshot and before the worker settles.
        running.wait_state("snapshot")
        source.client().incrby("counter", 1)
        assert running.wait_ended() == 4
    assert checkpoint(target)["rejected"] == "1"


def test_snapshot(source: Server, target: Server, worker: Workers) -> None:
    """The snapshot alone, then 0; a later run that follows goes on from it by a partial sync."""
    seed(source.client(), 5000, shortest_expiry=FAR)
    with Writes(source) as writes:
        running = worker(source, target, SHAKER_MODE="snapshot")
        assert running.wait_ended() == 0
        record = checkpoint(target)
        assert record["phase"] == "stream"
        assert target.client().dbsize() > 5000

        again = worker(source, target, SHAKER_MODE="snapshot")
        assert again.wait_ended() == 0

        follow = worker(source, target)
        moved(follow, int(record["offset"]))
        writes.stop()
        follow.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source)[0] == 1
    assert follow.status()["full_syncs"] == 0


def test_snapshot_that_is_stopped(source: Server, target: Server, worker: Workers) -> None:
    """75."""
    client, random = source.client(), Random(1)
    for number in range(100):
        client.set(f"key:{number}", random.randbytes(10_000))
    with Proxy(target) as proxy:
        proxy.set("up", bandwidth=100_000)
        running = worker(source, proxy.url, SHAKER_MODE="snapshot")
        running.wait_state("snapshot")
        running.terminate()
        assert running.wait_ended() == 75
