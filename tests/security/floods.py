"""Clients of the health server that mean harm, many at a time, in threads of the caller's process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 5.0)


@contextmanager
def holding(port: int, clients: int = 200) -> Iterator[None]:
    """Keep `clients` connections that say nothing, or a request byte by byte; those dropped come again."""
    stopped = threading.Event()

    def hold(number: int) -> None:
        while not stopped.is_set():
            with suppress(OSError), _connect(port) as client:
                if number % 2:
                    client.sendall(b"GET /livez HTTP/1.1\r\nX-Slow: ")
                while not stopped.wait(0.2):
                    if number % 2:
                        client.sendall(b"x")
                    else:
                        client.settimeout(0.01)
                        with suppress(TimeoutError):
                            if not client.recv(1):
                                break

    with _threads(stopped, [(hold, number) for number in range(clients)]):
        yield


@contextmanager
def bursts(port: int, clients: int = 4, *, huge_headers: bool = False) -> Iterator[list[int]]:
    """Send requests as fast as answers come, or with headers of 1 MB; the list's item counts the answers."""
    stopped = threading.Event()
    count = [0]
    data = (b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n") if huge_headers else REQUEST * 50

    def send() -> None:
        while not stopped.is_set():
            with suppress(OSError), _connect(port) as client:
                while not stopped.is_set():
                    client.sendall(data)
                    if huge_headers:
                        client.recv(4096)
                        count[0] += 1
                        break
                    got = 0
                    while got < 50:
                        answer = client.recv(1 << 20)
                        if not answer:
                            raise ConnectionResetError
                        got += answer.count(b"HTTP/1.1 ")
                    count[0] += got

    with _threads(stopped, [(send,) for _ in range(clients)]):
        yield count


@contextmanager
def connecting(port: int, clients: int = 4) -> Iterator[list[int]]:
    """Send one request on each connection, as fast as answers come; the list's item counts them."""
    stopped = threading.Event()
    count = [0]

    def send() -> None:
        while not stopped.is_set():
            with suppress(OSError):
                probe_seconds(port)
                count[0] += 1

    with _threads(stopped, [(send,) for _ in range(clients)]):
        yield count


@contextmanager
def _threads(stopped: threading.Event, calls: list[tuple]) -> Iterator[None]:  # type: ignore[type-arg]
    threads = [threading.Thread(target=function, args=arguments, daemon=True) for function, *arguments in calls]
    with ExitStack() as stack:
        for thread in threads:
            thread.start()
            stack.callback(thread.join, 10)
        stack.callback(stopped.set)
        yield


def probe_seconds(port: int) -> float:
    """Return how long a probe takes, from connecting to its 200; OSError where there is none."""
    began = time.monotonic()
    with _connect(port) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = client.recv(4096)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise OSError(f"a probe was answered by {answer[:20]!r}")
    return time.monotonic() - began
