"""The commands that a target has, by its version."""

from __future__ import annotations

import pytest
import redis

from shaker.codec.values.target import DEFAULT_LIMITS, Target, target_of
from tests.support.servers import SOURCES, Server


@pytest.mark.parametrize(
    ("version", "valkey", "expected"),
    [
        ((5, 0), False, Target(False, False, False, False)),
        ((6, 2), False, Target(False, False, True, False)),
        ((7, 0), False, Target(False, True, True, True)),
        ((7, 4), False, Target(True, True, True, True)),
        ((7, 2), True, Target(False, True, True, True)),
        ((8, 1), True, Target(False, True, True, True)),
        ((9, 0), True, Target(True, True, True, True)),
    ],
    ids=str,
)
def test_abilities_by_version(version: tuple[int, int], valkey: bool, expected: Target) -> None:
    """Redis and Valkey count their versions apart since 7.2."""
    assert target_of(version, valkey=valkey) == expected


@pytest.mark.parametrize("name", SOURCES)
def test_abilities_are_those_of_the_server(name: str) -> None:
    """Each server at hand knows HPEXPIREAT and FUNCTION exactly where it is said to."""
    family, _, text = name.partition("-")
    major, minor = map(int, text.split("."))
    abilities = target_of((major, minor), valkey=family == "valkey")
    with Server(name) as server:
        known = [_knows(server, each) for each in ("HPEXPIREAT", "FUNCTION")]
    assert [abilities.field_expiry, abilities.functions] == known


def _knows(server: Server, command: str) -> bool:
    with pytest.raises(redis.ResponseError) as refused:
        server.client().execute_command(command)
    return "unknown command" not in str(refused.value)


def test_default_limits_hold_a_command_small() -> None:
    """64 KiB and 128 elements: a server is not held up by one of them."""
    assert DEFAULT_LIMITS == (65536, 128)
