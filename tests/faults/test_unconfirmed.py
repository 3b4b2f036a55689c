"""A command fails in a transaction whose replies nobody reads: the difference goes before the worker is ready."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.faults.stopping import Mark, StoppingProxy
from tests.support.compare import differences
from tests.support.load import LoadProcess
from tests.support.proxy import Proxy
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker

Servers = Callable[..., Server]
Workers = Callable[..., Worker]
Command = tuple[str | bytes | int, ...]

CHECKPOINT = "shaker:checkpoint:default"
VERSIONS = ("redis-6.2", "redis-7.0", "redis-8.0", "valkey-9.1")
FAST = {"SHAKER_RETRY__MAX_SECONDS": "0.2"}
LIBRARY = "#!lua name=one\nredis.register_function('one', function() return {0} end)"
# What the source executes in one go, and the keys (database, name) that hold a string on the target meanwhile.
CASES: dict[str, tuple[list[Command], list[tuple[int, str]]]] = {
    "one command": ([("RPUSH", "list", "x")], [(0, "list")]),
    "another database": ([("SELECT", 5), ("RPUSH", "list", "x")], [(5, "list")]),
    "several commands": (
        [("RPUSH", "list", "x"), ("SET", "a", 1), ("HSET", "hash", "f", "v"), ("INCR", "b"), ("SADD", "set", "m")],
        [(0, "list"), (0, "set")],
    ),
    "several databases": (
        [("RPUSH", "list", 1), ("SELECT", 3), ("RPUSH", "list", 2), ("SELECT", 1), ("SET", "a", 1), ("SELECT", 0)],
        [(0, "list"), (3, "list")],
    ),
    "a transaction": (
        [("MULTI",), ("INCR", "a"), ("RPUSH", "list", "x"), ("ZADD", "zset", 1, "m"), ("EXEC",)],
        [(0, "list"), (0, "zset")],
    ),
    "a transaction of several databases": (
        [("MULTI",), ("RPUSH", "list", "x"), ("SELECT", 2), ("RPUSH", "list", "y"), ("EXEC",), ("INCR", "c")],
        [(0, "list"), (2, "list")],
    ),
    "keys made of others": (
        [("RPUSH", "list", "x"), ("COPY", "list", "copy"), ("RENAME", "list", "renamed"), ("SADD", "set", "m")],
        [(0, "list")],
    ),
    "keys of other databases": (
        [("RPUSH", "list", "x"), ("COPY", "list", "list", "DB", 4), ("RPUSH", "other", "x"), ("MOVE", "other", 6)],
        [(0, "list"), (0, "other")],
    ),
    "databases are swapped": (
        [("SELECT", 1), ("RPUSH", "list", "x"), ("SWAPDB", 1, 2), ("RPUSH", "list", "y")],
        [(1, "list"), (2, "list")],
    ),
    "database 0 is swapped": ([("MULTI",), ("RPUSH", "list", "x"), ("SWAPDB", 0, 2), ("EXEC",)], [(0, "list")]),
    "a database is flushed": (
        [("SELECT", 1), ("FLUSHDB",), ("SELECT", 0), ("RPUSH", "list", "x")],
        [(0, "list")],
    ),
    "all is flushed": ([("FLUSHALL",), ("RPUSH", "list", "x")], []),
}


def execute(server: Server, commands: Iterable[Command]) -> None:
    """Execute commands on one connection, all sent at once."""
    pipeline = server.client().pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    pipeline.execute()


def prepare(source: Server, target: Server, strings: Iterable[tuple[int, str]]) -> None:
    """Leave both sides equal but for strings that somebody else has written to the target."""
    for database in (0, 1, 2):
        source.client(db=database).set("before", database)
    with Worker(source, target) as first:
        first.wait_state("streaming")
        first.wait_applied(source)
        first.terminate()
        assert first.wait_ended() == 0
    for database, key in strings:
        target.client(db=database).set(key, "somebody else's")


def first(commands: Iterable[Command]) -> Mark:
    """The end of the transaction that has the first of these commands."""
    name = next(str(command[0]) for command in commands if command[0] not in ("SELECT", "MULTI"))
    return Mark(("EXEC",), since=name, effect=True)


@contextmanager
def stopped(
    source: Server, target: Server, commands: Sequence[Command], *, seconds: float = 0.0
) -> Iterator[tuple[Worker, StoppingProxy]]:
    """A worker whose transaction with `commands` is executed, and that gets no reply; the distance in seconds."""
    mark = first(commands)
    with StoppingProxy(target, mark, "answer withheld") as proxy, Worker(source, proxy.url, **FAST) as running:
        proxy.set(latency=seconds / 2)
        running.wait_state("streaming")
        execute(source, commands)
        running.wait(lambda: proxy.stopped, "the transaction to be executed")
        yield running, proxy


def kill(source: Server, target: Server, commands: Sequence[Command]) -> None:
    """Kill a worker between the execution of a transaction and its replies."""
    with stopped(source, target, commands) as (running, proxy):
        running.kill()
        proxy.hang_up()


def record(target: Server) -> dict[str, str]:
    """The checkpoint."""
    return {name.decode(): value.decode() for name, value in target.client().hgetall(CHECKPOINT).items()}


def check_ready(running: Worker, source: Server, target: Server) -> None:
    """Check that the worker is not ready before both sides are equal, and that it becomes so."""
    running.wait_applied(source)
    status = running.wait_status(lambda status: status["ready"], "the worker to be ready")
    assert differences(source, target) == []
    assert (status["unconfirmed_bytes"], status["rejected_commands"], status["full_syncs"]) == (0, 0, 0)
    keys = [key for database in range(8) for key in target.client(db=database).keys("shaker:unconfirmed:*")]
    assert keys == []


@pytest.mark.parametrize("case", CASES)
def test_the_worker_is_killed(case: str, source: Server, target: Server, worker: Workers) -> None:
    """The next one finds what differs, and is ready when it does no more."""
    commands, strings = CASES[case]
    prepare(source, target, strings)
    kill(source, target, commands)
    before = record(target)
    assert int(before["confirmed"]) < int(before["offset"])

    running = worker(source, target)
    check_ready(running, source, target)
    running.wait(lambda: record(target)["confirmed"] == record(target)["offset"], "the checkpoint to be confirmed")


@pytest.mark.parametrize("case", CASES)
def test_the_link_is_lost(case: str, source: Server, target: Server) -> None:
    """The same worker goes on with what it has, and asks the source for nothing again."""
    commands, strings = CASES[case]
    prepare(source, target, strings)
    with stopped(source, target, commands) as (running, proxy):
        proxy.cut()
        running.wait_status(lambda status: "target:lost" in status["errors"], "the link to be lost")
        running.wait_applied(source)
        running.wait_status(lambda status: status["ready"], "the worker to be ready")
        assert differences(source, target) == []
        assert running.status()["partial_syncs"] == 1
        assert running.status()["rejected_commands"] == 0


@pytest.mark.parametrize("name", VERSIONS)
@pytest.mark.parametrize("lost", ["killed", "link"])
def test_versions(name: str, lost: str, server: Servers, worker: Workers) -> None:
    """On the oldest and the newest servers, at a distance of 50 ms."""
    source, target = server(name), server(name)
    commands, strings = CASES["several databases"]
    prepare(source, target, strings)
    with stopped(source, target, commands, seconds=0.05) as (running, proxy):
        if lost == "link":
            proxy.cut()
            check_ready(running, source, target)
            return
        running.kill()
        proxy.hang_up()
    check_ready(worker(source, target), source, target)


def test_under_writes_to_the_same_keys(source: Server, target: Server, worker: Workers) -> None:
    """What the source makes of a key that differs differs, too: keys renamed and copied since are compared."""
    prepare(source, target, [(0, "list")])
    kill(source, target, [("RPUSH", "list", "x")])
    execute(source, [("COPY", "list", "copy"), ("SUNIONSTORE", "union", "set"), ("RENAME", "list", "renamed")])
    execute(source, [("SELECT", 3), ("SET", "a", 1)])
    check_ready(worker(source, target), source, target)


@pytest.mark.parametrize("moment", ["withheld", "answer withheld"])
def test_killed_again(moment: str, source: Server, target: Server, worker: Workers) -> None:
    """The next worker is killed as it remembers the keys: before that is executed, or behind it."""
    commands, strings = CASES["several databases"]
    prepare(source, target, strings)
    kill(source, target, commands)
    with (
        StoppingProxy(target, Mark(("EXEC",), since="SADD"), moment) as proxy,  # type: ignore[arg-type]
        Worker(source, proxy.url, **FAST) as running,
    ):
        running.wait(lambda: proxy.stopped, "the keys to be remembered")
        execute(source, [("RPUSH", "behind", "x")])
        running.kill()
        proxy.hang_up()
    check_ready(worker(source, target), source, target)


@pytest.mark.parametrize("case", ["one command", "several databases", "another database"])
def test_the_record_of_an_older_version(case: str, source: Server, target: Server, worker: Workers) -> None:
    """It does not say which database was selected at the last reply that was read."""
    commands, strings = CASES[case]
    prepare(source, target, strings)
    kill(source, target, commands)
    target.client().hdel(CHECKPOINT, "confirmed_at", "unconfirmed")
    check_ready(worker(source, target), source, target)


def test_the_source_does_not_have_it(server: Servers, target: Server, worker: Workers) -> None:
    """Where the backlog begins behind the last reply read, all keys are compared: there is no full resync."""
    source = server(repl_backlog_size="16kb")
    prepare(source, target, [(4, "list")])
    large = [("SET", f"large:{number}", b"x" * 100_000) for number in range(3)]
    commands = [("MULTI",), ("SELECT", 4), ("RPUSH", "list", "x"), *large, ("EXEC",)]
    kill(source, target, commands)
    confirmed = int(record(target)["confirmed"])

    def trimmed() -> bool:
        source.client(db=1).incr("behind")
        return int(source.info()["repl_backlog_first_byte_offset"]) > confirmed + 1

    wait_until(trimmed, "the backlog to begin behind it")
    running = worker(source, target)
    check_ready(running, source, target)
    assert running.events("unconfirmed work cannot be read again")


def test_libraries_of_functions(source: Server, target: Server, worker: Workers) -> None:
    """One that the target has already fails to load; it gets the source's."""
    prepare(source, target, [])
    target.client().function_load(LIBRARY.format(1))
    kill(source, target, [("FUNCTION", "LOAD", LIBRARY.format(2))])
    check_ready(worker(source, target), source, target)
    assert target.client().fcall("one", 0) == 2


