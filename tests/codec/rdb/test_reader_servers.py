"""Snapshots of real servers, read in all ways and restored on all of them."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable

import pytest
import redis

from shaker.codec.rdb.reader import SnapshotReader
from shaker.model.entries import Aux, Library, Resize
from tests.codec.conftest import LIBRARY, Saved, digest
from tests.support.rdb_bytes import keys, merge, read
from tests.support.servers import NAMES, Server, cli

# Which RDB versions a server takes in a payload: src/cluster.c verifyDumpPayload, and Valkey 9's range of versions
# that are foreign to it.
ACCEPTED = {
    "redis-6.2": range(10),
    "redis-7.0": range(11),
    "redis-8.0": range(13),
    "valkey-8.0": range(12),
    "valkey-8.1": range(12),
    "valkey-9.1": [*range(12), 80],
}
# The value types that each server writes for the keys of conftest.fill.
WRITTEN = {
    "redis-6.2": {0, 2, 4, 5, 11, 12, 13, 14, 15},
    "redis-7.0": {0, 2, 4, 5, 11, 16, 17, 18, 19},
    "redis-8.0": {0, 2, 4, 5, 11, 16, 17, 18, 20, 21, 24, 25},
    "valkey-8.0": {0, 2, 4, 5, 11, 16, 17, 18, 20, 21},
    "valkey-8.1": {0, 2, 4, 5, 11, 16, 17, 18, 20, 21},
    "valkey-9.1": {0, 2, 4, 5, 11, 16, 17, 18, 20, 21, 22},
}
SETTINGS = ({}, {"rdbcompression": "no", "rdbchecksum": "no"})


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("settings", SETTINGS, ids=["compressed", "plain"])
def test_keys_are_what_the_server_dumps(saved: Callable[..., Saved], name: str, settings: dict[str, str]) -> None:
    """Each key comes with its expiry and the bytes of the server's own DUMP, but for version and checksum."""
    made = saved(name, **settings)
    found = keys(read(made.rdb))
    assert found.keys() == made.dumps.keys()
    for place, entry in found.items():
        assert entry.payload[:-10] == made.dumps[place][:-10]
        assert entry.expires_at_ms == made.expiries[place]
        assert (entry.idle_seconds, entry.frequency) == (-1, -1)
    assert {entry.payload[0] for entry in found.values()} == WRITTEN[name]


def test_fields_libraries_and_sizes(saved: Callable[..., Saved], name: str) -> None:
    """What is no key: fields about the snapshot, function libraries, the number of keys of each database."""
    made = saved(name)
    reader = SnapshotReader()
    events = read(made.rdb, reader=reader)
    fields = {event.name: event.value for event in events if isinstance(event, Aux)}
    assert fields[b"redis-bits"] == b"64"
    assert fields[b"valkey-ver" if name.startswith("valkey") else b"redis-ver"].startswith(
        name.split("-")[1].encode()
    )
    assert [event.code for event in events if isinstance(event, Library)] == made.libraries
    assert made.libraries == ([] if name == "redis-6.2" else [LIBRARY])
    sizes = {event.database: (event.keys, event.expires) for event in events if isinstance(event, Resize)}
    assert sizes == {0: (len([1 for database, _ in made.dumps if database == 0]), 2), 3: (2, 1), 15: (1, 0)}
    assert reader.magic == (b"VALKEY" if name == "valkey-9.1" else b"REDIS")
    assert reader.version == max(ACCEPTED[name])
    assert reader.done
    assert reader.consumed == len(made.rdb)


@pytest.mark.parametrize("settings", SETTINGS, ids=["compressed", "plain"])
def test_any_split_gives_the_same(saved: Callable[..., Saved], name: str, settings: dict[str, str]) -> None:
    """Byte by byte, in steps and in random pieces, with bytes behind the end: the same events."""
    data = saved(name, **settings).rdb
    whole = read(data)
    if not settings:
        assert read(data, 1) == whole
    for step in (3, 17, 4096, 65536):
        assert read(data, step) == whole
    dice = random.Random(name)
    for _ in range(5):
        reader = SnapshotReader()
        events, at = [], 0
        tail = dice.randbytes(dice.randrange(1, 100))
        while at < len(data) + len(tail):
            size = dice.choice((1, 5, 50, 500, 50_000))
            events += reader.feed((data + tail)[at : at + size])
            at += size
        assert merge(events) == whole
        assert reader.rest() == tail
        assert reader.consumed == len(data)


