"""Commands make the same value again on every server, or it is refused by name before anything is written."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import redis

from shaker.codec.resp.requests import commands as requests_in
from shaker.codec.values.content import content
from shaker.codec.values.decoder import payload_version
from shaker.codec.values.target import Limits, Target, target_of
from shaker.errors import UnsupportedError
from shaker.rules.built_values import renamed
from tests.codec.values.golden_files import CASES, GOLDEN, Golden
from tests.support.rebuilding import rebuild
from tests.support.servers import SOURCES, Server
from tests.support.value_content import Content, agree, from_server

FAR = 4102444800123
LIMITS = Limits(bytes=4096, elements=50)


def target(name: str) -> Target:
    """The abilities of a server by its name."""
    family, version = name.split("-")
    major, minor = version.split(".")
    return target_of((int(major), int(minor)), valkey=family == "valkey")


def apply(client: redis.Redis, requests: list[bytes]) -> None:
    """Send requests as they are; each must be answered without an error."""
    connection = client.connection_pool.get_connection()
    try:
        for start in range(0, len(requests), 1000):
            some = requests[start : start + 1000]
            connection.send_packed_command([b"".join(some)])
            for _ in some:
                connection.read_response()
    finally:
        client.connection_pool.release(connection)


@pytest.fixture(scope="module", params=SOURCES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each server, until the module is done with it."""
    with Server(request.param) as started:
        yield started


def rebuilt(server: Server, payload: bytes, *, functions: bool = False, limits: Limits = LIMITS) -> redis.Redis:
    """Rebuild a payload as the key k, and return a client to look at it."""
    client = server.client()
    client.flushall()
    version = payload_version(payload)
    made = list(
        rebuild(
            payload,
            b"temporary",
            target(server.name),
            version=version,
            functions=functions,
            limits=limits,
        )
    )
    for one in made:
        [arguments] = requests_in(one)
        size = sum(map(len, arguments[2:]))
        largest = 2 * max(map(len, arguments)) + limits.bytes + 200
        assert size <= largest
        assert len(arguments) <= 2 * limits.elements + 12 or arguments[0] == b"XADD"
    apply(client, made)
    if not functions:
        apply(client, renamed(b"temporary", b"k", FAR))
        assert client.keys() == [b"k"]
        assert FAR - 10_000_000_000_000 < client.pttl("k") < FAR
    return client


@pytest.mark.parametrize("case", CASES)
def test_golden_values_are_rebuilt(server: Server, case: str) -> None:
    """The commands of each golden dump make its content again on each server, or what the server lacks is named."""
    for golden in GOLDEN[case]:
        if expressible(golden, target(server.name)):
            check_rebuilt(server, golden)
        else:
            with pytest.raises(UnsupportedError) as refused:
                next(requests_of(golden, server))
            assert refused.value.lacking


def expressible(golden: Golden, able: Target) -> bool:
    """Return whether commands can make the value on a server."""
    if golden.functions:
        return able.functions
    return golden.content["type"] != "module" and (able.field_expiry or not golden.expires)


def requests_of(golden: Golden, server: Server) -> Iterator[bytes]:
    """The requests for a value."""
    return rebuild(
        golden.payload,
        b"temporary",
        target(server.name),
        version=golden.version,
        functions=golden.functions,
        limits=LIMITS,
    )


def check_rebuilt(server: Server, golden: Golden) -> None:
    """Rebuild a value and compare it with what its own server told."""
    client = rebuilt(server, golden.payload, functions=golden.functions)
    expected = content([golden.payload], version=golden.version, functions=golden.functions)
    if golden.functions:
        assert content([client.execute_command("FUNCTION", "DUMP")], functions=True) == expected
        return
    dumped = client.execute_command("DUMP", "k")
    assert content([dumped], version=payload_version(dumped)).same(expected), golden.server
    found = json.loads(json.dumps(from_server(client, "k")))
    assert agree(found, golden.content, unset(golden.content)), (golden.server, found)


def unset(told: Content) -> tuple[str, ...]:
    """What commands do not set, or what a newer server makes up for what an older one does not tell."""
    return (
        ("seen", "active") if told.get("added") is not None else ("seen", "active", "read", "max_deleted", "added")
    )


def test_large_values_come_in_bounded_commands(server: Server) -> None:
    """No command is above the limits but for one element, and the value is whole."""
    client = server.client()
    client.flushall()
    client.set("k", b"ab" * 500_000)
    for limits in (Limits(bytes=1000, elements=3), Limits()):
        payload = client.dump("k")
        assert payload is not None
        made = list(rebuild(payload, b"t", target(server.name), limits=limits))
        assert max(map(len, made)) < limits.bytes + 100
        apply(client, [*made, *renamed(b"t", b"k", 0)])
        assert client.get("k") == b"ab" * 500_000


@pytest.mark.parametrize(
    ("version", "valkey", "able"),
    [
        ((5, 0), False, Target(False, False, False, False)),
        ((6, 2), False, Target(False, False, True, False)),
        ((7, 0), False, Target(False, True, True, True)),
        ((7, 4), False, Target(True, True, True, True)),
        ((8, 1), True, Target(False, True, True, True)),
        ((9, 0), True, Target(True, True, True, True)),
    ],
)
def test_abilities_follow_the_version(version: tuple[int, int], valkey: bool, able: Target) -> None:
    """Redis and Valkey came to the commands at different versions."""
    assert target_of(version, valkey=valkey) == able
