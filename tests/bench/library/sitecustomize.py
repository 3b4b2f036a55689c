"""Put on the path of a worker, notes in the file LIBRARY_SECONDS what it spends in the ssl library.

A line with the seconds of a processor and the number of calls, written anew after every so many. Copies into and
out of the library's buffers are not in it: their type cannot be changed.
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


for name in ("read", "write", "do_handshake"):
    setattr(ssl.SSLObject, name, timed(getattr(ssl.SSLObject, name)))