def test_a_snapshot_cut_short_is_never_done(saved: Callable[..., Saved], name: str) -> None:
    data = saved(name).rdb
    reader = SnapshotReader()
    reader.feed(data[:-1])
    assert not reader.done
    assert reader.rest() == b""
    reader.feed(data[-1:])
    assert reader.done


@pytest.mark.parametrize("target", NAMES)
def test_every_server_takes_what_it_knows(
    saved: Callable[..., Saved], shared: Callable[[str], Server], name: str, target: str
) -> None:
    """RESTORE on every other version: the same value, or a refusal where the type is newer or foreign."""
    made = saved(name)
    server = shared(target)
    clients = {database: server.client(db=database) for database in (0, 3, 15)}
    for (database, key), entry in keys(read(made.rdb)).items():
        client = clients[database]
        arguments = (key, max(entry.expires_at_ms, 0), entry.payload, "REPLACE", "ABSTTL")
        if int.from_bytes(entry.payload[-10:-8], "little") not in ACCEPTED[target]:
            with pytest.raises(redis.ResponseError, match="DUMP payload version or checksum are wrong"):
                client.execute_command("RESTORE", *arguments)
            continue
        assert client.execute_command("RESTORE", *arguments) in (b"OK", True)
        assert digest(client, key) == made.digests[database, key], key[:50]
        assert (client.pttl(key) > 0) == (entry.expires_at_ms > 0)
        # A hash table may come in another order; all else must be the same to the byte on the same version.
        if target == name and entry.payload[0] not in (2, 4, 22, 24):
            assert client.dump(key) == made.dumps[database, key]


@pytest.mark.needs_servers("redis-8.0", "valkey-9.1")
def test_fields_keep_their_expiry(saved: Callable[..., Saved], shared: Callable[[str], Server]) -> None:
    for name in ("redis-8.0", "valkey-9.1"):
        client = shared(name).client()
        found = keys(read(saved(name).rdb))
        for key in (b"hash:fields-expire", b"hash:many-expire"):
            client.restore(key, 0, found[0, key].payload)
        assert client.execute_command("HPEXPIRETIME", "hash:fields-expire", "FIELDS", 2, "b", "c") == [
            4102444800123,
            -1,
        ]
        assert client.execute_command("HPEXPIRETIME", "hash:many-expire", "FIELDS", 2, "693", "694") == [
            4102444800816,
            -1,
        ]


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu"])
def test_use_of_keys(saved: Callable[..., Saved], name: str, policy: str) -> None:
    """With an eviction policy each key has its idle time in seconds or its access frequency."""
    data = saved(name, maxmemory="1gb", maxmemory_policy=policy).rdb
    found = keys(read(data))
    assert found
    for entry in found.values():
        if policy == "allkeys-lru":
            assert 0 <= entry.idle_seconds < 600
            assert entry.frequency == -1
        else:
            assert 0 < entry.frequency <= 255
            assert entry.idle_seconds == -1
    assert found == keys(read(data, 1000))


def test_a_long_idle_time(server: Callable[..., Server]) -> None:
    """An idle time of more than 63 s, whose length has another form."""
    source = server(maxmemory="1gb", maxmemory_policy="allkeys-lru")
    client = source.client()
    client.set("k", "v")
    client.execute_command("RESTORE", "k", 0, client.dump("k"), "REPLACE", "IDLETIME", 5000)
    client.save()
    [entry] = keys(read((source.directory / "dump.rdb").read_bytes())).values()
    assert 5000 <= entry.idle_seconds < 5100


def test_a_replication_snapshot(server: Callable[..., Server], name: str) -> None:
    """A snapshot sent to a replica names the database that the stream goes on in."""
    source = server(name)
    source.client(db=3).set("k", "v")
    path = source.directory / "replica.rdb"
    subprocess.run([cli(), "-p", str(source.port), "--rdb", str(path)], check=True, capture_output=True, timeout=60)
    events = read(path.read_bytes())
    assert Aux(b"repl-stream-db", b"0") in events
    assert keys(events).keys() == {(3, b"k")}