@pytest.mark.parametrize("there", [True, False])
def test_a_library_that_is_deleted_again(source: Server, target: Server, worker: Workers, there: bool) -> None:
    """It does not come back with the load before, and its absence on the target is no fault."""
    prepare(source, target, [])
    load = ("FUNCTION", "LOAD", "REPLACE", LIBRARY.format(2))
    delete = ("FUNCTION", "DELETE", "one")
    kill(source, target, [load, delete, ("SET", "a", 1)] if there else [load, delete, load, delete])
    running = worker(source, target)
    check_ready(running, source, target)
    assert target.client().function_list() == source.client().function_list() == []
    assert running.status()["rejected_commands"] == 0


def test_a_large_value(source: Server, target: Server, worker: Workers) -> None:
    """A value that is too large to be read is compared by its type and length, and held against nobody."""
    client = source.client(db=2)
    for _ in range(6):
        client.rpush("large", *[b"x" * 100_000] * 50)
    prepare(source, target, [])
    kill(source, target, [("SELECT", 2), ("RPUSH", "large", "x")])
    check_ready(worker(source, target), source, target)


def test_the_right_to_read_is_missing(source: Server, target: Server, worker: Workers) -> None:
    """The worker is not ready, says what it lacks, and becomes ready when it has it."""
    prepare(source, target, [(0, "list")])
    kill(source, target, [("RPUSH", "list", "x")])
    admin = source.client()
    admin.execute_command("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@all", "-dump")
    url = f"redis://reader:secret@127.0.0.1:{source.port}"
    running = worker(url, target, SHAKER_RETRY__ACCESS_SECONDS="1")
    running.wait_applied(source)
    status = running.wait_status(lambda status: "NOPERM" in str(status["reasons"]), "the reason to be named")
    assert not status["ready"]
    assert status["unconfirmed_bytes"] > 0
    admin.execute_command("ACL", "SETUSER", "reader", "+dump")
    check_ready(running, source, target)


def test_migrate_waits_for_it(source: Server, target: Server, worker: Workers) -> None:
    """A migration does not end before what is unconfirmed is compared."""
    prepare(source, target, [(0, "list")])
    kill(source, target, [("RPUSH", "list", "x")])
    assert worker(source, target, SHAKER_MODE="migrate").wait_ended() == 0
    assert differences(source, target) == []


def test_the_comparison_ends_under_load(source: Server, target: Server, worker: Workers) -> None:
    """A stream that makes keys of others all the time, over a distance: what it makes of equal ones need not wait."""
    with Proxy(source) as near, Proxy(target) as far, LoadProcess(source, seed=1, rate=500, keys=300):
        for proxy in (near, far):
            proxy.set(latency=0.025)
        running = worker(near.url, far.url, **FAST)
        for _ in range(3):
            running.wait_state("streaming")
            running.kill()
            running.start()
        found = running.wait_status(lambda document: document["unconfirmed_bytes"] > 0, "unconfirmed work")
        assert not found["ready"]
        running.wait_status(lambda document: document["ready"], "the worker to be ready", 60)
        assert running.events("unconfirmed work is compared")
