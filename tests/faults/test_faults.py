"""What a hostile operator, network or server can do to a running worker."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.compare import differences
from tests.support.proxy import Proxy
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker

Servers = Callable[..., Server]
Workers = Callable[..., Worker]


def test_drain_between_select_and_its_command(server: Servers, worker: Workers) -> None:
    """A drain between a SELECT of the stream and the command behind it keeps the database for the next start."""
    source, target = server(), server()
    with Proxy(source) as proxy:
        first = worker(proxy.url, target)
        first.wait_state("streaming")
        client = source.client(db=3)
        before = first.wait_applied(source)["stream"]["applied_offset"]
        proxy.set("down", bandwidth=50_000)
        client.set("large", b"x" * 1_000_000)
        first.wait_status(lambda s: s["stream"]["applied_offset"] > before, "the SELECT to be applied")
        first.terminate()
        assert first.wait_ended() == 0
    second = worker(source, target)
    second.wait_applied(source)
    assert target.client(db=3).strlen("large") == 1_000_000
    assert target.client(db=0).exists("large") == 0


def test_rejected_command_shows_no_value(server: Servers, worker: Workers) -> None:
    """A command that the target does not know is told by name and key: no argument of it reaches log or status."""
    source, target = server(), server(rename_command='SET ""')
    running = worker(source, target)
    running.wait_state("streaming")
    source.client().set("key", "hunter2-the-value")
    running.wait_applied(source)
    document = running.wait_status(lambda s: s["rejected_commands"] == 1, "the rejection to be counted")
    assert "hunter2" not in str(document)
    assert "hunter2" not in "\n".join(running.output)


def test_source_that_becomes_a_replica_of_the_target(server: Servers, worker: Workers) -> None:
    """A source demoted to a replica of the target is refused: its stream would be the worker's own writes."""
    source, target = server(), server()
    running = worker(source, target)
    running.wait_state("streaming")
    source.client().incr("counter")
    running.wait_applied(source)
    source.client().replicaof("127.0.0.1", str(target.port))
    wait_until(lambda: source.info().get("master_link_status") == "up", "the source to be a replica")
    assert running.wait_ended() == 3
    assert target.client().get("counter") == b"1"


def test_a_link_killed_again_and_again_is_not_hammered(server: Servers, worker: Workers) -> None:
    """A source that ends the link right after each handshake is not connected to hundreds of times a second."""
    source, target = server(), server()
    running = worker(source, target)
    running.wait_state("streaming")
    client = source.client()
    begin, connections = time.monotonic(), source.info("stats")["total_connections_received"]
    while time.monotonic() < begin + 4.0:
        client.client_kill_filter(_type="replica")
        time.sleep(0.002)
    made = source.info("stats")["total_connections_received"] - connections
    assert made < 40
    client.set("key", "value")
    running.wait_applied(source)


def test_behind_after_a_restart_is_not_ready(server: Servers, worker: Workers) -> None:
    """A worker that comes back to a long backlog is not ready before it has applied what the source had."""
    source, target = server(), server()
    first = worker(source, target)
    first.wait_state("streaming")
    first.terminate()
    assert first.wait_ended() == 0
    client = source.client()
    for number in range(200):
        client.set(f"key:{number}", b"x" * 50_000)
    offset = source.offset()
    with Proxy(target) as proxy:
        proxy.set("up", bandwidth=4_000_000)
        second = worker(source, proxy.url)
        seen = []
        while not seen or seen[-1]["stream"]["applied_offset"] < offset:
            seen.append(second.status())
            assert seen[-1]["stream"]["applied_offset"] >= offset or not seen[-1]["ready"], seen[-1]
        assert any(s["state"] == "catching_up" for s in seen)
        second.wait_state("streaming")


def test_target_that_is_no_redis(server: Servers, worker: Workers) -> None:
    """A target that does not speak the protocol is an error that is told and tried again, not a crash."""
    source = server()
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    threading.Thread(target=answer, daemon=True).start()
    with listener:
        running = worker(source, f"redis://127.0.0.1:{listener.getsockname()[1]}")
        running.wait(lambda: len(running.events("link failed")) > 2, "failed attempts")
        running.terminate()
        assert running.wait_ended() == 75


