"""Worker and target are lost in each stage of a sweep: it continues, and the target becomes equal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.compare import differences
from tests.support.proxy import Proxy
from tests.support.servers import Server
from tests.support.sweeping import (
    FAST,
    FEW,
    SLOW,
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
from tests.support.writes import syncs

Servers = Callable[..., Server]
Workers = Callable[..., Worker]


@pytest.mark.parametrize(("when", "full"), [("listing", 4), ("restoring", 4), ("removal", 2)])
def test_the_worker_is_killed_on_the_way(
    when: str, full: int, source: Server, target: Server, worker: Workers
) -> None:
    """Twice: a snapshot cut short starts over, a removal continues without another snapshot."""
    fill(source, FEW)
    client = source.client()
    client.config_set("rdb-key-save-delay", 0)
    with Proxy(target) as proxy:
        running = worker(source, proxy.url, **FAST)
        swept(running)
        running.kill()
        remove(source)
        lose_backlog(source)
        client.set("key:cut", 1)
        proxy.set("up", latency=SLOW)
        if when == "restoring":
            client.config_set("rdb-key-save-delay", 100)
        running.start()
        with Reading(target, FEW):
            for _ in range(2):
                running.wait(lambda: begun(target, when), f"the {when}", 60)
                running.kill()
                assert stage(target) == when
                if when == "restoring":
                    client.delete("key:cut")  # the snapshot cut short may have brought it
                running.start()
                # The next one counts once it has asked, not before: what stands in the target is the old one's.
                asked = "registered" if when == "removal" else "full sync"
                running.wait(lambda asked=asked: running.events(asked), "the next worker")
            client.config_set("rdb-key-save-delay", 0)
            proxy.heal()
            status = swept(running)
        running.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source)[0] == full
    assert status["full_syncs"] == (when != "removal")
    assert leftovers(target) == []


@pytest.mark.parametrize("when", ["listing", "restoring", "removal"])
def test_the_target_is_lost_on_the_way(when: str, source: Server, target: Server, worker: Workers) -> None:
    """Its connections are made anew, and all goes on: one full resync."""
    fill(source, FEW)
    with Proxy(target) as proxy:
        running = worker(source, proxy.url, **FAST)
        swept(running)
        running.kill()
        remove(source)
        lose_backlog(source)
        proxy.set("up", latency=SLOW)
        running.start()
        for _ in range(2):
            running.wait(lambda: begun(target, when), f"the {when}", 60)
            proxy.reset()
            running.wait_status(lambda document: not document["target"]["connected"], "the loss")
            if when == "restoring":
                break  # the second time it may be over
        proxy.heal()
        status = swept(running)
        running.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source)[0] == 2
    assert status["reconnects"]["target"] >= 1
    assert leftovers(target) == []


@pytest.mark.parametrize(("when", "full"), [("listing", 3), ("removal", 2)])
def test_the_target_is_restarted_on_the_way(
    when: str, full: int, server: Servers, source: Server, worker: Workers
) -> None:
    """What it had answered for may be lost with it: a snapshot begins anew, a removal goes on with what is left."""
    target = server(appendonly="yes", appendfsync="always")
    fill(source, FEW)
    with Proxy(target) as proxy:
        running = worker(source, proxy.url, **FAST)
        swept(running)
        running.kill()
        remove(source)
        lose_backlog(source)
        proxy.set("up", latency=SLOW)
        running.start()
        running.wait(lambda: begun(target, when), f"the {when}", 60)
        target.restart()
        proxy.heal()
        swept(running)
        running.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source)[0] == full


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB", "SWAPDB 0 7", "SWAPDB 2 9"])
def test_databases_are_changed_as_a_whole(command: str, source: Server, target: Server, worker: Workers) -> None:
    """By the first commands of the stream: it finds no stale key, and no list, in any of them."""
    fill(source, 3000)
    with Proxy(target) as proxy:
        running = worker(source, proxy.url, **FAST)
        swept(running)
        running.kill()
        remove(source)
        lose_backlog(source)
        proxy.set("up", latency=0.02)
        running.start()
        running.wait(lambda: stage(target), "the sweep")
        client = source.client()
        client.execute_command(*command.split())
        client.incr("stale:0")
        assert running.status()["stream"]["applied_offset"] < source.offset()
        proxy.heal()
        swept(running)
        running.wait_applied(source)

    assert differences(source, target) == []
    assert leftovers(target) == []
