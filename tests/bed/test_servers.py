"""The servers of the bed start, fail and end as told, in every version."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.support.servers import NAMES, SOURCES, Server, binary

Make = Callable[..., Server]

VERSIONS = dict(zip(SOURCES, ("5.0", "6.2", "7.0", "8.0", "8.0", "8.1", "9.1"), strict=True))


@pytest.mark.parametrize("name", SOURCES)
def test_each_version_is_what_it_is_called_and_ends_with_its_test(name: str) -> None:
    """Process and directory are gone behind the context."""
    with Server(name, maxmemory="100mb") as server:
        info, pid, directory = server.info("server"), server.pid, server.directory
        assert info.get("valkey_version", info["redis_version"]).startswith(VERSIONS[name])
        assert server.client().config_get("maxmemory") == {"maxmemory": str(100 * 1024 * 1024)}

    assert not Path(f"/proc/{pid}").exists()
    assert not directory.exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_server_starts_where_the_locale_is_not_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis 8.0 and Valkey 8 would end there."""
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")
    with Server(name) as server:
        assert server.client().ping()


def test_a_missing_server_is_an_error() -> None:
    """Never a skipped test."""
    with pytest.raises(FileNotFoundError, match="redis-servers"):
        binary("valkey-1.0")


def test_a_server_that_does_not_start_tells_why() -> None:
    """Its own log is in the message."""
    with pytest.raises(AssertionError, match="maxmemory-policy"), Server(maxmemory_policy="none-such"):
        pass


def test_restart_keeps_the_port_and_the_saved_data(server: Make) -> None:
    """By SIGTERM with `save`, by SIGKILL with the append-only file."""
    for settings in ({"save": "3600 1"}, {"appendonly": "yes", "appendfsync": "always"}):
        one = server(config=settings)
        one.client().set("key", 1)
        pid = one.pid

        one.restart(kill="appendonly" in settings)
        one.wait_loaded()

        assert one.client().get("key") == b"1"
        assert one.pid != pid


def test_a_paused_server_is_silent_and_goes_on(source: Server) -> None:
    """SIGSTOP keeps the connections open; a paused server can still be ended."""
    client = source.client(socket_timeout=0.2, retry=None)
    client.set("key", 1)

    source.pause()
    with pytest.raises(redis.TimeoutError):
        client.get("key")
    source.resume()

    assert client.get("key") == b"1"
    source.pause()
    pid = source.pid
    source.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_password_is_part_of_url_and_clients(server: Make) -> None:
    """All helpers use it, native replication too."""
    source, target = server(requirepass="word"), server()
    source.client().set("key", 1)

    target.replicate(source)

    with redis.Redis.from_url(source.url) as client:
        assert client.get("key") == b"1"
    assert target.client().get("key") == b"1"
