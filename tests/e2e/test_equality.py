"""What the source holds and does arrives on the target: whole datasets under load, and each special command."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from shaker.commands.sample import Load, seed
from tests.support.oracle import differences
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker
from tests.support.writes import checkpoint, syncs

Workers = Callable[..., Worker]

KEYS = 50_000
FAR = 600_000  # milliseconds: no key of the load expires within a test
LIBRARY = "#!lua name={0}\nredis.register_function('{0}', function() return {1} end)"


def test_a_dataset_under_load(source: Server, target: Server, worker: Workers) -> None:
    """Keys of every type in several databases, with functions, while writes of every kind go on."""
    source.client().function_load(LIBRARY.format("library", 1))
    seed(source.client(), KEYS, shortest_expiry=FAR)
    seed(source.client(db=9), KEYS // 10, shortest_expiry=FAR)
    with Load(source.client(), rate=2000, shortest_expiry=FAR) as load:
        running = worker(source, target)
        running.wait_state("snapshot", "catching_up", "streaming")
        during = load.operations
        running.wait_state("streaming")
        streaming = load.operations
        wait_until(lambda: load.operations > streaming + 3000, "more writes in the stream")
        load.stop()
        status = running.wait_applied(source)

    assert differences(source, target) == []
    assert during > 0
    assert status["snapshot"]["keys_done"] == status["snapshot"]["keys_total"] > KEYS
    assert status["stream"]["commands_applied"] > 0
    assert (syncs(source)[0], status["full_syncs"], status["errors"]) == (1, 1, {})
    assert running.get("/readyz")[0] == 200


@pytest.fixture
def streaming(source: Server, target: Server, worker: Workers) -> Worker:
    """A worker that streams between two servers with a few keys in several databases."""
    for database in (0, 1, 2):
        seed(source.client(db=database), 100, seed=database, shortest_expiry=FAR)
    running = worker(source, target)
    running.wait_state("streaming")
    return running


def equal(source: Server, target: Server, running: Worker) -> None:
    """Assert that the servers hold the same once all is applied, and that the worker's records are whole."""
    offset = source.offset()
    running.wait_applied(source)
    assert differences(source, target) == []
    running.wait_status(lambda status: status["stream"]["checkpoint_offset"] >= offset, "the checkpoint")
    record = checkpoint(target)
    assert record["phase"] == "stream"
    assert record["replid"] == source.info()["master_replid"]
    assert target.client().exists("shaker:fence:default") == 1


@pytest.mark.parametrize(
    ("database", "command"),
    [
        (0, ("FLUSHALL",)),
        (0, ("FLUSHDB",)),
        (1, ("FLUSHDB", "ASYNC")),
        (0, ("SWAPDB", 0, 1)),
        (0, ("SWAPDB", 2, 1)),
    ],
)
def test_commands_on_whole_databases(
    source: Server, target: Server, streaming: Worker, database: int, command: tuple[str | int, ...]
) -> None:
    """They take effect once, between the right writes, and leave the worker's records in place, over a kill too."""
    client = source.client(db=database)
    pipeline = client.pipeline(transaction=False)
    pipeline.incr("counter").execute_command(*command)
    pipeline.incr("counter").rpush("list", 1)
    pipeline.execute()
    equal(source, target, streaming)
    assert {int(name[2:]) for name in target.info("keyspace")} >= {0}

    streaming.kill()
    client.incr("counter")
    streaming.start()
    equal(source, target, streaming)
    assert syncs(source) == (1, 1)


def test_a_database_swapped_back(source: Server, target: Server, streaming: Worker) -> None:
    """The records do not come back as they were at the first swap: that would repeat what came after."""
    client = source.client()
    for number in range(3):
        client.swapdb(0, 1)
        client.incr("counter", number)
        equal(source, target, streaming)
        streaming.kill()
        client.incr("counter")
        streaming.start()
        equal(source, target, streaming)
    assert target.client(db=1).exists("shaker:checkpoint:default", "shaker:fence:default") == 0


