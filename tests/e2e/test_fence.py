"""Of two workers of one name only the newer one writes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.test_crashes import moved
from tests.support.compare import differences
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker
from tests.support.writes import Writes, checkpoint, syncs

Workers = Callable[..., Worker]


@pytest.mark.parametrize("action", ["exit", "wait"])
def test_a_stalled_worker_that_comes_back(source: Server, target: Server, worker: Workers, action: str) -> None:
    """Stopped in the middle of its work and continued after another took over, it writes nothing more."""
    with Writes(source) as writes:
        first = worker(source, target, SHAKER_FENCED_ACTION=action)
        offset = moved(first, first.wait_state("streaming")["stream"]["applied_offset"])
        first.pause()
        second = worker(source, target)
        # The first may have had more applied than was seen of it: the second has to have written something.
        offset = moved(second, max(offset, int(checkpoint(target)["offset"])))
        first.resume()
        if action == "exit":
            assert first.wait_ended() == 6
        else:
            first.wait_state("fenced")
        moved(second, offset)
        writes.stop()
        second.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source) == (1, 1)
    assert checkpoint(target)["epoch"] == "2"
    assert target.client().hget("shaker:fence:default", "epoch") == b"2"
    assert second.status()["reconnects"] == {}
    if action == "wait":
        assert first.get("/livez")[0] == 200
        code, text = first.get("/readyz")
        assert code == 503
        assert "fenced" in text
        first.terminate()
        assert first.wait_ended() == 6
    (end,) = first.events("replication ends")
    assert end["kind"] == "fenced"
    assert "SHAKER_NAME" in end["hint"]


def test_a_rolling_replacement_under_load(source: Server, target: Server, worker: Workers) -> None:
    """Each new worker takes over at once from one that is in the middle of its work; the old one ends."""
    with Writes(source) as writes:
        running = worker(source, target)
        offset = moved(running, running.wait_state("streaming")["stream"]["applied_offset"])
        for _ in range(3):
            newer = worker(source, target)
            assert running.wait_ended() == 6
            offset = moved(newer, offset)
            running = newer
        writes.stop()
        running.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source)[0] == 1
    assert target.client().hget("shaker:fence:default", "epoch") == b"4"


def test_workers_of_two_names_do_not_meet(source: Server, target: Server, worker: Workers) -> None:
    """Each has its own records; neither disconnects the other."""
    source.client().set("key", 1)
    one = worker(source, target, SHAKER_NAME="one")
    one.wait_state("streaming")
    two = worker(source, target, SHAKER_NAME="two", SHAKER_TARGET__ON_EXISTING="merge")
    two.wait_state("streaming")
    source.client().set("key", 2)
    one.wait_applied(source)
    two.wait_applied(source)

    wait_until(lambda: one.status()["ready"] and two.status()["ready"], "both to be ready")
    assert (one.status()["reconnects"], two.status()["reconnects"]) == ({}, {})
    assert checkpoint(target, "one")["phase"] == checkpoint(target, "two")["phase"] == "stream"
    assert target.client().get("key") == b"2"
