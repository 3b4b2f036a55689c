"""INFO as typed fields: what real servers say, and what an untrusted peer may say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.model.server_info import MAX_INFO_VALUE, ExpiryCounters, ServerInfo, parse_info
from tests.support.info import server_info
from tests.support.servers import NAMES, Server


@pytest.mark.parametrize("name", NAMES)
def test_each_section_of_a_real_server_is_read(name: str, shared: Callable[[str], Server]) -> None:
    """Every supported version gives the fields that the worker relies on."""
    server = shared(name)
    client = server.client()
    client.flushall()
    client.set("key", 1)
    server.client(db=3).mset({"a": 1, "b": 2})
    connection = client.connection_pool.get_connection()
    connection.send_command("INFO")
    found = parse_info(connection.read_response(disable_decoding=True))
    connection.disconnect()
    client.flushall()
    plain = client.info()
    assert found.name == f"{'Valkey' if name.startswith('valkey') else 'Redis'} {found.version}"
    assert name.partition("-")[2] in found.version
    assert found.is_valkey == name.startswith("valkey")
    assert (found.run_id, found.replication.replid) == (plain["run_id"], plain["master_replid"])
    assert found.release >= (4, 0)
    assert (found.keyspace, found.keys, found.expiring) == ({0: 1, 3: 2}, 3, 0)
    assert found.replication.role == "master"
    assert not found.replication.is_replica
    assert found.replication.offset is not None
    assert found.replication.backlog_length is not None
    assert found.memory.policy == "noeviction"
    assert (found.memory.limit, found.memory.evicted_keys) == (0, 0)
    assert found.memory.used
    assert not found.persistence.loading
    assert found.persistence.rdb_save_ok
    assert not found.cluster_enabled
    assert found.expired is not None


@pytest.mark.parametrize("reply", [b"", b"fine", b"\xff\r\n\x00", b"# Server\r\n:\r\n", b"run_id"])
def test_a_reply_that_is_no_info_has_no_fields(reply: bytes) -> None:
    """Nothing in it is taken for a field."""
    assert parse_info(reply) == ServerInfo()


@pytest.mark.parametrize("number", ["", "-1", "1.5", "9" * 20, "9" * 5000, "\u0663", "x"])
def test_a_malformed_number_counts_as_absent(number: str) -> None:
    """Also one of more digits than Python converts."""
    found = server_info(
        master_repl_offset=number, evicted_keys=number, expired_keys=number, db0=f"keys={number},expires=0"
    )
    assert found.replication.offset is None
    assert found.memory.evicted_keys is None
    assert found.expired is None
    assert found.keyspace == {}
    assert parse_info(f"db{number}:keys=1,expires=0\r\n".encode()).keyspace == {}
    assert server_info(redis_version=f"7.x{number}").release == (0, 0)


def test_keys_expire_where_the_server_does_not_say_how_many() -> None:
    """A service may leave the field out; its keys are not taken for keys without an expiry."""
    assert parse_info(b"db0:keys=7,expires=2,avg_ttl=0\r\ndb5:keys=4\r\n").expiring == 6
    assert parse_info(b"db0:keys=7,expires=,avg_ttl=0\r\n").expiring == 7


def test_a_value_beyond_the_longest_path_is_left_out() -> None:
    """What no server says is not kept."""
    assert server_info(run_id="r" * (MAX_INFO_VALUE + 1)).run_id == ""
    assert server_info(run_id="r" * MAX_INFO_VALUE).run_id == "r" * MAX_INFO_VALUE


@pytest.mark.parametrize("name", ["expired_subkeys", "expired_fields"])
def test_expired_hash_fields_are_counted_under_either_name(name: str) -> None:
    """Redis and Valkey name them differently."""
    steady = {"total_connections_received": 1, "total_commands_processed": 2, "total_net_input_bytes": 3}
    assert server_info(expired_keys=5, **{name: 7}, **steady).expired == ExpiryCounters(5, 7, (1, 2, 3))
    assert server_info(expired_keys=5, **steady).expired == ExpiryCounters(5, 0, (1, 2, 3))
    assert server_info(expired_keys=5, **{name: "x"}, **steady).expired is None


def test_ids_of_zeros_are_no_history() -> None:
    """A server that had no other history before gives zeros."""
    assert server_info(master_replid="a" * 40, master_replid2="0" * 40).replication.replids == ("a" * 40,)
