"""Asking the control endpoint of a worker: each way in which it can fail is named."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from shaker.commands.control import ask
from shaker.errors import LinkError, RefusedError, SettingsError
from shaker.watch.http.control import ControlEndpoint, ControlError
from shaker.watch.http.routes import HealthServer
from shaker.watch.status import Status
from tests.support.servers import free_port

Serve = Callable[[int, bytes], str]


async def controls(verb: str, fields: dict[str, Any]) -> dict[str, Any]:
    """A worker that knows one verb."""
    if verb != "verify":
        raise ControlError("the snapshot is not applied yet")
    return {"id": 7, "got": fields}


@pytest.fixture
def url(token: Path) -> Iterator[str]:
    """A health server with controls."""
    control = ControlEndpoint(controls, token, allow_plain=False)
    server = HealthServer(Status(), host="127.0.0.1", port=0, ready_max_lag_seconds=30, control=control)
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server that answers any POST with a status and a body."""
    with ExitStack() as stack:

        def start(status: int, body: bytes) -> str:
            class Handler(http.server.BaseHTTPRequestHandler):
                def do_POST(self) -> None:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

                def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  the base class's name
                    pass

            server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(server.server_close)
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield start


@pytest.mark.parametrize("path", ["", "/", "/status"])
def test_a_verb_is_asked_with_its_fields(url: str, token: Path, path: str) -> None:
    """At the address that `shaker status` takes, too."""
    answer = ask(url + path, token, "verify", {"pattern": "a*"})
    assert answer == {"ok": True, "id": 7, "got": {"pattern": "a*"}}


def test_a_refusal_gives_the_reason(url: str, token: Path) -> None:
    """In the worker's own words; a wrong token is one, too."""
    with pytest.raises(RefusedError, match="the snapshot is not applied yet"):
        ask(url, token, "pause", {})
    other = token.with_name("other")
    other.write_text("wrong")
    with pytest.raises(RefusedError):
        ask(url, other, "verify", {})


def test_a_token_is_required(url: str, tmp_path: Path) -> None:
    """The setting is named; the token itself is in no message."""
    with pytest.raises(SettingsError, match="SHAKER_CONTROL__TOKEN_FILE"):
        ask(url, None, "verify", {})
    with pytest.raises(SettingsError, match="No such file"):
        ask(url, tmp_path / "nowhere", "verify", {})


@pytest.mark.parametrize("content", [b"", b"\n", b"secret\nsecond", b"secret\xff", "sécret".encode()])
def test_a_token_is_one_line_of_ascii(url: str, tmp_path: Path, content: bytes) -> None:
    """Anything else cannot be sent in a header."""
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="one line of ASCII") as refused:
        ask(url, path, "verify", {})
    assert "secret" not in str(refused.value)


def test_no_worker_is_a_link_error(token: Path, serve: Serve) -> None:
    """Nobody there, or somebody else."""
    with pytest.raises(LinkError, match=r"no answer from the worker at 127\.0\.0\.1 port"):
        ask(f"http://127.0.0.1:{free_port()}", token, "verify", {})
    for body in (b"<html>", b"[1]", b"\xff"):
        with pytest.raises(LinkError, match="is not a worker"):
            ask(serve(200, body), token, "verify", {})


def test_a_worker_without_controls_is_named(token: Path, serve: Serve) -> None:
    """404 without a reason is a health server without the endpoint; with one, a verb that it does not know."""
    with pytest.raises(RefusedError, match="has no control endpoint"):
        ask(serve(404, b"not found"), token, "verify", {})
    with pytest.raises(RefusedError, match="there is no control x"):
        ask(serve(404, b'{"ok": false, "reason": "there is no control x"}'), token, "x", {})
    with pytest.raises(RefusedError, match="refuses: 500"):
        ask(serve(500, b"{}"), token, "x", {})
