"""Function libraries that the target cannot load: never ready without them, however often the worker is started."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.test_refusals import refused
from tests.support.servers import Server
from tests.support.worker import Worker

Servers = Callable[..., Server]
Workers = Callable[..., Worker]

NEWER = (
    "#!lua name=lib8\nif redis.REDIS_VERSION_NUM < 0x00080000 then error('needs 8') end\n"
    "redis.register_function('f8', function() return 8 end)\n"
)
LIBRARY = "#!lua name=lib{0}\nredis.register_function('f', function() return '{0}' end)\n"


@pytest.mark.parametrize(("newer", "older"), [("redis-8.0", "redis-7.0"), ("redis-8.0", "valkey-8.0")])
def test_a_library_that_the_target_refuses(server: Servers, worker: Workers, newer: str, older: str) -> None:
    """4, each time."""
    source, target = server(newer), server(older)
    source.client().function_load(NEWER)
    source.client().set("a", 1)
    for _ in range(3):
        refused(worker(source, target), 4, "function libraries")


@pytest.mark.parametrize("name", ["redis-7.0", "redis-8.0", "valkey-8.1", "valkey-9.1"])
def test_a_function_whose_name_is_taken(server: Servers, worker: Workers, name: str) -> None:
    """Where both sides are merged: 4, each time, until one of them is gone."""
    source, target = server(name), server(name)
    source.client().function_load(LIBRARY.format("A"))
    source.client().set("a", 1)
    target.client().function_load(LIBRARY.format("B"))
    target.client().set("old", 1)
    merge = {"SHAKER_TARGET__ON_EXISTING": "merge"}
    for _ in range(3):
        refused(worker(source, target, **merge), 4, "function libraries")
    target.client().function_delete("libB")
    worker(source, target, **merge).wait_state("streaming")
    assert target.client().fcall("f", 0) == b"A"
