"""Random values, written by real servers: decoded as their own commands tell, and rebuilt on another server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shaker.codec.values.content import content
from shaker.codec.values.decoder import decode, payload_version
from tests.codec.values.test_commands import LIMITS, rebuilt
from tests.support.servers import SOURCES, Server
from tests.support.value_content import agree, from_elements, from_server

Write = Callable[[redis.Redis], object]
KEY = "k"
TEXTS = st.one_of(
    st.binary(max_size=12),
    st.integers(-(1 << 63), (1 << 63) - 1).map(lambda number: b"%d" % number),
    st.integers(-200, 5000).map(lambda number: b"%d" % number),
    st.sampled_from([b"x" * size for size in (63, 64, 65, 254, 4095, 4096, 9000)]),
)
SCORES = st.floats(allow_nan=False)
IDS = st.tuples(st.integers(0, 40), st.integers(0, 3)).filter(any)


def called(*command: object) -> Write:
    """A step that runs one command, whether the server takes it or not."""

    def write(client: redis.Redis) -> None:
        with suppress(redis.ResponseError):
            client.execute_command(*command)  # type: ignore[arg-type]

    return write


def step(name: str, *parts: st.SearchStrategy[object]) -> st.SearchStrategy[Write]:
    """A step of one command with drawn arguments."""
    return st.tuples(*parts).map(lambda drawn: called(name, KEY, *drawn))


STREAM_ID = IDS.map(lambda pair: b"%d-%d" % pair)
NAMES = st.sampled_from([b"a", b"b", b"\x00"])
STREAM_STEPS = st.lists(
    st.one_of(
        step("XADD", STREAM_ID, st.sampled_from([b"f", b"g"]), TEXTS),
        step("XADD", STREAM_ID, TEXTS, TEXTS, TEXTS, TEXTS),
        step("XDEL", STREAM_ID),
        step("XTRIM", st.just(b"MAXLEN"), st.integers(0, 6)),
        NAMES.map(lambda name: called("XGROUP", "CREATE", KEY, name, "0", "MKSTREAM")),
        st.tuples(NAMES, NAMES, st.integers(1, 5)).map(
            lambda of: called("XREADGROUP", "GROUP", of[0], of[1], "COUNT", of[2], "STREAMS", KEY, ">")
        ),
        step("XACK", NAMES, STREAM_ID),
        st.tuples(NAMES, NAMES, STREAM_ID, st.integers(0, 9)).map(
            lambda of: called("XCLAIM", KEY, of[0], of[1], 0, of[2], "RETRYCOUNT", of[3], "TIME", 10**12 + of[3])
        ),
    ),
    min_size=1,
    max_size=40,
)
VALUES: st.SearchStrategy[list[Write]] = st.one_of(
    TEXTS.map(lambda value: [called("SET", KEY, value)]),
    st.binary(max_size=3).map(lambda value: [called("SET", KEY, value * 4000)]),
    st.lists(TEXTS, min_size=1, max_size=60).map(lambda values: [called("RPUSH", KEY, *values)]),
    st.lists(TEXTS, min_size=1, max_size=60).map(lambda values: [called("SADD", KEY, *values)]),
    st.lists(st.tuples(SCORES.map(repr), TEXTS), min_size=1, max_size=40).map(
        lambda pairs: [called("ZADD", KEY, *[part for pair in pairs for part in pair])]
    ),
    st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=40).map(
        lambda pairs: [called("HMSET", KEY, *[part for pair in pairs for part in pair])]
    ),
    STREAM_STEPS,
)


@pytest.fixture(scope="module", params=[SOURCES], ids=["all"])
def servers(request: pytest.FixtureRequest) -> Iterator[list[Server]]:
    """All servers at once."""
    with ExitStack() as stack:
        yield [stack.enter_context(Server(name)) for name in request.param]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=VALUES, source=st.integers(0, 6), goal=st.integers(0, 6))
def test_random_values_are_what_servers_tell(
    servers: list[Server], steps: list[Write], source: int, goal: int
) -> None:
    """Written to one server, decoded, and rebuilt on another one: both tell the same of it."""
    one, other = servers[source % len(servers)], servers[goal % len(servers)]
    client = one.client()
    client.flushall()
    for write in steps:
        write(client)
    payload = client.execute_command("DUMP", KEY)
    if payload is None:
        return
    told = json.loads(json.dumps(from_server(client, KEY)))
    version = payload_version(payload)
    assert agree(json.loads(json.dumps(from_elements(decode([payload], version=version)))), told)
    there = rebuilt(other, payload, limits=LIMITS)
    dumped = there.execute_command("DUMP", KEY)
    expected = content([payload], version=version)
    assert content([dumped], version=payload_version(dumped)).same(expected)
    unset = (
        ("seen", "active") if told.get("added") is not None else ("seen", "active", "read", "max_deleted", "added")
    )
    assert agree(json.loads(json.dumps(from_server(there, KEY))), told, unset)
