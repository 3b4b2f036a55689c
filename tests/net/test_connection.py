"""One connection: requests and replies, and a named error for every way in which it can end."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable

import pytest

from shaker.errors import AccessError, LinkError
from shaker.net.connection import Connection, ReplyError, connect
from shaker.net.first_to_finish import first_to_finish
from shaker.settings.url import parse_address
from tests.support.servers import Server, free_port

pytestmark = pytest.mark.anyio


def opening(url: str, *, timeout: float = 10.0, tls: ssl.SSLContext | None = None):
    """Open a connection to a target."""
    return connect(parse_address(url), side="target", tls=tls, connect_timeout=2.0, timeout=timeout)


async def test_requests_and_replies(target: Server) -> None:
    """Replies come in the order of the requests, errors in their places."""
    async with opening(target.url) as connection:
        assert await connection.call("SET", "k", b"\xff\r\n") == b"OK"
        assert await connection.call("GET", "k") == b"\xff\r\n"
        replies = await connection.pipeline([("INCR", "n"), ("LPUSH", "k", 1), ("MGET", "n", "none"), ("PING",)])
        assert [replies[0], *replies[2:]] == [1, [b"1", None], b"PONG"]
        assert isinstance(replies[1], ReplyError)
        assert str(replies[1]).startswith("WRONGTYPE")
        with pytest.raises(ReplyError, match="WRONGTYPE"):
            await connection.call("LPUSH", "k", 1)
        assert await connection.call("PING") == b"PONG"


async def test_a_large_reply(target: Server) -> None:
    """A reply of many reads is put together."""
    target.client().set("big", b"v" * 3_000_000)
    async with opening(target.url) as connection:
        assert len(await connection.call("GET", "big")) == 3_000_000


@pytest.mark.parametrize("waits", ["receive", "send"])
async def test_a_wait_that_is_watched(waits: str) -> None:
    """One task watches all waits of a connection: each ends by the error that its own deadline would raise."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}"
        async with opening(url, timeout=0.4) as connection:
            began = time.monotonic()

            async def wait() -> None:
                while waits == "send":
                    await connection.send(b"x" * 1_000_000)
                await connection.receive()

            with pytest.raises(LinkError) as caught:
                await first_to_finish(connection.watch, wait)
            assert caught.value.kind == "timeout"
            what = "did not take data for 0.4 s" if waits == "send" else "sent nothing for 0.4 s"
            assert caught.value.what.endswith(what)
            assert 0.4 <= time.monotonic() - began < 5.0


async def test_waits_that_follow_each_other_are_watched_one_by_one(target: Server) -> None:
    """A dialogue with timely answers may last longer than one wait."""
    async with opening(target.url, timeout=0.6) as connection:

        async def ask() -> None:
            until = time.monotonic() + 1.2
            while time.monotonic() < until:
                assert await connection.call("DEBUG", "SLEEP", "0.2") == b"OK"

        await first_to_finish(connection.watch, ask)


async def test_a_unix_socket(server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> None:
    """A path instead of host and port."""
    path = tmp_path_factory.mktemp("socket") / "s"
    server(unixsocket=str(path))
    async with opening(f"unix://{path}") as connection:
        assert await connection.call("PING") == b"PONG"


async def test_nobody_listens() -> None:
    """The error names side and address, and says in the system's words what happened."""
    port = free_port()
    with pytest.raises(LinkError) as caught:
        async with opening(f"redis://127.0.0.1:{port}"):
            pass

    assert caught.value.kind == "connect"
    assert f"target 127.0.0.1:{port}: " in caught.value.what
    assert "refused" in caught.value.what
    assert "target.url" in caught.value.hint


async def test_an_address_that_does_not_exist() -> None:
    """A name that is not found and a path that is not there are errors of the connection, nothing worse."""
    for url in ("redis://no-such-host.invalid:1", "unix:///nowhere/to/be/found"):
        with pytest.raises(LinkError) as caught:
            async with opening(url):
                pass
        assert caught.value.kind == "connect"
        assert caught.value.retry


async def test_a_listener_that_accepts_nobody() -> None:
    """A connect that hangs ends at its deadline."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}"
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        with pytest.raises(LinkError, match=r"within 0\.2 s") as caught:
            async with connect(parse_address(url), side="source", tls=None, connect_timeout=0.2, timeout=1):
                pass
        for one in waiting:
            one.close()
    assert caught.value.kind == "connect"


async def test_a_server_that_stalls(target: Server) -> None:
    """Neither a read nor a write waits longer than it may."""
    async with opening(target.url, timeout=0.2) as connection:
        target.pause()
        try:
            with pytest.raises(LinkError, match=r"sent nothing for 0\.2 s") as caught:
                await connection.call("PING")
            assert caught.value.kind == "timeout"
            with pytest.raises(LinkError, match=r"sent nothing for 0\.1 s"):
                await connection.receive(timeout=0.1)
            with pytest.raises(LinkError, match="did not take data") as caught:
                await connection.send(b"\r\n" * 30_000_000)
            assert caught.value.kind == "timeout"
        finally:
            target.resume()


async def test_a_server_that_ends(target: Server) -> None:
    """A lost connection is named as such, reading and writing."""
    async with opening(target.url) as connection:
        target.kill()
        with pytest.raises(LinkError) as caught:
            await connection.receive()
        assert caught.value.kind == "lost"
        with pytest.raises(LinkError) as caught:
            await connection.send(b"PING\r\n" * 1_000_000)
        assert caught.value.kind == "lost"


async def test_credentials(server: Callable[..., Server]) -> None:
    """Right ones are accepted; wrong ones are an error that names the settings, never the password."""
    target = server(requirepass="right")

    async def login(connection: Connection, user: str | None, password: str | None) -> None:
        await connection.authenticate(user, password)
        await connection.call("PING")

    async with opening(target.url) as connection:
        await login(connection, None, "right")
        await login(connection, "default", "right")
        with pytest.raises(AccessError) as caught:
            await login(connection, None, "hunter2")
        assert "hunter2" not in str(caught.value)
        assert "target.password" in caught.value.hint
    async with opening(target.url) as connection:
        with pytest.raises(ReplyError, match="NOAUTH"):
            await login(connection, None, None)
