"""A relay between the worker and a real server that answers some requests itself, as a broken proxy does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Self

from shaker.codec.resp.replies import encode
from tests.support.servers import Server

# Takes the arguments of a request (name in upper case first) and whether its connection has ever begun to write or to
# replicate; returns the answer, or None to let the server answer.
Answering = Callable[[list[bytes], bool], bytes | None]

DATA = frozenset((b"WATCH", b"PSYNC", b"REPLCONF"))


class Relay:
    """Forwards requests one by one to `server`. A context manager; runs in a thread of its own.

    `answered` counts the requests that `answering` answered. Replies keep their order only where requests wait for
    those before them, as on the worker's control connections; a data connection is forwarded as bytes.
    """

    def __init__(self, server: Server, answering: Answering) -> None:
        self.port = 0
        self.answered = 0
        self._server_port = server.port
        self._answering = answering
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The address of the server through the relay."""
        return f"redis://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        back: asyncio.Task[None] | None = None
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection("127.0.0.1", self._server_port)
            back = asyncio.create_task(_pump(answers, writer))
            data = False
            while True:
                arguments = await _request(reader)
                arguments[0] = arguments[0].upper()
                data = data or arguments[0] in DATA
                answer = self._answering(arguments, data)
                if answer is None:
                    upstream.write(encode(*arguments))
                    await upstream.drain()
                else:
                    await asyncio.sleep(0.02)  # what the server was asked before is answered by then
                    self.answered += 1
                    writer.write(answer)
                    await writer.drain()
        except (OSError, EOFError, ValueError, asyncio.CancelledError):
            pass  # the worker went away, or the test ended
        finally:
            if back is not None:
                back.cancel()
            if upstream is not None:
                upstream.transport.abort()
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
        self._listener.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, to its end."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def _request(reader: asyncio.StreamReader) -> list[bytes]:
    """Read one request."""
    count = int((await reader.readuntil(b"\r\n"))[1:])
    arguments = []
    for _ in range(count):
        size = int((await reader.readuntil(b"\r\n"))[1:])
        arguments.append((await reader.readexactly(size + 2))[:-2])
    return arguments
