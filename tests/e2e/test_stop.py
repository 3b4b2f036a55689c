"""SIGTERM, SIGINT, SIGQUIT and SIGHUP in each state: exit 0 exactly when all that was read is committed, else 75."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from random import Random

import pytest

from tests.support.compare import differences
from tests.support.proxy import Proxy
from tests.support.servers import Server, free_port, wait_until
from tests.support.worker import Worker
from tests.support.writes import Writes, checkpoint, syncs

Servers = Callable[..., Server]
Workers = Callable[..., Worker]

SIGNALS = [
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    # As nohup has it, the worker leaves alone what is ignored from the start.
    *([] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]),
]


def send(running: Worker, number: int = signal.SIGTERM) -> None:
    """Send a signal to the worker."""
    assert running.process is not None
    running.process.send_signal(number)


def fill(source: Server, megabytes: int) -> None:
    """Write values that do not compress."""
    client, random = source.client(), Random(1)
    for number in range(megabytes * 20):
        client.set(f"key:{number}", random.randbytes(50_000))


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("side", ["source", "target"])
def test_while_connecting(source: Server, worker: Workers, side: str, number: int) -> None:
    """Nothing was read: 75, at once."""
    absent = f"redis://127.0.0.1:{free_port()}"
    running = worker(absent, source) if side == "source" else worker(source, absent)
    running.wait(lambda: running.events("link failed"), "a failed attempt")
    begin = time.monotonic()
    send(running, number)
    assert running.wait_ended() == 75
    assert time.monotonic() < begin + 5


@pytest.mark.parametrize("side", ["source", "target"])
def test_while_waiting_for_the_next_attempt(source: Server, worker: Workers, side: str) -> None:
    """A long wait between attempts is cut short."""
    absent = f"redis://127.0.0.1:{free_port()}"
    slow = {"SHAKER_RETRY__INITIAL_SECONDS": "60", "SHAKER_RETRY__MAX_SECONDS": "60"}
    running = worker(absent, source, **slow) if side == "source" else worker(source, absent, **slow)
    running.wait(lambda: len(running.events("link failed")) >= 2, "the failed attempts", 90)
    begin = time.monotonic()
    send(running)
    assert running.wait_ended() == 75
    assert time.monotonic() < begin + 5


@pytest.mark.parametrize("number", SIGNALS)
def test_during_the_handshake(source: Server, target: Server, worker: Workers, number: int) -> None:
    """The source took the connection and does not answer: 75, at once."""
    with Proxy(source) as proxy:
        proxy.set("down", stalled=True)
        running = worker(proxy.url, target)
        running.wait_state("handshaking")
        send(running, number)
        assert running.wait_ended(10) == 75
    assert target.client().dbsize() == 0


def test_during_the_registration(source: Server, target: Server, worker: Workers) -> None:
    """The target took the connection and does not answer: 75, at once."""
    target.pause()
    running = worker(source, target)
    running.wait(lambda: [one for one in running.events("connected") if one["side"] == "target"], "the target")
    send(running)
    assert running.wait_ended(10) == 75
    target.resume()
    assert target.client().dbsize() == 0


def test_during_a_slow_snapshot(source: Server, target: Server, worker: Workers) -> None:
    """75, at once; the next run takes a new snapshot and ends with the same data."""
    client = source.client()
    fill(source, 20)
    client.config_set("rdb-key-save-delay", 20_000)
    running = worker(source, target)
    running.wait_status(lambda status: status["snapshot"]["keys_done"] > 5, "some keys of the snapshot")
    send(running)
    assert running.wait_ended(10) == 75
    assert checkpoint(target)["phase"] == "snapshot"
    client.config_set("rdb-key-save-delay", 0)

    running.start()
    running.wait_state("streaming")

    assert differences(source, target) == []
    assert syncs(source)[0] == 2


def test_during_a_snapshot_that_the_target_does_not_take(source: Server, target: Server, worker: Workers) -> None:
    """A target that stands still does not hold the worker up: 75, at once."""
    fill(source, 30)
    with Proxy(target) as proxy:
        proxy.set("up", bandwidth=500_000)
        running = worker(source, proxy.url)
        running.wait_state("snapshot")
        target.pause()
        send(running)
        assert running.wait_ended(10) == 75
    target.resume()


@pytest.mark.parametrize("number", SIGNALS)
def test_while_streaming_under_load(source: Server, target: Server, worker: Workers, number: int) -> None:
    """0, with all that was read committed; the next run goes on from there."""
    with Writes(source) as writes:
        running = worker(source, target)
        begin = running.wait_state("streaming")["stream"]["applied_offset"]
        running.wait_status(lambda status: status["stream"]["applied_offset"] > begin, "the offset to move")
        send(running, number)
        assert running.wait_ended() == 0
        record = checkpoint(target)
        assert (record["phase"], record["confirmed"]) == ("stream", record["offset"])
        running.start()
        writes.stop()
        status = running.wait_applied(source)

    assert differences(source, target) == []
    assert (status["unconfirmed_bytes"], status["partial_syncs"]) == (0, 1)
    assert syncs(source) == (1, 1)


def test_at_the_end_of_the_stream(server: Servers, target: Server, worker: Workers) -> None:
    """The checkpoint stands where the source does, pings included, and the source was told so."""
    source = server(repl_ping_replica_period=1)
    running = worker(source, target)
    running.wait_state("streaming")
    source.client().incr("counter")
    offset = source.offset()
    wait_until(lambda: source.offset() > offset, "a ping")
    source.client().config_set("repl-ping-replica-period", 3600)
    running.wait_applied(source)
    send(running)
    assert running.wait_ended() == 0
    assert int(checkpoint(target)["offset"]) == source.offset()


def test_while_catching_up(source: Server, target: Server, worker: Workers) -> None:
    """What was read is committed before the end, however slow; health answers until then."""
    with Proxy(target) as proxy:
        running = worker(source, proxy.url)
        running.wait_state("streaming")
        proxy.set("up", bandwidth=1_000_000)
        fill(source, 2)
        offset = source.offset()
        running.wait_status(lambda status: status["stream"]["received_offset"] >= offset, "all to be received")
        send(running)
        answers = []
        status = running.wait_state("draining")
        while status["stream"]["applied_offset"] < offset and running.returncode is None:
            try:
                answers.append((running.get("/livez")[0], running.get("/readyz")[0]))
                status = running.status()
            except OSError:
                break  # it has ended meanwhile
        assert running.wait_ended() == 0
    assert len(answers) > 5
    assert set(answers) == {(200, 503)}
    assert int(checkpoint(target)["offset"]) >= offset
    assert differences(source, target) == []


def test_a_target_that_is_gone_with_all_committed(source: Server, target: Server, worker: Workers) -> None:
    """Nothing is missing on the target: 0, at once."""
    running = worker(source, target)
    running.wait_state("streaming")
    source.client().incr("counter")
    running.wait_applied(source)
    target.kill()
    running.wait_state("paused")
    begin = time.monotonic()
    send(running)
    assert running.wait_ended() == 0
    assert time.monotonic() < begin + 5


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_target_that_is_gone_with_something_missing(
    server: Servers, source: Server, worker: Workers, how: str
) -> None:
    """75 once `drain_timeout_seconds` have passed, not before and not much later; the next run makes it good."""
    target = server(appendonly="yes", appendfsync="always")
    running = worker(source, target, SHAKER_DRAIN_TIMEOUT_SECONDS="2")
    running.wait_state("streaming")
    if how == "killed":
        target.kill()
        running.wait_state("paused")
    else:
        target.pause()
    source.client().incr("counter")
    offset = source.offset()
    running.wait_status(lambda status: status["stream"]["received_offset"] >= offset, "the write to be received")
    begin = time.monotonic()
    send(running)
    running.wait_state("draining")
    assert running.get("/livez")[0] == 200
    assert running.get("/readyz")[0] == 503
    assert running.wait_ended() == 75
    assert 1.5 < time.monotonic() - begin < 6

    if how == "killed":
        target.start()
    else:
        target.resume()
    running.start()
    running.wait_applied(source)
    assert target.client().get("counter") == b"1"
    assert syncs(source) == (1, 1)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_signal_ends_at_once(source: Server, target: Server, worker: Workers, number: int) -> None:
    """75 without waiting for the drain."""
    running = worker(source, target, SHAKER_DRAIN_TIMEOUT_SECONDS="600")
    running.wait_state("streaming")
    target.pause()
    source.client().incr("counter")
    offset = source.offset()
    running.wait_status(lambda status: status["stream"]["received_offset"] >= offset, "the write to be received")
    send(running)
    running.wait_state("draining")
    begin = time.monotonic()
    send(running, number)
    assert running.wait_ended() == 75
    assert time.monotonic() < begin + 5


def test_a_source_that_is_gone(source: Server, target: Server, worker: Workers) -> None:
    """All that was read is committed: 0."""
    running = worker(source, target)
    running.wait_state("streaming")
    source.client().incr("counter")
    running.wait_applied(source)
    source.kill()
    running.wait_status(lambda status: not status["source"]["connected"], "the source to be gone")
    send(running)
    assert running.wait_ended() == 0


def test_half_a_transaction_is_not_waited_for(source: Server, target: Server, worker: Workers) -> None:
    """A drain within a transaction of the source leaves it out as a whole; the next run gets it as a whole."""
    with Proxy(source) as proxy:
        running = worker(proxy.url, target)
        running.wait_state("streaming")
        proxy.set("down", bandwidth=200_000)
        pipeline = source.client().pipeline(transaction=True)
        pipeline.incr("counter")
        pipeline.set("large", Random(1).randbytes(2_000_000))
        pipeline.incr("counter")
        pipeline.execute()
        received = proxy.bytes["down"]
        wait_until(lambda: proxy.bytes["down"] > received + 50_000, "half of the transaction")
        send(running)
        assert running.wait_ended() == 0
    assert target.client().exists("counter", "large") == 0

    again = worker(source, target)
    again.wait_applied(source)
    assert differences(source, target) == []
    assert syncs(source) == (1, 1)
