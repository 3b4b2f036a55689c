"""Commands make the same value again on every server, or it is refused by name before anything is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from shaker.codec.resp.requests import commands as requests_in
from shaker.codec.values.commands import publish, rebuild
from shaker.codec.values.content import content
from shaker.codec.values.decoder import payload_version
from shaker.codec.values.target import Limits, Target, target_of
from shaker.errors import UnsupportedError
from tests.support.servers import SOURCES, Server
from tests.support.value_content import agree, from_server

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.dump"))
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
            lambda: [payload],
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
        apply(client, publish(b"temporary", b"k", FAR))
        assert client.keys() == [b"k"]
        assert FAR - 10_000_000_000_000 < client.pttl("k") < FAR
    return client


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_values_are_rebuilt(server: Server, path: Path) -> None:
    """The commands of each golden dump make its content again on each server, or what the server lacks is named."""
    payload = path.read_bytes()
    kind, _encoding, _ = path.stem.split("_")
    able = target(server.name)
    functions = kind == "functions"
    if kind == "module" or (functions and not able.functions) or (_expires(path) and not able.field_expiry):
        with pytest.raises(UnsupportedError) as refused:
            next(rebuild(lambda: [payload], b"t", able, version=payload_version(payload), functions=functions))
        assert refused.value.lacking
        return
    client = rebuilt(server, payload, functions=functions)
    version = payload_version(payload)
    if functions:
        dumped = client.execute_command("FUNCTION", "DUMP")
        assert content([dumped], functions=True) == content([payload], functions=True)
        return
    dumped = client.execute_command("DUMP", "k")
    expected = content([payload], version=version)
    assert content([dumped], version=payload_version(dumped)).same(expected)
    told = json.loads(path.with_suffix(".json").read_text())
    found = json.loads(json.dumps(from_server(client, "k")))
    unset = ("seen", "active") if able.stream_counters or kind != "stream" else ("seen", "active", "read")
    if kind == "stream" and not _counts(told):  # an older server does not tell what a newer one makes up
        unset = (*unset, "read", "max_deleted", "added")
    assert agree(found, told, unset), (found, told)


def _expires(path: Path) -> bool:
    found = json.loads(path.with_suffix(".json").read_text())
    return bool(found["type"] == "hash" and any(at != -1 for _, _, at in found["value"]))


def _counts(told: dict[str, object]) -> bool:
    return told["added"] is not None
