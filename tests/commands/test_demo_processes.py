"""The private servers and the worker of the demonstration: started, seen, and ended with the block."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from shaker.commands.demo_processes import DemoServer, server_program, start, wait
from shaker.errors import LinkError
from tests.support.servers import binary


def test_a_server_answers_on_its_socket_and_ends_with_the_block(tmp_path: Path) -> None:
    """It has no port and saves nothing."""
    with ExitStack() as stack:
        server = DemoServer(stack, tmp_path, "source", server_program())
        assert server.client.set("k", 1)
        assert server.url == f"unix://{tmp_path}/source.sock"
        assert server.client.dbsize() == 1
        assert server.info("stats", "total_commands_processed") > 1
        assert server.client.config_get("port") in ({"port": "0"}, {b"port": b"0"})
    with pytest.raises(redis.ConnectionError):
        redis.Redis(unix_socket_path=str(server.socket)).ping()


@pytest.mark.needs_servers("redis-8.0")
def test_a_server_starts_where_the_locale_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis 8.0 would end there."""
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")
    with ExitStack() as stack:
        assert DemoServer(stack, tmp_path, "source", binary("redis-8.0")).client.ping()


def test_a_server_that_ends_at_once_is_reported(tmp_path: Path) -> None:
    """With its exit code, and without waiting."""
    with ExitStack() as stack, pytest.raises(LinkError, match="exited with"):
        DemoServer(stack, tmp_path, "source", "/bin/false")


def test_a_process_ends_with_its_stack() -> None:
    """Also one that would run on."""
    with ExitStack() as stack:
        process = start(stack, [sys.executable, "-c", "import time; time.sleep(600)"])
        assert process.poll() is None

    assert process.poll() is not None


def test_waiting_ends_with_the_condition() -> None:
    """It is asked again and again."""
    answers = iter([False, False, True])
    wait(lambda: next(answers), "the condition")

    assert list(answers) == []
