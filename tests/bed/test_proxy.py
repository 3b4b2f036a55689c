"""Each fault of the proxy does what its name says, to a real server's connection."""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.proxy import Proxy
from tests.support.servers import Server, wait_until


@pytest.fixture
def proxy(source: Server) -> Iterator[Proxy]:
    with Proxy(source) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[redis.Redis]:
    with redis.Redis(port=proxy.port, socket_timeout=5, retry=Retry(NoBackoff(), 0)) as client:
        client.ping()
        yield client


def test_without_faults_it_forwards(proxy: Proxy, client: redis.Redis) -> None:
    """Both ways, also more than one read."""
    value = b"x" * 3_000_000

    client.set("key", value)

    assert client.get("key") == value
    assert proxy.connections == proxy.open == 1
    assert min(proxy.bytes.values()) > 3_000_000


def test_latency(proxy: Proxy, client: redis.Redis) -> None:
    """Each direction adds its own."""
    proxy.set("up", latency=0.05)
    proxy.set("down", latency=0.1)
    started = time.monotonic()

    client.ping()

    assert 0.15 <= time.monotonic() - started < 1


def test_bandwidth(proxy: Proxy, client: redis.Redis) -> None:
    """Bytes per second of one direction."""
    proxy.set("up", bandwidth=200_000)
    started = time.monotonic()

    client.set("key", b"x" * 50_000)

    assert 0.2 <= time.monotonic() - started < 2


def test_slices_of_one_byte(proxy: Proxy, client: redis.Redis) -> None:
    """Nothing is lost or moved."""
    proxy.set(slice=1)

    client.set("key", b"0123456789" * 100)

    assert client.get("key") == b"0123456789" * 100


def test_reset_breaks_open_connections_and_lets_new_ones_in(
    proxy: Proxy, client: redis.Redis, source: Server
) -> None:
    """The server sees the connection end as well."""
    own = source.client()
    connection = client.connection_pool.get_connection()
    before = proxy.open

    proxy.reset()

    assert (before, proxy.open) == (1, 0)
    with pytest.raises(redis.ConnectionError, match="reset"):
        connection.read_response()
    client.connection_pool.release(connection)
    assert client.ping()
    wait_until(lambda: len(own.client_list()) == 2, "the server to drop the connection")


def test_black_hole_keeps_the_connection_open(proxy: Proxy, client: redis.Redis, source: Server) -> None:
    """Writes go nowhere, nothing comes back, nobody is told."""
    proxy.set("up", black_hole=True)
    client.connection_pool.connection_kwargs["socket_timeout"] = 0.2
    client.connection_pool.disconnect()

    with pytest.raises(redis.TimeoutError):
        client.set("key", "lost")

    proxy.heal()
    assert not source.client().exists("key")
    assert client.ping()


def test_stalled_is_back_pressure(proxy: Proxy, client: redis.Redis, source: Server) -> None:
    """What was sent arrives once it goes on."""
    proxy.set("down", stalled=True)
    connection = client.connection_pool.get_connection()
    connection.send_command("SET", "key", "kept")
    wait_until(lambda: source.client().exists("key"), "the server to have the key")
    assert not connection.can_read(timeout=0.2)

    proxy.heal()

    assert connection.read_response() == b"OK"
    client.connection_pool.release(connection)


def test_cut_after_so_many_bytes(proxy: Proxy, client: redis.Redis, source: Server) -> None:
    """Once: the server gets exactly the part before the cut, the next connection works."""
    before = proxy.bytes["up"]
    proxy.set("up", cut_after=50_000)

    with pytest.raises(redis.ConnectionError):
        client.set("key", b"x" * 100_000)

    assert proxy.bytes["up"] - before == 50_000
    assert not source.client().exists("key")
    assert client.set("key", b"x" * 100_000)


def test_refuse_and_accept_again_on_the_same_port(proxy: Proxy, client: redis.Redis) -> None:
    """The open connection is left alone."""
    port = proxy.port
    proxy.refuse()

    assert client.ping()
    with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as late, pytest.raises(redis.ConnectionError):
        late.ping()

    proxy.accept()
    with redis.Redis(port=port) as late:
        assert late.ping()


@pytest.mark.parametrize("ended", [False, True])
def test_what_connects_while_it_refuses_is_closed(source: Server, ended: bool) -> None:
    """No transport is left open, which another test would be blamed for; also where the proxy ends then."""
    with Proxy(source) as proxy, socket.socket() as client:
        proxy._loop.call_soon_threadsafe(time.sleep, 0.1)  # the accept and the refusal come in the same turn
        client.connect(("127.0.0.1", proxy.port))
        if not ended:
            proxy.refuse()
            proxy.reset()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            assert proxy.connections == 1
    gc.collect()


def test_redirect_moves_new_connections(proxy: Proxy, client: redis.Redis, target: Server) -> None:
    """As a name that points to another server after a failover."""
    proxy.redirect(target)
    client.set("where", "source")
    proxy.reset()

    client.set("where", "target")

    assert target.client().get("where") == b"target"
