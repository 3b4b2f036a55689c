"""HTTP connections that cannot be held: few at a time, and none for longer than its time.

uvicorn bounds neither the time that a request takes to arrive nor the number of open connections, and a probe
must be answered whoever else is connected.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from shaker.watch.http.rate_limit import Admission, Pace

# Connections open at a time; one more takes the place of the oldest idle one. Far more than probes, scrapes and
# browsers are: clients that hold on cost little as long as they do not have to come again.
MAX_CONNECTIONS = 256
# Requests answered in a second, and in one go, besides the first one of each connection: a page is some ten of
# them. Each costs about 0.4 ms, so that these are 4 % of a processor. A probe comes on a connection of its own.
REQUESTS_PER_SECOND = 100.0
REQUESTS_AT_ONCE = 50
# Seconds from connecting, or from the last answer, until a whole request has come and its answer has gone out.
EXCHANGE_SECONDS = 5.0
# Bytes of a request's line and headers together, twice that at most; probes send about 100, browsers with cookies
# a few thousand.
MAX_HEAD_BYTES = 16 * 1024
# Seconds that open exchanges may still take when the server stops.
STOP_SECONDS = 0.1


class BoundedProtocol(H11Protocol):
    """One HTTP/1.1 connection that ends itself when an exchange takes too long, even if bytes go on moving."""

    pace: Pace  # of all connections of a server together
    _deadline: asyncio.TimerHandle | None = None
    _held: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, and drop the oldest idle one where there are too many."""
        super().connection_made(transport)
        self._arm()
        others = [each for each in self.connections if isinstance(each, BoundedProtocol) and each is not self]
        if len(others) >= MAX_CONNECTIONS:
            min(others, key=lambda each: (each.answering(), each.since)).drop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection and its deadline."""
        self._disarm()
        self._release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read requests; a whole one begins the time of its answer."""
        before = self.cycle
        # In pieces, because h11 holds only what is incomplete against its limit: a long head that came in one
        # piece would pass.
        for start in range(0, len(data), MAX_HEAD_BYTES):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + MAX_HEAD_BYTES])
        if self.cycle is not before:
            self._arm()

    def on_response_complete(self) -> None:
        """Begin the time of the next exchange, which may have to wait for its turn."""
        self._arm()
        delay = 0.0 if self.transport.is_closing() else self.pace.count()
        if delay:
            self.flow.pause_reading()
            self._held = self.loop.call_later(delay, self._go_on)
        else:
            super().on_response_complete()

    def _go_on(self) -> None:
        self._held = None
        super().on_response_complete()

    def answering(self) -> bool:
        """Return True while a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def drop(self) -> None:
        """End the connection now, without a word."""
        self._disarm()
        self._release()
        self.connections.discard(self)
        self.transport.abort()

    def _arm(self) -> None:
        self._disarm()
        self.since = self.loop.time()
        if not self.transport.is_closing():
            self._deadline = self.loop.call_later(EXCHANGE_SECONDS, self.drop)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _release(self) -> None:
        if self._held is not None:
            self._held.cancel()
            self._held = None


class BoundedServer(uvicorn.Server):
    """uvicorn's server behind an `Admission`, that ends within `STOP_SECONDS` whatever its clients do."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take connections of the one listener in `sockets`."""
        loop = asyncio.get_running_loop()
        pace = Pace(per_second=REQUESTS_PER_SECOND, at_once=REQUESTS_AT_ONCE)
        opening: set[asyncio.Task[Any]] = set()

        def create() -> BoundedProtocol:
            protocol = BoundedProtocol(config=self.config, server_state=self.server_state, app_state={})
            protocol.pace = pace
            return protocol

        def admit(connection: socket.socket) -> None:
            task = loop.create_task(loop.connect_accepted_socket(create, connection))
            opening.add(task)
            task.add_done_callback(opening.discard)

        self.servers = []
        self._admissions = [Admission(loop, listener, admit) for listener in sockets or []]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let open exchanges end, drop the rest."""
        for admission in self._admissions:
            admission.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.connections:
            await asyncio.sleep(STOP_SECONDS)
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def bounded_server(app: Any, headers: list[tuple[str, str]]) -> BoundedServer:
    """Return a server of the ASGI `app` that sends `headers` with each answer and logs no access."""
    return BoundedServer(
        uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(EXCHANGE_SECONDS),
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            headers=headers,
        )
    )
