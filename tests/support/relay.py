"""A relay between the worker and a real server that answers some requests itself, as a broken proxy does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shaker.codec.resp.replies import encode
from tests.support.listener import Listener, read_request
from tests.support.servers import Server

# Takes the arguments of a request (name in upper case first) and whether its connection has ever begun to write or to
# replicate; returns the answer, or None to let the server answer.
Answering = Callable[[list[bytes], bool], bytes | None]

DATA = frozenset((b"WATCH", b"PSYNC", b"REPLCONF"))


class Relay(Listener):
    """Forwards requests one by one to `server`.

    `answered` counts the requests that `answering` answered. Replies keep their order only where requests wait for
    those before them, as on the worker's control connections; a data connection is forwarded as bytes.
    """

    def __init__(self, server: Server, answering: Answering) -> None:
        super().__init__("relay")
        self.answered = 0
        self._server_port = server.port
        self._answering = answering

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, upstream = await asyncio.open_connection("127.0.0.1", self._server_port)
        back = asyncio.create_task(_pump(answers, writer))
        data = False
        try:
            while True:
                arguments = await read_request(reader)
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
        finally:
            back.cancel()
            upstream.transport.abort()


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
