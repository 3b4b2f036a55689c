"""What the worker says of peers that are no server: proxies, and sources without a password."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.security.peers import FULLRESYNC, INFO, SMALL, HostilePeer, at_once, bulk
from tests.support.servers import Server
from tests.support.worker import Worker

Workers = Callable[..., Worker]


def failure(running: Worker, side: str) -> dict[str, str]:
    """The first failed attempt of a side."""
    found: dict[str, str] = running.wait(
        lambda: next((each for each in running.events("link failed") if each["side"] == side), None),
        "the failure in the log",
    )
    return found


def test_a_source_that_closes_at_info_is_a_proxy(target: Server) -> None:
    with HostilePeer(closes=b"INFO") as peer, Worker(peer.url, target) as running:
        event = failure(running, "source")

    assert event["error"] == (
        f"the source 127.0.0.1:{peer.port} closed the connection at INFO, as a proxy does that cannot carry replication"
    )
    assert event["hint"] == (
        "name the server behind the proxy in source.url (SHAKER_SOURCE__URL). Without a proxy, look into the server's "
        "log"
    )


@pytest.mark.parametrize("command", ["INFO", "COMMAND", "CLIENT"])
def test_a_target_that_closes_at_a_command_is_a_proxy(source: Server, command: str) -> None:
    info = INFO.replace(b"run_id:a", b"run_id:c").replace(b"master_replid:b", b"master_replid:d")
    replies = {b"INFO": bulk(info), b"COMMAND": b"*0\r\n"}
    with HostilePeer(closes=command.encode(), replies=replies) as peer, Worker(source, peer.url) as running:
        event = failure(running, "target")

    assert f"closed the connection at {command}, as a proxy does that cannot carry replication" in event["error"]
    assert "behind the proxy in target.url (SHAKER_TARGET__URL)" in event["hint"]


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_password_that_nobody_wants_is_to_be_removed(
    source: Server, target: Server, worker: Workers, side: str
) -> None:
    running = worker(source, target, **{f"SHAKER_{side.upper()}__PASSWORD": "hunter2"})
    event = failure(running, side)

    assert f"the {side} has no password for this user, and the worker gives one" in event["error"]
    assert event["hint"].startswith(
        f"remove the password: from {side}.url, {side}.password (SHAKER_{side.upper()}__PASSW"
    )


def test_an_error_inside_the_stream_is_quoted(target: Server) -> None:
    stream = b"*1\r\n$4\r\nPING\r\n-ERR replication is over\r\n"
    answer = at_once(FULLRESYNC + b"$%d\r\n" % len(SMALL) + SMALL + stream)
    with HostilePeer(psync=answer) as peer, Worker(peer.url, target) as running:
        assert running.wait_ended() == 4

    (event,) = running.events("replication ends")
    assert event["error"] == (
        "the source sent an error inside the stream, at offset 1014: '-ERR replication is over'"
    )
