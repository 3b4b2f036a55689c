"""The primary's address is that of the first Sentinel to answer; a primary that moves ends the connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from shaker.errors import AccessError, LinkError
from shaker.net.sentinel import follow, resolve
from shaker.settings.endpoints import Endpoint
from tests.support.servers import free_port
from tests.support.settings import settings

pytestmark = pytest.mark.anyio

NAMED = b"*2\r\n$9\r\n127.0.0.1\r\n$4\r\n7001\r\n"
MOVED = b"*2\r\n$9\r\n127.0.0.1\r\n$4\r\n7002\r\n"


@asynccontextmanager
async def sentinels(*replies: bytes) -> AsyncIterator[int]:
    """Listen as a Sentinel that answers each connection with the next reply, then with the last; give its port."""
    left = list(replies)

    async def serve(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(left.pop(0) if len(left) > 1 else left[0])
            await anyio.sleep(1)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, serve)
        yield listener.extra(SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


def endpoint(*ports: int) -> Endpoint:
    """Return a source behind Sentinels."""
    nodes = ",".join(f"127.0.0.1:{port}" for port in ports)
    return settings(source__url=f"redis+sentinel://{nodes}/main").source


async def test_a_url_without_sentinels_is_its_own_address() -> None:
    """Nobody is asked."""
    plain = settings().source
    assert await resolve(plain) is plain.address


async def test_the_next_sentinel_is_asked_where_one_does_not_answer() -> None:
    """The address is the primary's, without the service."""
    async with sentinels(NAMED) as port:
        address = await resolve(endpoint(free_port(), port))

    assert (address.host, address.port, address.tls) == ("127.0.0.1", 7001, False)


async def test_a_failure_of_all_names_each() -> None:
    """It is tried again."""
    one, other = free_port(), free_port()
    with pytest.raises(LinkError) as caught:
        await resolve(endpoint(one, other))
    assert caught.value.kind == "sentinel"
    assert str(one) in caught.value.what
    assert str(other) in caught.value.what


@pytest.mark.parametrize(
    ("reply", "text"), [(b"*-1\r\n", "knows no service"), (b"-NOAUTH Authentication required.\r\n", "refuses")]
)
async def test_a_sentinel_that_does_not_know_or_refuses_is_an_error_of_access(reply: bytes, text: str) -> None:
    """Name or password are the settings'."""
    async with sentinels(reply) as port:
        with pytest.raises(AccessError, match=text):
            await resolve(endpoint(port))


@pytest.mark.parametrize("reply", [b"+OK\r\n", b"*1\r\n$1\r\na\r\n", b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"])
async def test_another_peer_is_no_sentinel(reply: bytes) -> None:
    """Its reply is refused before it is used."""
    async with sentinels(reply) as port:
        with pytest.raises(LinkError):
            await resolve(endpoint(port))


async def test_a_primary_that_moves_ends_the_connection() -> None:
    """Not one that stays, and not a Sentinel that is silent for a while."""
    async with sentinels(NAMED, NAMED, b"-ERR busy\r\n", MOVED) as port:
        side = endpoint(port)
        address = await resolve(side)
        with pytest.raises(LinkError, match=r"moved from 127\.0\.0\.1:7001 to 127\.0\.0\.1:7002") as caught:
            await follow(side, address, every_seconds=0.05)
    assert caught.value.kind == "moved"
