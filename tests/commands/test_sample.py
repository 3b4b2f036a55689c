"""The load changes keys of every type in several databases, one seed one sequence, and outlives its server."""

from __future__ import annotations

import pytest
import redis

from shaker.commands.sample import Load, Sampler, seed
from shaker.errors import LinkError
from tests.support.load import LoadProcess
from tests.support.servers import Server, wait_until

TYPES = {b"string", b"hash", b"list", b"set", b"zset", b"stream"}


def test_the_seed_makes_so_many_keys_of_every_type(source: Server) -> None:
    """Some of them expire."""
    client = source.client()

    seed(client, 5_000)

    assert client.dbsize() == 5_000
    keys = client.scan_iter(count=1000)
    assert {client.type(key) for key in keys} == TYPES
    assert client.info("keyspace")["db0"]["expires"] > 400


def test_a_refused_seed_is_an_error(source: Server) -> None:
    """The seed is written without replies, yet nothing is lost unseen."""
    source.client().config_set("maxmemory", 1)

    with pytest.raises(LinkError, match="refused"):
        seed(source.client(), 100)


def test_one_seed_draws_one_sequence() -> None:
    """So a failure can be repeated."""
    one, other, third = Sampler(7), Sampler(7), Sampler(8)

    drawn = [one.write() for _ in range(500)]

    assert drawn == [other.write() for _ in range(500)]
    assert drawn != [third.write() for _ in range(500)]


def test_load_writes_by_many_commands_to_several_databases(source: Server) -> None:
    """Some commands are refused, as in real life, most are not."""
    with Load(source.client(), rate=None) as load:
        wait_until(lambda: load.operations >= 5_000, "5,000 operations")

    assert load.refused < load.operations / 5
    assert {"db0", "db1", "db5"} <= set(source.info("keyspace"))
    written = set(source.info("commandstats"))
    for name in (
        "set",
        "incr",
        "rpush",
        "lpop",
        "hset",
        "zadd",
        "spop",
        "exec",
        "eval",
        "xreadgroup",
        "rename",
        "copy",
    ):
        assert f"cmdstat_{name}" in written


def test_load_keeps_its_rate(source: Server) -> None:
    """Operations per second."""
    with Load(source.client(), rate=1000) as load:
        wait_until(lambda: load.operations >= 500, "500 operations")
        rate = source.info("stats")["instantaneous_ops_per_sec"]

    assert rate < 5000


def test_load_goes_on_when_the_server_comes_back(source: Server) -> None:
    """Lost connections are counted."""
    client = source.client(retry=None)
    with Load(client, rate=None) as load:
        wait_until(lambda: load.operations, "the first operations")
        source.restart(kill=True)
        before = load.operations
        wait_until(lambda: load.operations > before + 1000, "the load to go on")

    assert load.lost_connections >= 1


def test_what_ends_the_load_early_is_raised_by_stop(source: Server) -> None:
    """A test cannot go on with a load that has ended."""
    source.client().execute_command("ACL", "SETUSER", "default", ">word", "resetpass", ">word")
    client = redis.Redis(port=source.port, password="wrong", retry=None)
    load = Load(client).start()
    wait_until(lambda: load.failure, "the load to fail")

    with pytest.raises(redis.AuthenticationError):
        load.stop()
    client.close()


def test_load_of_a_process_of_its_own(source: Server) -> None:
    """It tells its counts when stopped."""
    with LoadProcess(source, rate=5000) as load:
        wait_until(lambda: source.client().dbsize() > 100, "keys")

    assert load.operations > 0
    assert load.lost_connections == 0
