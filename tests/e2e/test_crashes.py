"""Each command takes effect once, through any end of the worker, of its links and of the servers."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.compare import differences
from tests.support.proxy import Proxy
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker
from tests.support.writes import Writes, checkpoint, syncs

Servers = Callable[..., Server]
Workers = Callable[..., Worker]

KILLS = 6
FAST = {"SHAKER_RETRY__MAX_SECONDS": "0.2"}


def moved(running: Worker, beyond: int, seconds: float = 30.0) -> int:
    """Wait until the applied offset lies beyond this one; return it."""
    status = running.wait_status(
        lambda status: status["stream"]["applied_offset"] > beyond, f"offset {beyond} to be passed", seconds
    )
    return int(status["stream"]["applied_offset"])


def test_the_worker_is_killed_again_and_again(source: Server, target: Server, worker: Workers) -> None:
    """One full sync in all: each new process goes on from what has taken effect."""
    with Writes(source) as writes:
        running = worker(source, target)
        offset = moved(running, running.wait_state("streaming")["stream"]["applied_offset"])
        for _ in range(KILLS):
            running.kill()
            running.start()
            # A new process starts from what took effect, which can be more than was seen of the one before.
            offset = moved(running, max(offset, int(checkpoint(target)["offset"])))
        writes.stop()
        status = running.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source) == (1, KILLS)
    assert (status["full_syncs"], status["partial_syncs"], status["rejected_commands"]) == (0, 1, 0)
    assert target.client().lrange("both:list", 0, -1) == [b"%d" % number for number in range(writes.rounds)]


def test_the_worker_is_killed_in_the_snapshot(source: Server, target: Server, worker: Workers) -> None:
    """A snapshot cut short starts over; what was written meanwhile is not applied twice."""
    client = source.client()
    client.config_set("rdb-key-save-delay", 500)
    for number in range(2000):
        client.set(f"key:{number}", number)
    with Writes(source) as writes:
        running = worker(source, target)
        for _ in range(2):
            running.wait_status(lambda status: status["snapshot"]["keys_done"] > 50, "some keys of the snapshot")
            running.kill()
            assert checkpoint(target)["phase"] == "snapshot"
            running.start()
        client.config_set("rdb-key-save-delay", 0)
        running.wait_state("streaming")
        writes.stop()
        running.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source)[0] == 3


def test_the_source_link_is_killed(source: Server, target: Server, worker: Workers) -> None:
    """The link goes on where it was, by partial syncs, and the first attempt comes at once."""
    with Writes(source) as writes:
        running = worker(source, target, **FAST)
        running.wait_state("streaming")
        client = source.client()
        for number in range(1, 6):
            assert client.client_kill_filter(_type="replica") == 1
            status = running.wait_status(
                lambda status, number=number: status["partial_syncs"] == number, f"partial sync {number}"
            )
            moved(running, status["stream"]["applied_offset"])
        writes.stop()
        status = running.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source) == (1, 5)
    assert status["reconnects"] == {"source": 5}
    assert status["full_syncs"] == 1


def test_the_target_link_is_killed(source: Server, target: Server, worker: Workers) -> None:
    """What was on its way is neither lost nor repeated, and the source link does not notice."""
    with Writes(source) as writes:
        running = worker(source, target, **FAST)
        running.wait_state("streaming")
        client = target.client()
        for number in range(1, 6):
            (connection,) = (
                one["id"] for one in client.client_list() if one["name"].startswith("shaker-writer:default:")
            )
            client.client_kill_filter(_id=connection)
            status = running.wait_status(
                lambda status, number=number: status["reconnects"].get("target") == number, f"reconnect {number}"
            )
            moved(running, status["stream"]["applied_offset"])
        writes.stop()
        running.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source) == (1, 0)


def test_the_target_is_restarted_with_its_data(server: Servers, source: Server, worker: Workers) -> None:
    """A target that lost nothing goes on at its checkpoint, ended by SIGTERM or by SIGKILL."""
    target = server(appendonly="yes", appendfsync="always")
    with Writes(source) as writes:
        running = worker(source, target, **FAST)
        offset = moved(running, running.wait_state("streaming")["stream"]["applied_offset"])
        for kill in (False, True, True):
            target.restart(kill=kill)
            offset = moved(running, offset)
        writes.stop()
        running.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source)[0] == 1


def test_the_target_loses_its_last_writes(server: Servers, source: Server, worker: Workers) -> None:
    """A target that comes back with an older state gets what it lacks from the source's backlog."""
    target = server(save='""', dbfilename="saved.rdb")
    with Writes(source) as writes:
        running = worker(source, target, **FAST)
        offset = moved(running, running.wait_state("streaming")["stream"]["applied_offset"])
        target.client().save()
        saved = int(checkpoint(target)["offset"])
        offset = moved(running, max(offset, saved) + 20_000)
        target.restart(kill=True)
        assert offset > saved
        offset = moved(running, offset)
        writes.stop()
        running.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source)[0] == 1
    assert running.events("source link restarts")


