"""What is too large to hold passes through: the worker's memory is bounded whatever comes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.support.compare import differences
from tests.support.proxy import Proxy
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker, peak_bytes

MIB = 1024 * 1024
LIMIT = 200 * MIB
SIZE = 150_000_000
SCRIPT = "for i = 1, tonumber(ARGV[1]) do redis.call('RPUSH', KEYS[1], i) end redis.call('INCR', KEYS[2])"


def digests(server: Server, *keys: str) -> list[bytes]:
    return [server.client().execute_command("DEBUG", "DIGEST-VALUE", key) for key in keys]


def free(server: Server) -> redis.Redis:
    """Return a client of a source that keeps whatever a slow worker has not read yet."""
    client = server.client()
    client.config_set("client-output-buffer-limit", "replica 0 0 0")
    client.config_set("repl-backlog-size", 1 << 30)
    return client


def test_a_huge_string_passes_in_snapshot_and_stream(source: Server, target: Server) -> None:
    client = free(source)
    value = os.urandom(1000) * (SIZE // 1000)
    client.set("snapshot", value)
    with Worker(source, target) as worker:
        worker.wait_state("streaming")
        client.set("stream", value)
        client.append("stream", "end")
        worker.wait_applied(source)

        assert worker.process is not None
        assert peak_bytes(worker.process.pid) < LIMIT
        assert digests(target, "snapshot", "stream") == digests(source, "snapshot", "stream")


@pytest.mark.parametrize(("database", "latency"), [(0, 0.0), (4, 0.0), (4, 0.025)])
def test_a_huge_value_in_any_database(source: Server, target: Server, database: int, latency: float) -> None:
    """The target answers a SELECT before the last piece of the value behind it is sent."""
    client = source.client(db=database)
    free(source)
    value = os.urandom(1000) * (8_000 if latency else 40_000)
    client.set("snapshot", value)
    with Proxy(target) as proxy, Worker(source, proxy.url) as worker:
        proxy.set(latency=latency)
        worker.wait_state("streaming")
        client.set("stream", value)
        source.client(db=3).incr("count")
        worker.wait_applied(source)

        assert differences(source, target) == []
        assert worker.status()["full_syncs"] == 1
        assert worker.status()["reconnects"] == {}


def test_a_huge_transaction_over_many_databases(server: Callable[..., Server]) -> None:
    """Its databases are proven before it begins, all in one round trip."""
    source, target = (server(databases=2000, client_query_buffer_limit="1gb") for _ in range(2))
    client = free(source)
    with Proxy(target) as proxy, Worker(source, proxy.url) as worker:
        proxy.set(latency=0.025)
        worker.wait_state("streaming")
        pipeline = client.pipeline(transaction=True)
        for number in range(200):
            pipeline.execute_command("SELECT", number)
            pipeline.set("key", b"x" * 50_000)
        pipeline.execute_command("SELECT", 1900)
        pipeline.incr("count")
        pipeline.execute()
        worker.wait_applied(source)

        assert differences(source, target) == []
        # Once for what lies beyond the databases that were tried.
        assert worker.status()["reconnects"].get("target", 0) <= 1


def test_a_huge_transaction_is_applied_as_one(source: Server, target: Server) -> None:
    client = free(source)
    with Worker(source, target) as worker:
        worker.wait_state("streaming")
        client.eval(SCRIPT, 2, "list", "count", 500_000)
        pipeline = client.pipeline(transaction=True)
        for number in range(60):
            pipeline.set(f"key:{number}", b"x" * 1_000_000)
        pipeline.execute()
        worker.wait_applied(source)

        assert worker.process is not None
        assert peak_bytes(worker.process.pid) < LIMIT
        assert target.client().get("count") == b"1"
        assert digests(target, "list", "key:59") == digests(source, "list", "key:59")


def test_links_cut_inside_huge_things_lose_and_double_nothing(source: Server, target: Server) -> None:
    client, copy = free(source), target.client()
    with Worker(source, target) as worker:
        worker.wait_state("streaming")
        value = os.urandom(1000) * (SIZE // 1000)

        def cut_source() -> None:
            client.execute_command("CLIENT", "KILL", "TYPE", "replica")

        def cut_target() -> None:
            for connection in copy.client_list():
                if connection["name"].startswith("shaker-writer"):
                    copy.execute_command("CLIENT", "KILL", "ID", connection["id"])

        cuts: list[Callable[[], None]] = [cut_source, cut_target] * 3
        for number, cut in enumerate(cuts):
            sent = worker.status()["stream"]["source_offset"]
            client.set(f"value:{number}", value)
            client.eval(SCRIPT, 2, "list", "count", 50_000)
            wait_until(lambda at=sent: worker.status()["stream"]["source_offset"] > at, "the source to be ahead")
            cut()
        worker.wait_applied(source)

        keys = ["list", *(f"value:{number}" for number in range(len(cuts)))]
        assert copy.get("count") == b"6"
        assert digests(target, *keys) == digests(source, *keys)
        assert worker.status()["full_syncs"] == 1
        assert worker.status()["partial_syncs"] >= 3


def test_the_spool_takes_the_stream_while_the_target_stands(source: Server, target: Server, tmp_path: Path) -> None:
    client = source.client()
    client.config_set("client-output-buffer-limit", "replica 30mb 30mb 60")
    with Worker(source, target, SHAKER_SPOOL__DIR=str(tmp_path)) as worker:
        worker.wait_state("streaming")
        value = os.urandom(100_000)
        target.pause()
        for number in range(1500):
            client.set(f"key:{number % 100}", value)
            client.incr("count")
        wait_until(lambda: worker.status()["spool_bytes"] > 100_000_000, "the spool to take the stream")
        target.resume()
        worker.wait_applied(source)

        assert target.client().get("count") == b"1500"
        assert worker.status()["full_syncs"] == 1
        assert worker.status()["spool_bytes"] == 0
        assert list(tmp_path.iterdir()) == []


def test_half_of_a_huge_command_is_given_up_when_the_worker_is_stopped(source: Server, target: Server) -> None:
    client, copy = free(source), target.client()
    with Proxy(source) as proxy, Worker(proxy.url, target) as worker:
        worker.wait_state("streaming")
        client.incr("count")
        worker.wait_applied(source)
        proxy.set("down", bandwidth=5_000_000)
        client.set("value", os.urandom(1000) * 60_000)
        passed = proxy.bytes["down"]
        wait_until(lambda: proxy.bytes["down"] > passed + 15_000_000, "half of the value to come")
        worker.terminate()
        worker.wait_ended(15)

        assert worker.returncode == 0
        assert copy.get("count") == b"1"
        assert copy.exists("value") == 0
        proxy.heal()
        worker.start()
        worker.wait_state("streaming")
        worker.wait_applied(source)
        assert digests(target, "value") == digests(source, "value")
        assert worker.status()["partial_syncs"] == 1
