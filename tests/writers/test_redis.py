"""The target link in a whole worker: one connection writes, and what it owes the checkpoint gets there."""

from __future__ import annotations

import shlex
import socket
import threading
from collections.abc import Callable
from typing import NamedTuple

from tests.support.servers import Server, wait_until
from tests.support.target_driver import checkpoint_of, fence_of
from tests.support.worker import Worker

StartWorker = Callable[..., Worker]


class Seen(NamedTuple):
    """One request that a server executed."""

    address: str
    command: str
    arguments: list[str]


class Monitor:
    """The requests that a server executes, by client, from its own MONITOR. A context manager."""

    def __init__(self, server: Server) -> None:
        self.seen: list[Seen] = []
        self._socket = socket.create_connection(("127.0.0.1", server.port), 10)
        self._socket.sendall(b"MONITOR\r\n")
        assert self._socket.recv(5) == b"+OK\r\n"
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._socket.makefile("r", encoding="latin-1", newline="\r\n") as lines:
            for line in lines:
                _, database, rest = line[1:].split(" ", 2)
                address, _, request = rest.partition("] ")
                assert database.startswith("[")
                words = shlex.split(request)
                self.seen.append(Seen(address, words[0].lower(), words[1:]))

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()


def test_one_connection_writes(source: Server, target: Server, worker: StartWorker) -> None:
    """Snapshot, stream, a reconnect, the idle end: every write comes from the registered connection."""
    client = source.client()
    for number in range(200):
        client.rpush(f"l{number % 7}", number)
    table = target.client().command()
    writing = {name for name, row in table.items() if "write" in row["flags"]}
    assert {"hset", "del", "restore", "incr", "flushall"} <= writing
    with Monitor(target) as monitor:
        running = worker(source, target)
        running.wait_state("streaming")
        for number in range(50):
            client.incr("n", number)
        client.execute_command("SELECT", 3)
        client.execute_command("SET", "other", "database")
        client.execute_command("SELECT", 0)
        running.wait_applied(source)
        first = fence_of(target)
        assert first is not None
        target.client().client_kill_filter(_id=str(first.connection))
        client.incr("n")
        running.wait_applied(source)
        wait_until(
            lambda: (found := checkpoint_of(target)) is not None and found.confirmed == found.offset,
            "the replies to be confirmed",
        )
        running.terminate()
        assert running.wait_ended() == 0
        # The order of MONITOR is that of execution: this comes behind all that the worker did.
        target.client().echo("the end")
        wait_until(lambda: monitor.seen and monitor.seen[-1].arguments == ["the end"], "the end of the requests")

    writer, writers = "", []
    for seen in monitor.seen:
        if seen.command == "client" and seen.arguments[-1].startswith("shaker-writer:"):
            writer = seen.address
            writers.append(writer)
        if seen.command in writing:
            assert seen.address == writer, f"{seen.command} from {seen.address}, the writer is {writer}"
    assert len(writers) == 2
    assert sum(seen.command in ("restore", "incrby", "incr") for seen in monitor.seen) >= 7 + 51
    assert target.client(db=3).get("other") == b"database"


def test_a_rejected_command_stops_the_worker_where_that_is_asked_for(
    source: Server, target: Server, worker: StartWorker
) -> None:
    """With on_error=stop the worker writes the count and ends with exit code 4."""
    running = worker(source, target, SHAKER_TARGET__ON_ERROR="stop")
    running.wait_state("streaming")
    target.client().set("l", "somebody's")
    source.client().rpush("l", "a secret")

    assert running.wait_ended(15) == 4
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.rejected, checkpoint.confirmed) == (1, checkpoint.offset)
    assert checkpoint.rejected_last.startswith("RPUSH l: WRONGTYPE")
    assert not any("secret" in line for line in running.output)


def test_a_rejected_command_outlives_connections_and_workers(
    source: Server, target: Server, worker: StartWorker
) -> None:
    """The worker stays not ready over a lost connection, and so does the one after it."""
    running = worker(source, target)
    running.wait_state("streaming")
    target.client().set("l", "somebody's")
    source.client().rpush("l", 1)
    running.wait_status(lambda document: document["rejected_commands"] == 1, "the rejected command")
    fence = fence_of(target)
    assert fence is not None
    target.client().client_kill_filter(_id=str(fence.connection))
    source.client().rpush("l", 2)
    running.wait_status(lambda document: document["rejected_commands"] == 2, "the next one")
    assert running.get("/readyz")[0] == 503
    running.terminate()
    assert running.wait_ended() == 0
    again = worker(source, target)
    document = again.wait_state("streaming")

    assert document["rejected_commands"] == 2
    assert not document["ready"]
    assert again.get("/readyz")[0] == 503