def test_the_target_loses_everything(source: Server, target: Server, worker: Workers) -> None:
    """An empty target where there was one with a checkpoint gets a full sync."""
    with Writes(source) as writes:
        running = worker(source, target, **FAST)
        moved(running, running.wait_state("streaming")["stream"]["applied_offset"])
        target.restart(kill=True)
        running.wait_status(lambda status: status["full_syncs"] == 2, "the second full sync")
        running.wait_state("streaming")
        writes.stop()
        running.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source)[0] == 2


def test_the_source_begins_a_new_history(source: Server, target: Server, worker: Workers) -> None:
    """A source that comes back without its backlog is a full sync, counted and told."""
    source.client().set("old", 1)
    running = worker(source, target, SHAKER_TARGET__STALE_KEYS="flush", **FAST)
    running.wait_state("streaming")
    replid = running.status()["stream"]["replid"]
    source.restart(kill=True)
    with Writes(source) as writes:
        status = running.wait_status(lambda status: status["full_syncs"] == 2, "the second full sync")
        running.wait_state("streaming")
        writes.stop()
        running.wait_applied(source)

    assert differences(source, target) == []
    assert status["stream"]["replid"] != replid
    assert status["partial_syncs"] == 0
    assert len(running.events("full sync")) == 2
    assert target.client().exists("old") == 0


def test_the_backlog_of_the_source_is_too_short(server: Servers, target: Server, worker: Workers) -> None:
    """After a pause longer than the backlog the worker takes a full sync, and the target ends as the source."""
    source = server(repl_backlog_size=16384)
    client = source.client()
    client.set("deleted meanwhile", 1)
    running = worker(source, target, **FAST)
    running.wait_state("streaming")
    running.kill()
    client.delete("deleted meanwhile")
    for number in range(100):
        client.set("large", b"x" * 1000 + b"%d" % number)
        client.incr("counter")
    running.start()
    running.wait_applied(source)
    running.wait_status(lambda status: status["ready"], "the worker to be ready")

    assert differences(source, target) == []
    assert syncs(source)[0] == 2
    assert source.info("stats")["sync_partial_err"] == 1


def test_the_source_is_stopped_for_a_while(source: Server, target: Server, worker: Workers) -> None:
    """A source that does not answer is a lag that grows, not an end; it goes on without a new link."""
    with Writes(source) as writes:
        running = worker(source, target, SHAKER_HEALTH__READY_MAX_LAG_SECONDS="1")
        running.wait_state("streaming")
        source.pause()
        wait_until(lambda: running.get("/readyz")[0] == 503, "the worker to be not ready")
        assert running.get("/livez")[0] == 200
        source.resume()
        wait_until(lambda: running.get("/readyz")[0] == 200, "the worker to be ready again")
        writes.stop()
        running.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source) == (1, 0)


def test_the_answer_to_the_end_of_the_snapshot_is_lost(source: Server, target: Server, worker: Workers) -> None:
    """It has taken effect: the worker finds that in the checkpoint and streams."""
    source.client().set("key", 1)
    with Proxy(target) as proxy:
        proxy.set("down", latency=0.15)
        running = worker(source, proxy.url, **FAST)
        wait_until(lambda: checkpoint(target).get("phase") == "stream", "the end of the snapshot")
        proxy.reset()
        proxy.heal()
        running.wait(lambda: len(running.events("registered")) == 2, "the new registration")
        status = running.wait_state("streaming")
    assert status["snapshot"]["keys_done"] == 1
    assert len(running.events("snapshot applied")) == 1
    assert syncs(source) == (1, 0)
