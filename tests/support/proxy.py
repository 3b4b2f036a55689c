"""A TCP proxy between the worker and a server that fails on demand: slow, cut, silent, torn into single bytes."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from tests.support.listener import stop_listening
from tests.support.servers import Server

Direction = Literal["up", "down", "both"]  # up: from client to server


@dataclass(slots=True)
class Faults:
    """What happens to the bytes of one direction.

    `latency` delays each read, in seconds; `bandwidth` is in bytes per second; `slice` is the largest write in
    bytes; `black_hole` reads and drops, with the connection left open; `stalled` forwards nothing and reads no
    more, so that the sender runs into back-pressure; `cut_after` resets the connection once so many bytes have
    passed since it was set.
    """

    latency: float = 0.0
    bandwidth: float | None = None
    slice: int | None = None
    black_hole: bool = False
    stalled: bool = False
    cut_after: int | None = None


class Proxy:
    """Forwards `port` of 127.0.0.1 to `server`, in a thread of its own. A context manager; no call is a coroutine.

    Faults may be set at any time and hold for the open connections too. `connections` counts those accepted so far,
    `bytes` those forwarded by direction.
    """

    def __init__(self, server: Server | int) -> None:
        self.port = 0
        self.connections = 0
        self.bytes = {"up": 0, "down": 0}
        self._server_port = server if isinstance(server, int) else server.port
        self._credentials = "" if isinstance(server, int) or not server.password else f":{server.password}@"
        self._faults = {"up": Faults(), "down": Faults()}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._listener: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}

    @property
    def url(self) -> str:
        """The address of the server through the proxy."""
        return f"redis://{self._credentials}127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """How many connections are open now."""
        return len(self._links)

    def set(self, direction: Direction = "both", **faults: Any) -> None:
        """Change faults of one direction or both, the others stay; names as in Faults."""

        def change() -> None:
            for one in self._directions(direction):
                self._faults[one] = replace(self._faults[one], **faults)

        self._call(change)

    def heal(self) -> None:
        """End all faults and accept connections again."""

        def change() -> None:
            for one in self._faults:
                self._faults[one] = Faults()

        self._call(change)
        self.accept()

    def reset(self) -> None:
        """Break all open connections by a TCP reset; new ones are accepted."""
        self._run(self._reset())

    def refuse(self) -> None:
        """Refuse new connections from now on; the open ones go on."""
        self._run(self._close_listener())

    def accept(self) -> None:
        """Accept connections again after `refuse`, on the same port."""
        self._run(self._listen())

    def redirect(self, server: Server) -> None:
        """Forward new connections to another server; the open ones stay where they are."""
        self._server_port = server.port

    @staticmethod
    def _directions(direction: Direction) -> tuple[str, ...]:
        return ("up", "down") if direction == "both" else (direction,)

    def _call(self, function: Callable[[], None]) -> None:
        async def call() -> None:
            function()

        self._run(call())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._link, "127.0.0.1", self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def _close_listener(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            await stop_listening(listener)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections += 1
        self._links[task] = (writer,)
        pumps: list[asyncio.Task[None]] = []
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
            self._links[task] = (writer, up_writer)
            pumps = [
                asyncio.create_task(self._pump(reader, up_writer, "up")),
                asyncio.create_task(self._pump(up_reader, writer, "down")),
            ]
            # The first end of either side ends the connection: Redis's protocol knows no half-open links.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, asyncio.CancelledError):
            pass  # the server is not there, or `reset`: the client's connection ends either way
        finally:
            for pump in pumps:
                pump.cancel()
            results = await asyncio.gather(*pumps, return_exceptions=True)
            cut = any(isinstance(result, ConnectionResetError) for result in results)
            for one in self._links.pop(task):
                if cut:
                    _linger_zero(one)
                one.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        while True:
            data = await reader.read(1 << 16)
            if not data:
                return
            await self._forward(data, writer, direction)

    async def _forward(self, data: bytes, writer: asyncio.StreamWriter, direction: str) -> None:
        if (latency := self._faults[direction].latency) > 0:
            await asyncio.sleep(latency)
        while data:
            while (faults := self._faults[direction]).stalled:  # noqa: ASYNC110  the fault is set from another thread
                await asyncio.sleep(0.01)
            if faults.black_hole:
                return
            size = min(len(data), faults.slice or len(data))
            if faults.bandwidth is not None:
                size = min(size, max(1, int(faults.bandwidth / 50)))
            if faults.cut_after is not None:
                size = min(size, faults.cut_after)
                faults.cut_after -= size
            if size:
                self.bytes[direction] += (
                    size  # first: a test's thread may see the bytes as soon as they are written
                )
                writer.write(data[:size])
                await writer.drain()
            if faults.cut_after == 0:
                faults.cut_after = None
                raise ConnectionResetError
            data = data[size:]
            if faults.bandwidth is not None:
                await asyncio.sleep(size / faults.bandwidth)
            elif faults.slice is not None:
                await asyncio.sleep(0)  # a write of its own for each slice

    async def _reset(self) -> None:
        tasks = list(self._links)
        for task in tasks:
            for writer in self._links.get(task, ()):
                _linger_zero(writer)
                writer.transport.abort()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _close(self) -> None:
        await self._close_listener()
        await self._reset()

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


def _linger_zero(writer: asyncio.StreamWriter) -> None:
    """Let the close of this connection be a reset."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
