"""The client for control connections: it only reads, checks each reply, and bounds what a hostile peer may send."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from shaker.errors import AccessError, LinkError, ServerBusyError
from shaker.net.client import Asked, OtherServerError, count, each, open_client
from shaker.net.connection import ReplyError
from shaker.settings.endpoints import Endpoint
from shaker.settings.schema import Settings
from tests.support.servers import Server

pytestmark = pytest.mark.anyio


def endpoint(url: str, **values: object) -> Endpoint:
    """Return the settings of a target at `url`."""
    return Settings(source={"url": "redis://source"}, target={"url": url, **values}).target  # type: ignore[arg-type]


@asynccontextmanager
async def peer(*replies: bytes, repeat: int = 1) -> AsyncIterator[Endpoint]:
    """Listen, and answer each request with the next reply, sent `repeat` times."""
    waiting = list(replies)

    async def serve(stream: SocketStream) -> None:
        async with stream:
            while waiting:
                await stream.receive()
                reply = waiting.pop(0)
                try:
                    for _ in range(repeat):
                        await stream.send(reply)
                except (anyio.BrokenResourceError, OSError):
                    return
            await anyio.sleep_forever()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, serve)
        yield endpoint(f"redis://127.0.0.1:{listener.extra(SocketAttribute.local_port)}")
        tasks.cancel_scope.cancel()


async def test_info_is_typed_and_of_the_expected_server(target: Server) -> None:
    """A server with another run id is another server."""
    async with open_client(endpoint(target.url)) as client:
        info = await client.info()
        assert info.run_id == target.client().info("server")["run_id"]
        assert (await client.info_of(info.run_id)).name == info.name
        assert (await client.info("keyspace")).run_id == ""
        with pytest.raises(OtherServerError, match="another server answers for the target"):
            await client.info_of("f" * 40)


async def test_commands_that_write_are_a_mistake_of_the_caller(target: Server) -> None:
    """Writes to a target go through its one registered connection; nothing of such a pipeline is sent."""
    async with open_client(endpoint(target.url)) as client:
        for request in (
            ("SET", "k", 1),
            ("CLIENT", "KILL", "ID", 1),
            ("CONFIG", "SET", "maxmemory", 1),
            ("EVAL", "", 0),
        ):
            with pytest.raises(ValueError, match="only reads"):
                await client.pipeline([("INFO",), request])
        with pytest.raises(ValueError, match="only reads"):
            await client.pipeline([("INFO",), each([("TYPE",), ("DEL",)], [b"k"])])
        assert await client.call("EXISTS", "k") == 0
        assert await client.call("CONFIG", "GET", "maxmemory") == [b"maxmemory", b"0"]


async def test_many_keys_are_asked_for_at_once(target: Server) -> None:
    """Their replies come key by key, among those of other requests."""
    target.client(db=2).set("a", 1)
    asked: list[Asked] = [("SELECT", 2), each([("TYPE",), ("EXISTS",)], [b"a", b"b"]), ("DBSIZE",)]
    async with open_client(endpoint(target.url)) as client:
        assert await client.results(asked, "asking") == [b"OK", b"string", 1, b"none", 0, 1]
    assert count(asked) == 6


async def test_the_same_is_asked_for_in_each_database(target: Server) -> None:
    """The replies stand under their databases, however many there are, in one round trip."""
    target.client(db=2).set("a", 1)
    requests = [("EXISTS", "a"), ("DBSIZE",)]
    async with open_client(endpoint(target.url)) as client:
        assert await client.in_each(iter([3, 2]), requests, "asking") == {3: [0, 0], 2: [1, 1]}
        assert await client.in_each([], requests, "asking") == {}
        with pytest.raises(LinkError, match="asking"):
            await client.in_each([0, 999], requests, "asking")


async def test_error_replies_become_the_product_s_errors(target: Server) -> None:
    """In a pipeline each is in its place."""
    target.client().rpush("list", 1)
    async with open_client(endpoint(target.url)) as client:
        one, two = await client.pipeline([("GET", "list"), ("LLEN", "list")])
        assert isinstance(one, ReplyError)
        assert two == 1
        with pytest.raises(ReplyError, match="WRONGTYPE"):
            await client.call("GET", "list")
        with pytest.raises(ServerBusyError, match="while counting: WRONGTYPE"):
            await client.results([("LLEN", "list"), ("GET", "list")], "counting")


async def test_a_password_file_is_read_at_each_connect(target: Server, tmp_path: Path) -> None:
    """A rotated password is taken up without a restart."""
    path = tmp_path / "password"
    path.write_text("wrong")
    settings = endpoint(target.url, username="worker", password_file=path)
    target.client().execute_command("ACL", "SETUSER", "worker", "on", ">right", "+@all", "~*")
    with pytest.raises(AccessError, match="WRONGPASS"):
        async with open_client(settings):
            pass
    path.write_text("right")
    async with open_client(settings) as client:
        assert await client.call("DBSIZE") == 0
    path.unlink()
    with pytest.raises(AccessError, match="password"):
        async with open_client(settings):
            pass


async def test_replies_after_a_cancelled_request_are_never_read_as_those_of_the_next() -> None:
    """The connection is of no use any longer."""
    async with peer(b"", b":7\r\n") as silent, open_client(silent) as client:
        with anyio.move_on_after(0.05):
            await client.call("DBSIZE")
        with pytest.raises(LinkError, match="has not answered an earlier request"):
            await client.call("DBSIZE")


@pytest.mark.parametrize(
    "reply",
    [
        b"*400000000\r\nx\r\n",
        b"*1\r\n" * 100_000 + b":1\r\n",
        b"$99999999999999999999\r\n",
        b"*1000000\r\n" + b"$-1\r\n" * 1_000_000,
        b"HTTP/1.1 400 Bad Request\r\n",
        b":1x\r\n",
    ],
)
async def test_a_reply_that_no_server_gives_ends_the_connection(reply: bytes) -> None:
    """Too deep, too many, too long, or no reply at all."""
    async with peer(reply) as odd, open_client(odd) as client:
        with pytest.raises(LinkError, match="does not answer as a Redis does") as caught:
            await client.call("DBSIZE")
        assert caught.value.kind == "protocol"


async def test_a_reply_without_end_is_bounded() -> None:
    """A length of gigabytes costs the received bytes, up to the limit."""
    received = b"x" * (1 << 20)
    async with peer(b"$4000000000\r\n" + received, repeat=200) as odd, open_client(odd) as client:
        with pytest.raises(LinkError, match="does not answer as a Redis does"):
            await client.call("GET", "k")
        assert len(client.connection._reader._held) <= 66 << 20
