"""Serve an ASGI application over HTTP/1.1 with a bound on everything that clients can hold or cost.

h11 parses and anyio waits. uvicorn bounds neither the time that a request takes to arrive nor the number of open
connections; here the two are a few lines.
"""

from __future__ import annotations

import http
import socket
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote

import anyio
import h11
import structlog
from anyio.abc import SocketAttribute, SocketListener, SocketStream, TaskGroup, TaskStatus

from shaker.watch.http.rate_limit import Pace

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
Header = tuple[str, str]

# Bytes of a request's line and headers together, twice that at most; probes send about 100, browsers with cookies
# a few thousand.
MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 64 * 1024
# Seconds that open exchanges may still take when the server stops.
STOP_SECONDS = 0.1
# Seconds before the next accept after a failed one: no file descriptor is left, or the client is gone.
ACCEPT_AGAIN_SECONDS = 0.05


@dataclass(frozen=True)
class Limits:
    """Bounds of all clients together."""

    # Open connections; the next one replaces the oldest idle one. Far more than probes, scrapes and browsers need,
    # because a held connection costs less than a client that reconnects.
    connections: int = 256
    # Seconds for a request to arrive, counted from connecting or from the last answer, and for its answer to leave.
    exchange_seconds: float = 5.0
    # Connections accepted per second, and in a burst: with one request each about 0.5 ms, 5 % of a processor.
    accepted_per_second: float = 100.0
    accepted_at_once: int = 256
    # Further requests on open connections answered per second, and in a burst: about 0.3 ms each; a page sends ten.
    requests_per_second: float = 100.0
    requests_at_once: int = 50


DEFAULT_LIMITS = Limits()


@dataclass(eq=False)
class _Peer:
    """An open connection: how to drop it, and which to drop first."""

    since: float  # when it connected or got its last answer
    answering: bool = False
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)


class HttpServer:
    """Serves `application` and adds `headers` to each response, from `serve` to `stop`, both in one event loop."""

    def __init__(self, application: Application, headers: Sequence[Header], limits: Limits) -> None:
        self._application = application
        self._headers = headers
        self._limits = limits
        self._peers: set[_Peer] = set()
        self._requests = Pace(per_second=limits.requests_per_second, at_once=limits.requests_at_once)
        self._stopping = False

    async def serve(self, listener: socket.socket, *, task_status: TaskStatus[None]) -> None:
        """Accept connections of `listener`; after `stop`, give open exchanges `STOP_SECONDS` and drop the others."""
        async with anyio.create_task_group() as connections:
            with anyio.CancelScope() as self._accepting:
                async with await SocketListener.from_socket(listener) as listening:
                    task_status.started()
                    await self._accept(listening, connections)
            self._stopping = True
            for peer in self._peers:
                if not peer.answering:
                    peer.scope.cancel()
            connections.cancel_scope.deadline = anyio.current_time() + STOP_SECONDS

    def stop(self) -> None:
        """Stop accepting: `serve` returns within `STOP_SECONDS`."""
        self._accepting.cancel()

    async def _accept(self, listening: SocketListener, connections: TaskGroup) -> None:
        pace = Pace(per_second=self._limits.accepted_per_second, at_once=self._limits.accepted_at_once)
        while True:
            await anyio.sleep(pace.delay())
            # A stop cancels this wait. asyncio would log a cancelled accept as an error where a client comes just then.
            await anyio.wait_readable(listening.extra(SocketAttribute.raw_socket))
            try:
                stream = await listening.accept()
            except OSError:
                await anyio.sleep(ACCEPT_AGAIN_SECONDS)
                continue
            pace.count()
            if len(self._peers) >= self._limits.connections:
                oldest = min(self._peers, key=lambda peer: (peer.answering, peer.since))
                self._peers.discard(oldest)
                oldest.scope.cancel()
            peer = _Peer(anyio.current_time())
            self._peers.add(peer)
            connections.start_soon(self._converse, peer, stream)

    async def _converse(self, peer: _Peer, stream: SocketStream) -> None:
        """Answer requests of one connection until it ends, breaks, or misses a deadline."""
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        lost = (TimeoutError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
        try:
            with peer.scope, suppress(*lost):
                while await self._exchange(peer, stream, connection) and not self._stopping:
                    connection.start_next_cycle()
                    if delay := self._requests.count():
                        await anyio.sleep(delay)
        finally:
            self._peers.discard(peer)
            with anyio.CancelScope(shield=True):
                await stream.aclose()

    async def _exchange(self, peer: _Peer, stream: SocketStream, connection: h11.Connection) -> bool:
        """Answer one request; return whether another may follow. TimeoutError where the client is too slow."""
        peer.since = anyio.current_time()
        try:
            with anyio.fail_after(self._limits.exchange_seconds):
                request, body = await _receive(stream, connection)
        except h11.RemoteProtocolError:
            request, body = None, b""
        peer.answering = True
        try:
            with anyio.fail_after(self._limits.exchange_seconds):
                if request is None:
                    status, headers, content = _refusal()
                else:
                    status, headers, content = await _call(self._application, request, body, _client(stream))
                headers = [*headers, ("Date", formatdate(usegmt=True)), *self._headers]
                await stream.send(_response(connection, request, status, headers, content))
        finally:
            peer.answering = False
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE


async def _receive(stream: SocketStream, connection: h11.Connection) -> tuple[h11.Request, bytes]:
    """Return a request and its body; EndOfStream where there is none, RemoteProtocolError where it is malformed."""
    request, body = None, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                await stream.send(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            try:
                # In chunks of the limit, because h11 compares only an incomplete head with it.
                data = await stream.receive(MAX_HEAD_BYTES)
            except anyio.EndOfStream:
                data = b""
            connection.receive_data(data)
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY_BYTES:
                raise h11.RemoteProtocolError("the body is too large")
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            return request, body
        else:
            raise anyio.EndOfStream


async def _call(
    application: Application, request: h11.Request, body: bytes, client: tuple[str, int] | None
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return status, headers and content of the application's response; 500 where it fails."""
    path, _, query = request.target.partition(b"?")
    scope: Message = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": request.http_version.decode("ascii"),
        "method": request.method.decode("ascii"),
        "scheme": "http",
        "root_path": "",
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": query,
        "headers": [(name, value) for name, value in request.headers],
        "client": client,
        "server": None,
    }
    incoming = iter(({"type": "http.request", "body": body, "more_body": False},))
    started: Message = {"status": 500, "headers": [(b"content-length", b"0")]}
    content = b""

    async def receive() -> Message:
        return next(incoming, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        nonlocal started, content
        if message["type"] == "http.response.start":
            started = message
        else:
            content += message.get("body", b"")

    try:
        await application(scope, receive, send)
    except Exception:
        structlog.get_logger().exception("health server failed to answer", path=scope["path"])
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in started["headers"]]
    return started["status"], headers, content


def _client(stream: SocketStream) -> tuple[str, int] | None:
    address = stream.extra(SocketAttribute.remote_address, None)
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None


def _refusal() -> tuple[int, list[Header], bytes]:
    text = b"Invalid HTTP request received."
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
    return 400, [*headers, ("Connection", "close")], text


def _response(
    connection: h11.Connection, request: h11.Request | None, status: int, headers: list[Header], content: bytes
) -> bytes:
    reason = http.HTTPStatus(status).phrase
    parts = [connection.send(h11.Response(status_code=status, headers=headers, reason=reason))]
    if content and (request is None or request.method != b"HEAD"):
        parts.append(connection.send(h11.Data(data=content)))
    parts.append(connection.send(h11.EndOfMessage()))
    return b"".join(part for part in parts if part)
