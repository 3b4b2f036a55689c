"""Sources that lost keys and their backlog, and how far the removal of stale keys has come on the target."""

from __future__ import annotations

import threading
from typing import Any, Self

from tests.support.servers import Server
from tests.support.worker import Worker
from tests.support.writes import checkpoint

KEYS = 100_000
FEW = 9_000
SLOW = 0.05  # seconds that each request to the target takes more
SHORTEST_EXPIRY = 300_000  # expiries that pass while the stream waits are the subject of other tests
STALE = 1500
DATABASES = (0, 2, 7)
FAST = {"SHAKER_RETRY__MAX_SECONDS": "0.2"}


def fill(server: Server, keys: int = KEYS) -> None:
    """Write `keys` keys that stay, over three databases, and STALE that are to go."""
    for database in DATABASES:
        client = server.client(db=database)
        share = keys // len(DATABASES)
        for start in range(0, share, 10_000):
            client.mset({f"key:{number}": number for number in range(start, min(share, start + 10_000))})
        client.mset({f"stale:{number}": number for number in range(STALE // len(DATABASES))})


def remove(server: Server) -> None:
    """Delete what is to go."""
    for database in DATABASES:
        server.client(db=database).delete(*(f"stale:{number}" for number in range(STALE // len(DATABASES))))


def lose_backlog(server: Server) -> None:
    """Have the server begin another history: nobody can go on in the one before."""
    client = server.client()
    client.execute_command("DEBUG", "CHANGE-REPL-ID")
    client.client_kill_filter(_type="replica")


def swept(running: Worker, seconds: float = 60.0) -> dict[str, Any]:
    """Wait until the worker is ready, which it is not before the end of the sweep."""
    return running.wait_status(lambda document: document["ready"], "the end of the sweep", seconds)


def leftovers(target: Server) -> list[Any]:
    """Return what a sweep that is over has left in the target."""
    lists = [database for database in range(16) if target.client(db=database).exists("shaker:stale:default")]
    return [*lists, *filter(None, [checkpoint(target)["sweep"]])]


def stage(target: Server) -> str:
    """Return what the checkpoint says that the sweep does: listing, restoring, removal, or nothing."""
    record = checkpoint(target)
    if record.get("phase") == "snapshot":
        return {"listing": "listing", "listed": "restoring"}.get(record["sweep"], "")
    return "removal" if record.get("sweep") else ""


def begun(target: Server, wanted: str) -> bool:
    """Whether the sweep is in that stage, and some of it is done."""
    client = target.client()
    if stage(target) != wanted:
        return False
    if wanted == "restoring":
        return int(checkpoint(target)["snapshot_batch"]) > 0
    length = int(client.scard("shaker:stale:default"))  # type: ignore[arg-type]
    return length > 1000 if wanted == "listing" else length < STALE // len(DATABASES)


class Reading:
    """A thread that reads the keys that stay, on the target, all the time; `missed` are those not found."""

    def __init__(self, server: Server, keys: int = KEYS) -> None:
        self.missed: set[tuple[int, int]] = set()
        self.rounds = 0
        self._share = keys // len(DATABASES)
        self._clients = {database: server.client(db=database) for database in DATABASES}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reading", daemon=True)
        self.failure: BaseException | None = None

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                for database, client in self._clients.items():
                    for start in range(0, self._share, 1000):
                        numbers = range(start, min(self._share, start + 1000))
                        values = client.mget([f"key:{number}" for number in numbers])
                        pairs = zip(numbers, values, strict=True)  # type: ignore[arg-type]
                        self.missed |= {(database, number) for number, value in pairs if value is None}
                        if self._stopped.is_set():
                            return
                self.rounds += 1
        except BaseException as error:
            self.failure = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        assert self.failure is None, self.failure
        assert self.rounds or self.missed, "nothing was read"
        assert self.missed == set()
