"""Put on the path of a worker, notes in the file LIBRARY_SECONDS what it spends in the ssl library.

A line with the seconds of a processor and the number of calls, written anew after every so many. Copies into and
out of the library's buffers are among them.
"""

import os
import ssl
import time
from collections.abc import Callable
from typing import Any

EVERY = 50  # calls

seconds = os.open(os.environ["LIBRARY_SECONDS"], os.O_RDWR | os.O_CREAT, 0o600)
spent = calls = 0


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what does the same and counts the time of this thread that it takes."""

    def call(*arguments: Any) -> Any:
        global spent, calls
        began = time.thread_time_ns()
        try:
            return function(*arguments)
        finally:
            spent += time.thread_time_ns() - began
            calls += 1
            if calls % EVERY == 0:
                os.pwrite(seconds, b"%-40s" % f"{spent / 1e9:.6f} {calls}".encode(), 0)

    return call


class TimedBIO:
    """A buffer between the connection and the library; its own type cannot be derived from."""

    def __init__(self, of: type[ssl.MemoryBIO] = ssl.MemoryBIO) -> None:
        self.buffer = of()
        self.read = timed(self.buffer.read)
        self.write = timed(self.buffer.write)
        self.write_eof = self.buffer.write_eof

    @property
    def pending(self) -> int:
        """How many bytes it holds."""
        return self.buffer.pending


def wrap_bio(
    context: Any, incoming: Any, outgoing: Any, *, wrap: Any = ssl.SSLContext.wrap_bio, **options: Any
) -> Any:
    """Give the library its own buffers."""
    return wrap(context, incoming.buffer, outgoing.buffer, **options)


ssl.MemoryBIO = TimedBIO  # type: ignore[misc, assignment]
ssl.SSLContext.wrap_bio = wrap_bio  # type: ignore[method-assign]
for name in ("read", "write", "do_handshake"):
    setattr(ssl.SSLObject, name, timed(getattr(ssl.SSLObject, name)))
