"""Passwords: rotated while running, wrong and mended, and never shown anywhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.compare import differences
from tests.support.servers import Server
from tests.support.worker import ROOT, Worker

# What has to be encoded in a URL, escaped in JSON and HTML, and would be expanded by a shell.
FIRST = "f1rst/p@ss:w%20rd\"<&>'$HOME\\n"
SECOND = "s3cond-péss wörd#?{}"
PAGES = ("/", "/livez", "/readyz", "/startupz", "/healthz", "/metrics", "/status")
Sides = Callable[[], "Pair"]


class Pair:
    """A source and a target, of which `side` has the user `worker` with the password FIRST."""

    def __init__(self, side: str, source: Server, target: Server, path: Path) -> None:
        self.side = side
        self.source, self.target = source, target
        self.guarded = source if side == "source" else target
        self.file = path
        self.file.write_text(f"{FIRST}\n")
        self.rotate("resetpass", f">{FIRST}", "on", "~*", "&*", "+@all")

    def rotate(self, *rules: str) -> None:
        """Change the user and end its connections: Redis leaves those that are logged in alone."""
        client = self.guarded.client()
        client.execute_command("ACL", "SETUSER", "worker", *rules)
        client.execute_command("CLIENT", "KILL", "USER", "worker")

    def url(self, userinfo: str = "") -> str:
        """Return the address of the guarded server with `userinfo`."""
        return f"redis://{userinfo}127.0.0.1:{self.guarded.port}"

    def worker(self, url: str | None = None, **settings: str) -> Worker:
        """Return a worker that logs in by the file, or as `url` says; it is not started."""
        name = f"SHAKER_{self.side.upper()}"
        own = {f"{name}__USERNAME": "worker", f"{name}__PASSWORD_FILE": str(self.file)} if url is None else {}
        urls = [url or self.url() if each is self.guarded else each for each in (self.source, self.target)]
        settings = {"SHAKER_RETRY__ACCESS_SECONDS": "1", "SHAKER_LOG__LEVEL": "debug", **own, **settings}
        return Worker(*urls, **settings)

    def works(self, worker: Worker) -> None:
        """Assert that what is written now arrives."""
        worker.wait_state("streaming")
        self.source.client().incr("counter")
        worker.wait_applied(self.source)
        assert differences(self.source, self.target) == []


@pytest.fixture(params=["source", "target"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        source, target = stack.enter_context(Server()), stack.enter_context(Server())
        yield Pair(request.param, source, target, tmp_path / "password")


def everything_shown(worker: Worker, *servers: Server) -> str:
    """Return all that a worker shows: log, pages, its records and names on the servers, its command line."""
    shown = list(worker.output)
    if worker.returncode is None:
        shown += [worker.get(path)[1] for path in PAGES]
        shown.append(Path(f"/proc/{worker.pid}/cmdline").read_text())
    for server in servers:
        client = server.client()
        shown.append(str([client.hgetall(key) for key in client.keys("shaker:*")]))
        shown.append(str(client.execute_command("CLIENT", "LIST")))
    return "\n".join(shown)


def assert_secret(shown: str, *passwords: str) -> None:
    """Assert that no password is in `shown`, as it is or in any spelling that a part of the worker could use."""
    for password in passwords:
        for form in (
            password,
            quote(password, safe=""),
            quote(password),
            repr(password)[1:-1],
            ascii(password)[1:-1],
        ):
            assert form not in shown
        # The longest plain word of it: whatever escaped the rest.
        assert max("".join(c if c.isalnum() else " " for c in password).split(), key=len) not in shown


def test_a_rotated_password_is_read_again(pair: Pair) -> None:
    with pair.worker() as worker:
        pair.works(worker)
        pair.rotate(f">{SECOND}", f"<{FIRST}")

        def refused() -> list[dict[str, Any]]:
            return [event for event in worker.events("link failed") if event["kind"] == "access"]

        worker.wait(lambda: len(refused()) > 1, "refused attempts")
        assert f"{pair.side}.password" in refused()[0]["hint"]
        assert refused()[0]["next_try_seconds"] == 1.0
        code, body = worker.get("/readyz")
        assert code == 503, body
        assert worker.get("/livez")[0] == 200

        pair.file.write_text(SECOND)
        pair.works(worker)
        status = worker.status()
        assert (status["full_syncs"], status["rejected_commands"]) == (1, 0)
        assert_secret(everything_shown(worker, pair.source, pair.target), FIRST, SECOND)


def test_a_file_that_went_away_is_named_and_tried_again(pair: Pair) -> None:
    with pair.worker() as worker:
        pair.works(worker)
        pair.file.unlink()
        pair.rotate()
        event = worker.wait(
            lambda: [e for e in worker.events("link failed") if e["kind"] == "access"], "the failure in the log"
        )[0]
        assert f"{pair.side}.password_file" in event["error"]
        pair.file.write_text(FIRST)
        pair.works(worker)


def test_a_user_without_rights_is_told_and_mended(pair: Pair) -> None:
    with pair.worker() as worker:
        pair.works(worker)
        pair.rotate("-@all", "+auth")
        event = worker.wait(
            lambda: [e for e in worker.events("link failed") if "NOPERM" in e["error"]], "the failure in the log"
        )[0]
        assert event["kind"] == "access"
        pair.rotate("+@all")
        pair.works(worker)


@pytest.mark.parametrize("mode", ["migrate", "snapshot"])
def test_a_wrong_password_ends_a_one_off_mode(pair: Pair, mode: str) -> None:
    with pair.worker(pair.url(f"worker:{quote(SECOND, safe='')}@"), SHAKER_MODE=mode) as worker:
        assert worker.wait_ended() == 3
        assert "WRONGPASS" in worker.events("replication ends")[0]["error"]
        assert_secret(everything_shown(worker), FIRST, SECOND)


def test_a_password_in_the_url_is_not_shown(pair: Pair) -> None:
    with pair.worker(pair.url(f"worker:{quote(FIRST, safe='')}@")) as worker:
        pair.works(worker)
        assert_secret(everything_shown(worker, pair.source, pair.target), FIRST)


@pytest.mark.parametrize("name", ["redis-6.2", "redis-7.0", "valkey-9.1"])
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_server_that_quotes_the_password_is_not_repeated(name: str, side: str) -> None:
    """Where AUTH is renamed away, the server's error quotes what it was sent."""
    with Server(name, rename_command='AUTH ""') as guarded, Server() as plain:
        servers = (guarded, plain) if side == "source" else (plain, guarded)
        settings = {f"SHAKER_{side.upper()}__PASSWORD": FIRST, f"SHAKER_{side.upper()}__USERNAME": "worker"}
        with Worker(*servers, SHAKER_LOG__LEVEL="debug", **settings) as worker:
            worker.wait(lambda: len(worker.events("link failed")) > 1, "refused attempts")
            assert_secret(everything_shown(worker, *servers), FIRST)


def test_no_command_prints_a_password(pair: Pair) -> None:
    worker = pair.worker(pair.url(f"worker:{quote(FIRST, safe='')}@"))
    for arguments in (("config",), ("config", "--check"), ("config", "--json")):
        command = [sys.executable, "-m", "shaker", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=worker.environment, capture_output=True, text=True, timeout=30)
        assert_secret(done.stdout + done.stderr, FIRST)
