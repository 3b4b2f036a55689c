"""The HTTP server under any ASGI application: bodies, failures, and what a client may send."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest
from anyio.from_thread import start_blocking_portal
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from shaker.watch.http.server import MAX_BODY_BYTES, HttpServer, Limits

HOST = b"Host: x\r\n"
HEADERS = [("X-Careful", "yes")]
LIMITS = Limits(exchange_seconds=1.0)


async def echo(request: Request) -> Response:
    return PlainTextResponse(await request.body())


async def fail(request: Request) -> Response:
    raise RuntimeError("a bug")


async def query(request: Request) -> Response:
    return PlainTextResponse(f"{request.url.path} {request.query_params.get('a')} {request.headers['accept']}")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    routes = [
        Route("/echo", echo, methods=["POST"]),
        Route("/fail", fail),
        Route("/query/{name}", query),
    ]
    server = HttpServer(Starlette(routes=routes), HEADERS, LIMITS)
    listener = socket.create_server(("127.0.0.1", 0))
    with start_blocking_portal() as portal:
        number = listener.getsockname()[1]
        serving, _ = portal.start_task(server.serve, listener)
        yield number
        portal.call(server.stop)
        serving.result(10)


def exchange(port: int, request: bytes) -> tuple[int, bytes, bytes]:
    """Send bytes and the end of them; return status, head and body of all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]) if head else 0, head, body


def test_a_body_reaches_the_application(port: int) -> None:
    request = b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello"

    assert exchange(port, request)[::2] == (200, b"hello")


def test_a_body_in_chunks_reaches_the_application(port: int) -> None:
    request = (
        b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
    )

    assert exchange(port, request)[::2] == (200, b"hello")


def test_a_client_that_waits_for_100_continue_gets_it(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"hello")
        assert client.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_body_that_is_too_large_is_refused(port: int) -> None:
    body = b"x" * (MAX_BODY_BYTES + 1)
    request = b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body)

    assert exchange(port, request + body)[0] == 400


def test_a_bug_of_the_application_is_500_and_its_traceback_is_not_for_the_client(port: int) -> None:
    status, head, body = exchange(port, b"GET /fail HTTP/1.1\r\n" + HOST + b"\r\n")

    assert status == 500
    assert b"a bug" not in head + body


def test_path_query_and_headers_reach_the_application_decoded(port: int) -> None:
    request = b"GET /query/%61b?a=%20c HTTP/1.1\r\n" + HOST + b"Accept: text/x\r\n\r\n"

    assert exchange(port, request)[2] == b"/query/ab  c text/x"


def test_each_response_has_the_servers_headers_and_a_date(port: int) -> None:
    for path in (b"/nothing", b"/fail", b"/query/x", b"malformed\x00"):
        head = exchange(port, b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"Accept: x\r\n\r\n")[1]
        assert b"\r\nX-Careful: yes" in head
        assert b"\r\nDate: " in head


def test_requests_sent_at_once_are_answered_in_order(port: int) -> None:
    request = b"".join(b"GET /query/%d HTTP/1.1\r\n" % number + HOST + b"Accept: x\r\n\r\n" for number in range(20))
    _, _, body = exchange(port, request)

    assert [body.index(b"/query/%d " % number) for number in range(20)] == sorted(
        body.index(b"/query/%d " % number) for number in range(20)
    )


def test_clients_that_are_gone_before_they_are_accepted_do_no_harm(port: int) -> None:
    """A reset at once, by SO_LINGER of 0 seconds."""
    for _ in range(100):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert exchange(port, b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n")[0] == 404


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_connection_ends_when_the_client_asks_for_it(port: int, version: bytes) -> None:
    request = b"GET /query/x HTTP/" + version + b"\r\n" + HOST + b"Accept: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(request)
        while client.recv(4096):
            pass


def test_a_request_cut_short_gets_no_answer_of_the_application(port: int) -> None:
    assert exchange(port, b"GET /query/x HTTP/1.1\r\nAcc")[0] in (0, 400)
    assert exchange(port, b"")[0] == 0


@pytest.mark.anyio
async def test_stopping_ends_an_exchange_that_takes_too_long() -> None:
    """`serve` returns soon, whatever the application does."""

    begun = anyio.Event()

    async def endless(scope: object, receive: object, send: object) -> None:
        begun.set()
        await anyio.sleep_forever()

    server = HttpServer(endless, [], Limits())
    listener = socket.create_server(("127.0.0.1", 0))
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            await group.start(server.serve, listener)
            async with await anyio.connect_tcp("127.0.0.1", listener.getsockname()[1]) as client:
                await client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
                await begun.wait()
                server.stop()
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await client.receive()


@pytest.mark.anyio
async def test_a_client_that_comes_at_the_stop_is_no_error() -> None:
    """The server has been told to stop when its event loop sees the connection."""
    loop = asyncio.get_running_loop()
    errors: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    server = HttpServer(Starlette(), [], Limits())
    listener = socket.create_server(("127.0.0.1", 0))
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            await group.start(server.serve, listener)
            await anyio.wait_all_tasks_blocked()  # it waits for a connection

            with socket.create_connection(listener.getsockname()):
                loop.call_soon(server.stop)
                await anyio.lowlevel.checkpoint()

    assert errors == []
