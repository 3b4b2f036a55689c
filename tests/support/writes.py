"""Writes whose loss or repetition shows: counters, lists and streams that grow as long as a test lasts."""

from __future__ import annotations

import threading
import time
from typing import Any, Self

import redis

from tests.support.servers import Server

SCRIPT = "redis.call('INCR', KEYS[1]) return redis.call('RPUSH', KEYS[2], redis.call('GET', KEYS[1]))"


class Writes:
    """A thread that appends to a source, in several databases, until stopped. A context manager.

    None of its commands can be repeated or left out unseen. `rounds` counts those answered.
    """

    def __init__(self, source: Server, *, pause: float = 0.001) -> None:
        self.rounds = 0
        self.failure: BaseException | None = None
        self._clients = [source.client(db=database) for database in (0, 3)]
        self._pause = pause
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writes", daemon=True)

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                for client in self._clients:
                    self._write(client)
                self.rounds += 1
                # Paced, so that the worker under test keeps up on a machine that does other work, too.
                time.sleep(self._pause)
        except BaseException as error:
            self.failure = error

    def _write(self, client: redis.Redis) -> None:
        number = self.rounds
        pipeline = client.pipeline(transaction=False)
        pipeline.incr(f"counter:{number % 7}")
        pipeline.rpush(f"list:{number % 5}", number)
        pipeline.xadd(f"stream:{number % 3}", {"number": number})
        pipeline.execute()
        transaction = client.pipeline(transaction=True)
        transaction.incrby("both", 2)
        transaction.rpush("both:list", number)
        transaction.execute()
        client.eval(SCRIPT, 2, "script:counter", "script:list")

    def stop(self) -> None:
        """Stop after the round under way; raises what ended the thread early."""
        self._stopped.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def checkpoint(target: Server, name: str = "default") -> dict[str, str]:
    """Return the record of what has taken effect on `target`, read by means of the test's own."""
    record: dict[bytes, bytes] = target.client().hgetall(f"shaker:checkpoint:{name}")
    return {field.decode(): value.decode() for field, value in record.items()}


def syncs(source: Server) -> tuple[int, int]:
    """Return how many full and partial synchronisations the source itself has counted."""
    info: dict[str, Any] = source.info("stats")
    return info["sync_full"], info["sync_partial_ok"]
