"""What becomes of keys that the target has: before the first sync, after a full resync, and of other workers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.test_crashes import moved
from tests.support.compare import differences
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker
from tests.support.writes import Writes, checkpoint, syncs

Servers = Callable[..., Server]
Workers = Callable[..., Worker]

LIBRARY = "#!lua name={0}\nredis.register_function('{0}', function() return {1} end)"


def test_merge(source: Server, target: Server, worker: Workers) -> None:
    """Keys of the target stay; where both have one, the source's wins; a full resync changes nothing about it."""
    target.client().mset({"mine": 1, "both": "of the target"})
    target.client(db=4).set("mine", 4)
    target.client().function_load(LIBRARY.format("mine", 1))
    source.client().mset({"both": "of the source", "theirs": 2})
    source.client().function_load(LIBRARY.format("theirs", 2))
    running = worker(source, target, SHAKER_TARGET__ON_EXISTING="merge")
    for again in (False, True):
        if again:
            source.restart(kill=True)
            running.wait_status(lambda status: status["full_syncs"] == 2, "the full resync")
            source.client().mset({"both": "of the source", "theirs": 3})
        running.wait_state("streaming")
        running.wait_applied(source)
        assert target.client().mget("mine", "both", "theirs") == [
            b"1",
            b"of the source",
            b"3" if again else b"2",
        ]
        assert target.client(db=4).get("mine") == b"4"
        assert len(target.client().function_list()) == 2


def test_flush(source: Server, target: Server, worker: Workers) -> None:
    """The target is emptied once, before the first key; not by the next run."""
    target.client().mset({"mine": 1, "both": "of the target"})
    target.client(db=4).set("mine", 4)
    source.client().mset({"both": "of the source", "theirs": 2})
    running = worker(source, target, SHAKER_TARGET__ON_EXISTING="flush")
    running.wait_state("streaming")
    assert differences(source, target) == []
    assert running.events("full sync")[0]["flush"] is True

    target.client().set("later", 1)
    running.kill()
    running.start()
    running.wait_state("streaming")
    assert target.client().get("later") == b"1"
    assert syncs(source) == (1, 1)


@pytest.mark.parametrize("stale_keys", ["sweep", "flush", "keep"])
def test_keys_that_the_source_has_no_more(source: Server, target: Server, worker: Workers, stale_keys: str) -> None:
    """After a full resync they go or stay as asked; the fence stays the worker's own."""
    source.client().mset({"stays": 1, "goes": 1})
    source.client(db=2).set("goes", 1)
    running = worker(source, target, SHAKER_TARGET__STALE_KEYS=stale_keys)
    running.wait_state("streaming")
    source.restart(kill=True)
    source.client().set("stays", 2)
    running.wait_status(lambda status: status["full_syncs"] == 2, "the full resync")
    running.wait_applied(source)
    running.wait_status(lambda status: status["ready"], "the worker to be ready")

    kept = stale_keys == "keep"
    assert target.client().get("stays") == b"2"
    assert target.client().exists("goes") + target.client(db=2).exists("goes") == 2 * kept
    assert (differences(source, target) == []) is not kept
    assert target.client().hget("shaker:fence:default", "epoch") == b"1"
    source.client().incr("counter")
    running.wait_applied(source)
    assert running.status()["reconnects"].get("target") is None


def test_a_chain_of_workers_of_one_name(server: Servers, worker: Workers) -> None:
    """The records of the first worker, in its target, are not what the second copies or overwrites its own with."""
    first, middle, last = server(), server(), server()
    first.client().set("before", 1)
    with Writes(first) as writes:
        one = worker(first, middle)
        one.wait_state("streaming")
        two = worker(middle, last)
        offset = moved(two, two.wait_state("streaming")["stream"]["applied_offset"])
        # What reaches the records on the middle server, alone and among other keys.
        first.client().flushdb()
        first.client().swapdb(0, 3)
        middle.client().delete("shaker:checkpoint:none", "before")
        offset = moved(two, offset)
        two.kill()
        two.start()
        offset = moved(two, max(offset, int(checkpoint(last)["offset"])))
        one.kill()
        one.start()
        one.wait_state("streaming")
        moved(two, offset)
        writes.stop()
        one.wait_applied(first)
        status = two.wait_applied(middle)

    assert differences(first, middle) == []
    assert differences(first, last) == []
    for source, target in ((first, middle), (middle, last)):
        record = checkpoint(target)
        assert record["replid"] == source.info()["master_replid"]
        assert record["source"] == f"127.0.0.1:{source.port}"
        assert record["phase"] == "stream"
        assert syncs(source) == (1, 1)
        keys = [key for database in (0, 3) for key in target.client(db=database).keys("shaker:*")]
        assert sorted(keys) == [b"shaker:checkpoint:default", b"shaker:fence:default"]
    assert status["reserved_keys_skipped"] > 0
    assert status["rejected_commands"] == 0


def test_a_chain_whose_records_are_in_the_snapshot(server: Servers, worker: Workers) -> None:
    """A snapshot of a server that is a worker's target comes without that worker's records."""
    first, middle, last = server(), server(), server()
    first.client().set("key", 1)
    one = worker(first, middle, SHAKER_NAME="one")
    one.wait_state("streaming")
    two = worker(middle, last, SHAKER_NAME="two")
    two.wait_state("streaming")
    assert last.client().keys("shaker:*:one") == []
    assert len(last.client().keys("shaker:*:two")) == 2
    assert two.status()["reserved_keys_skipped"] == 2
    assert two.status()["ready"]


def test_a_write_to_the_records_is_told(source: Server, target: Server, worker: Workers) -> None:
    """A command of the source that would mix the worker's records with data is rejected, not carried out."""
    running = worker(source, target)
    running.wait_state("streaming")
    source.client().set("key", 1)
    source.client().copy("key", "shaker:checkpoint:default")
    source.client().incr("key")
    running.wait_applied(source)
    wait_until(lambda: running.status()["rejected_commands"] == 1, "the rejection to be counted")
    assert target.client().get("key") == b"2"
    assert checkpoint(target)["phase"] == "stream"
    assert "COPY" in running.get("/readyz")[1]