def test_another_dataset_behind_the_address_of_the_target(server: Servers, worker: Workers) -> None:
    """A target address that leads to a server with other keys is refused when reconnecting, too."""
    source, target, other = server(), server(), server()
    other.client().set("precious", "data")
    source.client().set("precious", "from the source")
    with Proxy(target) as proxy:
        running = worker(source, proxy.url)
        running.wait_state("streaming")
        proxy.redirect(other)
        proxy.reset()
        assert running.wait_ended() == 3
    assert other.client().get("precious") == b"data"


def test_migration_of_a_source_that_begins_a_new_history(server: Servers, worker: Workers) -> None:
    """A migration ends although the source lost its history, and its higher offsets, on the way."""
    source, target = server(), server()
    first = worker(source, target)
    first.wait_state("streaming")
    first.terminate()
    assert first.wait_ended() == 0
    client = source.client()
    for _ in range(600):
        client.set("key", b"x" * 100_000)
    with Proxy(target) as proxy:
        proxy.set("up", bandwidth=1_000_000)
        second = worker(source, proxy.url, SHAKER_MODE="migrate")
        second.wait(lambda: second.events("settling"), "the offset to settle at", 60)
        source.restart(kill=True)
        proxy.heal()
        assert second.wait_ended() == 0


def test_fence_lost_on_the_target(server: Servers, worker: Workers) -> None:
    """A FLUSHALL on the target takes the fence along; the newest worker still is the one that goes on."""
    source, target = server(), server()
    older = worker(source, target)
    older.wait_state("streaming")
    older.kill()
    older.start()
    older.wait_state("streaming")
    target.client().delete("shaker:fence:default")
    newer = worker(source, target)
    newer.wait_state("streaming")
    assert older.wait_ended() == 6
    assert newer.returncode is None


def test_sigterm_at_any_time_of_the_start(server: Servers, worker: Workers) -> None:
    """A SIGTERM while the worker is still being loaded, or later, ends it with a code of the contract."""
    source, target = server(), server()
    codes = []
    for step in range(12):
        running = worker(source, target)
        # Long before the replication is there: the settings' library comes first.
        maps = Path(f"/proc/{running.pid}/maps")
        wait_until(lambda maps=maps: "pydantic_core" in maps.read_text(), "the settings to be imported")
        time.sleep(step * 0.06)
        running.terminate()
        codes.append(running.wait_ended())
    assert set(codes) <= {0, 75}, codes


def test_many_commands_that_the_target_does_not_know(server: Servers, worker: Workers) -> None:
    """Thousands of unknown commands among others are left out together, not at the cost of a connection each."""
    source, target = server(), server(rename_command='SET ""')
    running = worker(source, target)
    running.wait_state("streaming")
    commands = source.client().pipeline(transaction=False)
    for number in range(3000):
        commands.set(f"key:{number}", "value")
        commands.incr("counter")
    commands.execute()
    running.wait_applied(source, 20)
    assert (
        running.wait_status(lambda s: s["rejected_commands"] >= 3000, "all to be counted")["rejected_commands"]
        == 3000
    )
    assert target.client().get("counter") == b"3000"
    assert len(running.events("command rejected")) == 10
    assert target.client().dbsize() == 3  # the counter and the two records
    assert target.info("stats")["total_connections_received"] < 60


def test_target_gone_in_the_middle_of_a_snapshot(server: Servers, worker: Workers) -> None:
    """A target that is killed and loads its AOF, stalls and loses its link within a snapshot gets all of it."""
    source, target = server(), server(appendonly="yes")
    commands = source.client().pipeline(transaction=False)
    for number in range(40_000):
        commands.set(f"key:{number}", os.urandom(300))
    commands.execute()
    with Proxy(target) as proxy:
        proxy.set("up", bandwidth=6_000_000)
        running = worker(source, proxy.url)
        running.wait_status(lambda s: s["snapshot"]["keys_done"] > 3000, "some keys")
        target.restart(kill=True)
        running.wait_status(lambda s: s["full_syncs"] > 1 and s["snapshot"]["keys_done"] > 3000, "some keys anew")
        target.pause()
        source.client().incr("counter")
        target.resume()
        proxy.reset()
        proxy.heal()
        running.wait_applied(source)
    assert differences(source, target) == []
