"""Values that are built by commands: never seen half, and removed where they stay unfinished."""

from __future__ import annotations

import os
import threading

import pytest

from tests.support.compare import differences
from tests.support.proxy import Proxy
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker

BUILDING = "shaker:building:default"
ELEMENTS = 150_000
SETTINGS = {"SHAKER_TARGET__RESTORE_LIMIT": "1MiB"}


def fill(server: Server) -> None:
    """Write a list, a hash, a stream and a string, each above the limit."""
    client = server.client(db=2)
    client.flushall()
    script = "for i = ARGV[1], ARGV[2] do redis.call(unpack({%s})) end"
    pushed = client.register_script(script % "'RPUSH', KEYS[1], 'element:' .. i * 7919 % 1000003")
    hashed = client.register_script(script % "'HSET', KEYS[1], 'field:' .. i, 'value:' .. i")
    added = client.register_script(script % "'XADD', KEYS[1], i .. '-1', 'field', 'value:' .. i * 7919 % 1000003")
    pushed(keys=["list"], args=[1, ELEMENTS])
    hashed(keys=["hash"], args=[1, ELEMENTS])
    added(keys=["stream"], args=[1, ELEMENTS])
    client.pexpire("hash", 900_000)
    client.xgroup_create("stream", "group", "0")
    client.xreadgroup("group", "consumer", {"stream": ">"}, count=1000)
    client.xdel("stream", "5-1", "700-1")
    client.set("string", os.urandom(1000) * 3000)


def test_no_command_of_a_large_value_blocks_the_target(source: Server, target: Server) -> None:
    """By default a value of some MiB is built by small commands, and a full sync frees earlier data aside.

    RESTORE of such a value takes some 100 ms of the target; a count of commands is the same on every machine.
    The hash has 3.5 MiB; the others are smaller in a snapshot and go by RESTORE.
    """
    fill(source)
    target.client().mset({f"earlier:{number}": number for number in range(1000)})
    target.client().config_resetstat()
    with Worker(source, target, SHAKER_TARGET__ON_EXISTING="flush") as worker:
        worker.wait_state("streaming")
        worker.wait_applied(source)
    calls = target.info("commandstats")
    assert calls["cmdstat_restore"]["calls"] <= 3
    assert target.info("memory")["lazyfreed_objects"] >= 1000
    assert calls["cmdstat_hset"]["calls"] >= ELEMENTS // 128
    assert differences(source, target) == []


def test_readers_see_the_old_value_or_the_new_one(source: Server, target: Server) -> None:
    """In a full sync onto an empty target, and in one over other values of the same names."""
    fill(source)
    seen: set[tuple[int, int]] = set()
    stopped = threading.Event()

    def look() -> None:
        reader = target.client(db=2)
        while not stopped.is_set():
            seen.add((reader.llen("list"), reader.hlen("hash")))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        with Worker(source, target, **SETTINGS) as worker:
            worker.wait_state("streaming")
            worker.wait_applied(source)
            assert differences(source, target) == []
    finally:
        stopped.set()
        looking.join()
    assert seen <= {(0, 0), (ELEMENTS, 0), (0, ELEMENTS), (ELEMENTS, ELEMENTS)}
    assert (ELEMENTS, ELEMENTS) in seen


@pytest.mark.parametrize("restarted", [True, False])
def test_an_unfinished_value_is_removed(source: Server, target: Server, restarted: bool) -> None:
    """After a SIGKILL by the next worker, after a lost connection by the next one."""
    fill(source)
    copy = target.client(db=2)
    with (
        Proxy(target) as proxy,
        Worker(source, proxy.url, SHAKER_RETRY__FULL_SYNC_SECONDS="0", **SETTINGS) as worker,
    ):
        proxy.set("up", bandwidth=2_000_000)
        wait_until(lambda: copy.exists(BUILDING), "a value to be begun")
        if restarted:
            worker.kill()
            assert copy.exists(BUILDING)
            source.client(db=2).delete("list", "hash", "stream", "string")
            source.client(db=2).set("small", 1)
            proxy.heal()
            worker.start()
        else:
            for connection in copy.client_list():
                if connection["name"].startswith("shaker-writer"):
                    copy.execute_command("CLIENT", "KILL", "ID", connection["id"])
            proxy.heal()
        worker.wait_state("streaming")
        worker.wait_applied(source)

        assert copy.exists(BUILDING) == 0
        assert differences(source, target) == []
        assert worker.status()["rejected_commands"] == 0
