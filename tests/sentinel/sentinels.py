"""Real Sentinels for the tests: three of them watch one primary and its replicas."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

import redis

from tests.support.servers import DEFAULT, LOCALE, Server, binary, free_port, wait_until

SERVICE = "my-service"
COUNT = 3
DOWN_MILLISECONDS = 1000  # of silence, after which a Sentinel takes a server for dead


class Sentinels:
    """Three Sentinels of the primary `server`. A context manager.

    `password` protects the Sentinels themselves, `user` gives them an ACL user of that name instead. Where the
    server has a `tls-port`, the Sentinels use it, its certificate and nothing but TLS themselves.
    """

    def __init__(self, server: Server, *, password: str | None = None, user: str | None = None) -> None:
        self._server = server
        self._tls = "tls-port" in server.config
        self._password = password
        self._user = user
        self._directory = Path(tempfile.mkdtemp(prefix="shaker-test-"))
        self.ports = [free_port() for _ in range(COUNT)]
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def nodes(self) -> str:
        """Hosts and ports of all, as a URL lists them."""
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    @property
    def url(self) -> str:
        """The address by which a worker finds the primary."""
        return f"{'rediss' if self._tls else 'redis'}+sentinel://{self.nodes}/{SERVICE}"

    def port_of(self, server: Server) -> int:
        """Return the port at which the Sentinels know a server."""
        return int(str(server.config["tls-port"])) if self._tls else server.port

    @property
    def logs(self) -> str:
        """What all Sentinels have logged."""
        return "".join(path.read_text() for path in self._directory.glob("*.log"))

    def client(self, index: int = 0) -> redis.Redis:
        """Return a client of one Sentinel."""
        config = self._server.config
        files = {"ssl_ca_certs": "ca-cert-file", "ssl_certfile": "cert-file", "ssl_keyfile": "key-file"}
        tls: dict[str, Any] = {name: config[f"tls-{file}"] for name, file in files.items()} if self._tls else {}
        return redis.Redis(
            host="127.0.0.1",
            port=self.ports[index],
            username=self._user,
            password=self._password,
            decode_responses=True,
            socket_timeout=10,
            ssl=self._tls,
            **tls,
        )

    def ask(self, *arguments: str, index: int = 0) -> Any:
        """Return what one Sentinel answers."""
        with self.client(index) as client:
            return client.execute_command("SENTINEL", *arguments)

    def primary_port(self, index: int = 0) -> int:
        """Return the port of the primary that a Sentinel names."""
        return int(self.ask("GET-MASTER-ADDR-BY-NAME", SERVICE, index=index)[1])

    def replicas(self) -> list[dict[str, Any]]:
        """Return what the first Sentinel knows of the primary's replicas."""
        with self.client() as client:
            found: list[dict[str, Any]] = client.sentinel_slaves(SERVICE)
        return found

    def failover(self, to: Server) -> None:
        """Let the Sentinels make a replica the primary, and wait until all of them name it."""
        self.ask("FAILOVER", SERVICE)
        self.wait_primary(to)

    def wait_primary(self, server: Server) -> None:
        """Wait until all Sentinels name `server`, and it is one."""
        wait_until(
            lambda: all(self.primary_port(index) == self.port_of(server) for index in range(COUNT)),
            "the Sentinels to agree",
            60,
        )
        wait_until(lambda: server.info()["role"] == "master", "the promotion", 60)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        for index, port in enumerate(self.ports):
            lines = [
                f"{'tls-port' if self._tls else 'port'} {port}",
                "bind 127.0.0.1",
                f"dir {self._directory}",
                f"logfile {self._directory}/{index}.log",
                f"sentinel monitor {SERVICE} 127.0.0.1 {self.port_of(self._server)} 2",
                f"sentinel down-after-milliseconds {SERVICE} {DOWN_MILLISECONDS}",
                f"sentinel failover-timeout {SERVICE} 6000",
                f"sentinel parallel-syncs {SERVICE} 1",
            ]
            if self._tls:
                files = ("tls-cert-file", "tls-key-file", "tls-ca-cert-file", "tls-auth-clients")
                lines += ["port 0", "tls-replication yes"]
                lines += [f"{name} {self._server.config[name]}" for name in files]
            if self._server.password:
                lines.append(f"sentinel auth-pass {SERVICE} {self._server.password}")
            if self._user:
                lines += [
                    f"user {self._user} on >{self._password} allchannels +@all",
                    f"sentinel sentinel-user {self._user}",
                    f"sentinel sentinel-pass {self._password}",
                    "user default on nopass allchannels -@all +auth +ping +hello",
                ]
            elif self._password:
                lines += [f"requirepass {self._password}", f"sentinel sentinel-pass {self._password}"]
            path = self._directory / f"{index}.conf"
            path.write_text("\n".join(lines) + "\n")
            command = ["setpriv", "--pdeathsig", "KILL", binary(DEFAULT), str(path), "--sentinel"]
            self.processes.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.STDOUT,
                    env=os.environ | LOCALE,
                )
            )
        wait_until(self._agree, "the Sentinels to know one another", 30)

    def _agree(self) -> bool:
        for index, process in enumerate(self.processes):
            assert process.poll() is None, (self._directory / f"{index}.log").read_text()
        try:
            states = [self._state(index) for index in range(COUNT)]
        except redis.ConnectionError:
            return False
        expected = self._server.info()["connected_slaves"]
        return all(int(s["num-other-sentinels"]) == COUNT - 1 and int(s["num-slaves"]) >= expected for s in states)

    def _state(self, index: int) -> dict[str, Any]:
        flat = self.ask("MASTER", SERVICE, index=index)
        if isinstance(flat, dict):
            return flat
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        shutil.rmtree(self._directory, ignore_errors=True)
