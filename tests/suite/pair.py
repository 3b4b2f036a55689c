"""The servers under test with their worker: a source, its native replica as the judge, and the worker's target."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any, Self

import redis

from tests.support import compare, oracle
from tests.support.servers import OLD, Server
from tests.support.worker import Worker

USER, PASSWORD = "suite", "suite-password"
APPLIED_SECONDS = 300.0
LOG_SECONDS = 1.0
SHOWN = 10


class OpenServer(Server):
    """A server that stays reachable whatever the suite does to the default user: its clients log in as another."""

    def __init__(self, name: str, **settings: str) -> None:
        super().__init__(name, config={"user": f"{USER} on >{PASSWORD} ~* &* +@all", **settings})

    @property
    def url(self) -> str:
        """The address of the server with the user that the suite leaves alone."""
        return f"redis://{USER}:{PASSWORD}@127.0.0.1:{self.port}"

    def client(self, **options: Any) -> redis.Redis:
        """Return a client of this server, as the user that the suite leaves alone."""
        return super().client(**{"username": USER, "password": PASSWORD, **options})

    def info(self, section: str = "replication") -> dict[str, Any]:
        """Return one section of INFO."""
        found: dict[str, Any] = self.client().info(section)
        return found


class Pair:
    """Source, native replica, target and worker. A context manager.

    A native replica does not get everything either (DEBUG POPULATE is not replicated): what it lacks as well, the
    worker cannot have. `own` collects that, `faults` the rest; a difference that stays is noted once.
    """

    def __init__(self, source: str, target: str, *, kill_every: float | None) -> None:
        self.source, self.replica, self.target = (
            OpenServer(source, **_source_settings(source)), OpenServer(source), OpenServer(target),
        )  # fmt: skip
        self.worker = Worker(self.source, self.target, SHAKER_RETRY__MAX_SECONDS="1")
        self.kill_every = kill_every
        self.faults: list[str] = []
        self.own: list[str] = []
        self.kills = 0
        self.applied = 0
        self.compared = 0
        self.rejected = 0
        self._started = 0.0
        self._counted = 0
        self._logged = 0
        self._known: set[str] = set()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for server in (self.source, self.replica, self.target):
            self._stack.enter_context(server)
        client = self.replica.client()
        client.config_set("masteruser", USER)
        client.config_set("masterauth", PASSWORD)
        self.replica.replicate(self.source)
        self._stack.enter_context(self.worker)
        self._started = time.monotonic()
        self.worker.wait_state("streaming")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def tick(self) -> None:
        """Kill the worker when it is time, and start a worker where none runs."""
        if self.worker.returncode is not None:
            self._fault(f"the worker ended with {self.worker.returncode}: {self.worker.output[-1:]}")
            self._start()
        elif self.kill_every is not None and time.monotonic() > self._started + self.kill_every:
            self._note_status()
            self.worker.kill()
            self.kills += 1
            self._start()

    def _start(self) -> None:
        self.worker.start()
        self._counted = self._logged = 0
        self._started = time.monotonic()

    def _note_status(self) -> dict[str, Any] | None:
        """Read the worker's status and count the commands that it applied; None while it does not answer."""
        try:
            status = self.worker.status() if self.worker.events("health server started") else None
        except (OSError, AssertionError):
            return None
        if status is not None:
            commands = int(status["stream"]["commands_applied"])
            self.applied += commands - self._counted
            self._counted = commands
        return status

    def check(self, where: str) -> None:
        """Wait until the worker has applied all; note new differences and rejected commands."""
        self.tick()
        try:
            self.worker.wait_applied(self.source, APPLIED_SECONDS)
            self._compare(where)
        except (AssertionError, redis.RedisError, OSError) as error:
            self._fault(f"{where}: not compared: {str(error).splitlines()[0]}, {self.worker.output[-1:]}")
        self._started = max(self._started, time.monotonic() - (self.kill_every or 0) / 2)
        self._reject(where)

    def _compare(self, where: str) -> None:
        self.compared += 1
        found = _every_difference(self.source, self.target)
        lacking = {}
        if found:
            self.replica.wait_replica(self.source)
            lacking = _every_difference(self.replica, self.target)
        real = {f"{place}{what}" for place, what in found.items() if place in lacking}
        own = {f"{place}{what}" for place, what in found.items() if place not in lacking}
        self.own += [f"{where}: {one}" for one in sorted(own - self._known)]
        for one in sorted(real - self._known)[:SHOWN]:
            self._fault(f"{where}: {one}")
        if len(real - self._known) > SHOWN:
            self._fault(f"{where}: {len(real - self._known) - SHOWN} differences more")
        self._known = real | own

    def _reject(self, where: str) -> None:
        status = self._note_status()
        if status is None:
            return
        rejected = int(status["rejected_commands"])
        if rejected > self.rejected:
            # The log of a worker that was killed is gone: the reasons name the last command.
            self._fault(f"{where}: {rejected - self.rejected} commands rejected, {status['reasons']}")
            logged = self._log_of_rejected()
            for event in logged[self._logged :][-SHOWN:]:
                self._fault(f"  {event['command']} {event['key']}: {event['error']}")
            self._logged = len(logged)
        self.rejected = rejected

    def _log_of_rejected(self) -> list[dict[str, Any]]:
        """Return the worker's log of rejected commands; it may come a moment after the status, or not at all."""
        deadline = time.monotonic() + LOG_SECONDS
        while len(found := self.worker.events("command rejected")) == self._logged and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _fault(self, text: str) -> None:
        self.faults.append(text)


def _every_difference(source: Server, target: Server) -> dict[oracle.Place, str]:
    """Return what the verification finds, and what the oracle does."""
    return compare.every_difference(source, target) | oracle.every_difference(source, target)


def _source_settings(name: str) -> dict[str, str]:
    """Return what the suite expects of an external server."""
    return {} if name in OLD else {"enable-protected-configs": "yes", "enable-module-command": "yes"}
