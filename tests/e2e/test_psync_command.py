"""PSYNC under another name: of a service that answers it as PSYNC, and of Redis's own rename-command."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.test_refusals import refused
from tests.support.compare import differences
from tests.support.relay import Relay
from tests.support.servers import SOURCES, Server
from tests.support.worker import Worker

Servers = Callable[..., Server]
Workers = Callable[..., Worker]


def renamed(arguments: list[bytes], data: bool) -> bytes | None:
    """Answer as a managed service that knows PSYNC by another name only."""
    if arguments[0] == b"PSYNC":
        return b"-ERR unknown command 'PSYNC', with args beginning with: '?' '-1' \r\n"
    if arguments[0] == b"XYZPSYNC":
        arguments[0] = b"PSYNC"
    return None


def test_a_service_that_renamed_psync(source: Server, target: Server, worker: Workers) -> None:
    """Snapshot, stream, and a partial sync after a restart."""
    source.client().set("key", 1)
    with Relay(source, renamed) as relay:
        running = worker(relay.url, target, SHAKER_SOURCE__PSYNC_COMMAND="xyzpsync")
        running.wait_state("streaming")
        source.client().incr("key")
        running.wait_applied(source)
        running.kill()
        source.client().incr("key")
        running.start()
        status = running.wait_applied(source)
    assert (status["full_syncs"], status["partial_syncs"]) == (0, 1)
    assert differences(source, target) == []


@pytest.mark.parametrize("mode", ["migrate", "snapshot"])
def test_psync_that_is_not_there(source: Server, target: Server, worker: Workers, mode: str) -> None:
    """3, and the hint names the setting; so it is for a name that the server does not know."""
    with Relay(source, renamed) as relay:
        running = worker(relay.url, target, SHAKER_MODE=mode)
        assert running.wait_ended() == 3
        (end,) = running.events("replication ends")
        assert "knows no PSYNC" in end["error"]
        assert "source.psync_command" in end["hint"]
    running = worker(source, target, SHAKER_MODE=mode, SHAKER_SOURCE__PSYNC_COMMAND="nopsync")
    assert running.wait_ended() == 3
    assert "knows no NOPSYNC" in running.events("replication ends")[0]["error"]


@pytest.mark.parametrize("name", SOURCES)
def test_psync_that_the_server_itself_renamed(server: Servers, target: Server, worker: Workers, name: str) -> None:
    """3, before anything is written: the server answers it as SYNC, without offsets."""
    source = server(name, rename_command=["PSYNC xyzpsync"])
    source.client().set("key", 1)
    refused(worker(source, target, SHAKER_SOURCE__PSYNC_COMMAND="xyzpsync"), 3, "no replication offset")
    assert target.client().keys("[^s]*") == []
