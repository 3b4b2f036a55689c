"""Load whose every command shows in one counter: `python -m tests.support.counting <port>`, until its input ends.

In a process of its own, so that it does not share the interpreter with a worker in the test's process.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import hiredis

from shaker.codec.resp.replies import encode
from tests.support.servers import Server
from tests.support.worker import ROOT

SCRIPT = "redis.call('INCR', 'counter') redis.call('INCR', 'counter') return 0"


PAUSE_SECONDS = 0.0005  # between rounds: the worker in the test's process has to keep up on two cores


def commands(number: int) -> list[tuple[str | int, ...]]:
    """Return one round: five increments."""
    increment = ("INCR", "counter")
    expiring = ("SET", f"gone:{number % 500}", number, "PX", 1)
    return [increment, ("MULTI",), increment, increment, ("EXEC",), expiring, ("EVAL", SCRIPT, 0)]


@contextmanager
def counting(server: Server) -> Iterator[None]:
    """Increment `counter` of `server` as fast as one client can: alone, in transactions and by scripts.

    Between the increments keys with an expiry of a millisecond are set, which the server deletes whenever it likes.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.counting", str(server.port)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"counting\n"
    try:
        yield
    finally:
        process.communicate(timeout=20)
    assert process.returncode == 0


def main() -> None:
    """Write until the input ends."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    number, reader = 0, hiredis.Reader()
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
        while not ended.wait(PAUSE_SECONDS):
            connection.sendall(b"".join(encode(*command) for command in commands(number)))
            for _ in commands(number):
                while (reply := reader.gets()) is False:
                    reader.feed(connection.recv(65536))
                assert not isinstance(reply, Exception), reply
            if number == 0:
                sys.stdout.write("counting\n")
                sys.stdout.flush()
            number += 1


if __name__ == "__main__":
    main()
