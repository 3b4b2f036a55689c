"""A server of a test's own making: it listens in a thread of its own, and no connection outlives it."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from typing import Final, Self

ACCEPTING_TURNS: Final = 5  # of the event loop, from the accept of a connection until its task runs


class Listener(ABC):
    """Listens at `port` of 127.0.0.1 and talks to whoever connects. A context manager; no call is a coroutine."""

    def __init__(self, name: str) -> None:
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The address to connect to."""
        return f"redis://127.0.0.1:{self.port}"

    @abstractmethod
    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk to one client; what returns, or raises because the client went away, ends the connection."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._talk(reader, writer)
        except (OSError, EOFError, ValueError, asyncio.CancelledError):
            pass  # the worker went away, or the test ended
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _listen(self) -> asyncio.Server:
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        return listener

    def __enter__(self) -> Self:
        self._thread.start()
        self._listener = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        await stop_listening(self._listener)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


async def stop_listening(listener: asyncio.Server) -> None:
    """Close a listener; connections that it has accepted reach their task before that.

    asyncio leaves a connection open for ever whose listener closes between its accept and its first callback.
    """
    loop = asyncio.get_running_loop()
    for listening in listener.sockets:
        loop.remove_reader(listening)
    for _ in range(ACCEPTING_TURNS):
        await asyncio.sleep(0)
    listener.close()


async def read_request(reader: asyncio.StreamReader) -> list[bytes]:
    """Read one request."""
    count = int((await reader.readuntil(b"\r\n"))[1:])
    arguments = []
    for _ in range(count):
        size = int((await reader.readuntil(b"\r\n"))[1:])
        arguments.append((await reader.readexactly(size + 2))[:-2])
    return arguments