def test_transactions_over_several_databases(source: Server, target: Server, streaming: Worker) -> None:
    """A SELECT within a transaction holds for what follows it, in it and behind it."""
    client = source.client(db=1)
    client.execute_command("SET", "before", 1)
    connection = client.connection_pool.get_connection()
    commands: list[tuple[str | int, ...]] = [
        ("MULTI",), ("SET", "one", 1), ("SELECT", 2), ("SET", "two", 2), ("SELECT", 1), ("INCR", "one"), ("EXEC",),
        ("INCR", "one"),
        ("MULTI",), ("SELECT", 5), ("SET", "five", 5), ("FLUSHDB",), ("SET", "five", 6), ("EXEC",),
        ("SET", "six", 6),
        ("MULTI",), ("SELECT", 0), ("INCR", "zero"), ("FLUSHALL",), ("INCR", "zero"), ("SWAPDB", 0, 3), ("EXEC",),
        ("INCR", "zero"),
    ]  # fmt: skip
    for command in commands:
        connection.send_command(*command)
        connection.read_response()
    connection.disconnect()
    client.connection_pool.release(connection)

    equal(source, target, streaming)
    assert target.client(db=3).get("zero") == b"1"
    assert target.client(db=0).get("zero") == b"1"
    assert target.client(db=5).dbsize() == 0


def test_scripts_are_replicated_by_their_effects(source: Server, target: Server, streaming: Worker) -> None:
    """What they drew at random is the same on both sides."""
    client = source.client()
    client.sadd("members", *range(100))
    for _ in range(20):
        client.eval(
            "local one = redis.call('SPOP', KEYS[1]) redis.call('RPUSH', KEYS[2], one, redis.call('TIME')[2])",
            2, "members", "drawn",
        )  # fmt: skip
    with pytest.raises(redis.ResponseError):
        client.eval("redis.call('INCR', KEYS[1]) return redis.call('INCR', KEYS[2])", 2, "half", "drawn")

    equal(source, target, streaming)
    assert target.client().get("half") == b"1"


def test_functions(source: Server, target: Server, streaming: Worker) -> None:
    """Libraries are added, replaced, deleted and flushed in the stream."""
    client = source.client()
    client.function_load(LIBRARY.format("one", 1))
    client.function_load(LIBRARY.format("two", 2))
    client.function_load(LIBRARY.format("one", 11), replace=True)
    equal(source, target, streaming)
    assert target.client().fcall("one", 0) == 11
    client.function_delete("one")
    equal(source, target, streaming)
    assert len(target.client().function_list()) == 1
    client.function_flush()
    equal(source, target, streaming)
    assert target.client().function_list() == []


def test_libraries_that_the_source_does_not_have(source: Server, target: Server, worker: Workers) -> None:
    """A full sync leaves only those of the source."""
    source.client().function_load(LIBRARY.format("mine", 1))
    target.client().function_load(LIBRARY.format("stale", 1))
    running = worker(source, target)
    running.wait_state("streaming")
    equal(source, target, running)


def test_messages_reach_subscribers_of_the_target(source: Server, target: Server, streaming: Worker) -> None:
    """PUBLISH is part of the stream; the hello of Sentinels is not for the target."""
    with target.client().pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe("news", "__sentinel__:hello")
        pubsub.get_message(timeout=1)
        wait_until(lambda: target.client().pubsub_numsub("news") == [(b"news", 1)], "the subscription")
        client = source.client()
        client.publish("__sentinel__:hello", "gossip")
        client.publish("news", "first")
        client.publish("news", "second")
        streaming.wait_applied(source)
        got: list[bytes] = []

        def both() -> bool:
            message = pubsub.get_message(timeout=0.1)
            got.extend([message["data"]] if message else [])
            return b"second" in got

        wait_until(both, "the messages")
    assert got == [b"first", b"second"]


def test_expiries_stay_true_to_the_millisecond(source: Server, target: Server, streaming: Worker) -> None:
    """Whether set in seconds from now or at a time, by the key's write or behind it."""
    client = source.client()
    client.set("a", 1, ex=1000)
    client.set("b", 1)
    client.expire("b", 500)
    client.expire("b", 700, gt=True)
    client.expire("b", 600, gt=True)
    client.getex("a", ex=300)
    client.set("c", 1, px=900_000)
    client.persist("c")
    client.set("d", 1, exat=4_000_000_000)
    client.set("gone", 1, px=30)
    wait_until(lambda: not client.exists("gone"), "the key to expire")
    equal(source, target, streaming)
    assert target.client().exists("gone") == 0
