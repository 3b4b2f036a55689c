"""The worker's encrypted stream beside the ssl library alone: the same bytes in memory, no servers, no sockets.

By hand: `python -m tests.bench.tls_stream`. Microseconds of a processor for 256 KiB that came in records of 16 KiB,
as servers send them, and for as many to be sent.
"""

from __future__ import annotations

import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import ByteStream

from shaker.net.tls import READ_SIZE, start_tls
from tests.security.certificates import Authority

RECORD = 16 * 1024
BLOCK = bytes(READ_SIZE)
TIMES = 400
ROUNDS = 5


class Peer:
    """A server in memory: what it has to say, and what it is told."""

    def __init__(self, certificate: tuple[Path, Path]) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*map(str, certificate))
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._records = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.shaken = False

    def said(self) -> bytes:
        """Return what comes next: of the handshake, or a block in records."""
        if not self.shaken:
            self.shaken = done(self._records.do_handshake)
        if self.shaken and not self.outgoing.pending:
            for start in range(0, len(BLOCK), RECORD):
                self._records.write(BLOCK[start : start + RECORD])
        return self.outgoing.read()


class Pipe(ByteStream):
    """A connection to a peer; `spent` is what the peer's own work takes, in seconds of a processor."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.spent = 0.0

    async def receive(self, max_bytes: int = 65536) -> bytes:
        began = time.process_time()
        data = self._peer.said()
        self.spent += time.process_time() - began
        return data

    async def send(self, item: bytes) -> None:
        if not self._peer.shaken:
            self._peer.incoming.write(item)

    async def send_eof(self) -> None:
        """There is none."""

    async def aclose(self) -> None:
        """There is nothing to close."""

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """None."""
        return {}


def done(call: Callable[[], object]) -> bool:
    """Whether the library did it without more to read."""
    try:
        call()
    except ssl.SSLWantReadError:
        return False
    return True


def all_of(records: ssl.SSLObject) -> Iterator[bytes]:
    """Yield what has come, record by record."""
    with suppress(ssl.SSLWantReadError):
        while True:
            yield records.read(READ_SIZE)


async def by_the_worker(context: ssl.SSLContext, peer: Peer) -> tuple[float, float]:
    """Return the seconds for a block received and one sent by the worker's stream."""
    pipe = Pipe(peer)
    stream = await start_tls(pipe, "127.0.0.1", context)
    await stream.receive(READ_SIZE)
    pipe.spent, began = 0.0, time.process_time()
    for _ in range(TIMES):
        assert len(await stream.receive(READ_SIZE)) == len(BLOCK)
    received = time.process_time() - began - pipe.spent
    began = time.process_time()
    for _ in range(TIMES):
        await stream.send(BLOCK)
    return received / TIMES, (time.process_time() - began) / TIMES


async def by_the_library(context: ssl.SSLContext, peer: Peer) -> tuple[float, float]:
    """Return the seconds for a block received and one sent by nothing but calls of the library."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    records = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    while not done(records.do_handshake):
        peer.incoming.write(outgoing.read())
        incoming.write(peer.said())
    peer.incoming.write(outgoing.read())
    incoming.write(peer.said())  # what a server says behind the handshake
    received = sent = 0.0
    for _ in range(TIMES):
        data = peer.said()
        began = time.process_time()
        incoming.write(data)
        assert len(b"".join(all_of(records))) == len(BLOCK)
        received += time.process_time() - began
    for _ in range(TIMES):
        began = time.process_time()
        records.write(BLOCK)
        outgoing.read()
        sent += time.process_time() - began
    return received / TIMES, sent / TIMES


async def main() -> None:
    """Measure in turns and print a Markdown table of medians."""
    found: dict[str, list[tuple[float, float]]] = {"the worker's stream": [], "the ssl library alone": []}
    with tempfile.TemporaryDirectory(prefix="shaker-bench-") as name:
        authority = Authority(Path(name))
        certificate = authority.issue("server")
        context = ssl.create_default_context(cafile=str(authority.file))
        for _ in range(ROUNDS):
            for measure, into in zip((by_the_worker, by_the_library), found.values(), strict=True):
                into.append(await measure(context, Peer(certificate)))
    sys.stdout.write("| of 256 KiB | received, us | sent, us |\n| --- | ---: | ---: |\n")
    for what, each in found.items():
        received, sent = (statistics.median(seconds) * 1e6 for seconds in zip(*each, strict=True))
        sys.stdout.write(f"| {what} | {received:.0f} | {sent:.0f} |\n")


if __name__ == "__main__":
    anyio.run(main, backend_options={"use_uvloop": True})
