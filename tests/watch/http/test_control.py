"""The control endpoint: who may use it, and how it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from shaker.watch.http.control import ControlEndpoint, ControlError
from shaker.watch.http.routes import HealthServer
from shaker.watch.status import Status

TOKEN = "a long random token"


async def controls(verb: str, fields: dict[str, Any]) -> dict[str, Any]:
    """A worker that knows one verb."""
    if verb == "busy":
        raise ControlError("the snapshot is not applied yet")
    if verb != "echo":
        raise ControlError(f"there is no control {verb}", status=404)
    return {"got": fields}


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """The token, with a newline as editors write it."""
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return path


@pytest.fixture
def http(token_file: Path) -> Iterator[httpx.Client]:
    """A client of a health server with controls."""
    control = ControlEndpoint(controls, token_file, allow_plain=False)
    server = HealthServer(Status(), host="127.0.0.1", port=0, ready_max_lag_seconds=30, control=control)
    server.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
            yield client
    finally:
        server.stop()


def bearer(token: str = TOKEN) -> dict[str, str]:
    """The header that proves the token."""
    return {"Authorization": f"Bearer {token}"}


def test_the_right_token_reaches_the_verb(http: httpx.Client) -> None:
    """With or without a body."""
    assert http.post("/control/echo", headers=bearer(), json={"a": 1}).json() == {"ok": True, "got": {"a": 1}}
    assert http.post("/control/echo", headers=bearer()).json() == {"ok": True, "got": {}}


@pytest.mark.parametrize(
    "headers", [{}, bearer("x"), bearer("a long random toke"), {"Authorization": TOKEN}], ids=str
)
def test_any_other_token_is_401(http: httpx.Client, headers: dict[str, str]) -> None:
    """It says nothing of the right one."""
    answer = http.post("/control/echo", headers=headers)
    assert (answer.status_code, answer.json()["ok"]) == (401, False)
    assert TOKEN not in answer.text


def test_refusals_have_their_reason(http: httpx.Client) -> None:
    """409 for what cannot be done now, 404 for an unknown verb, 400 for a body that is no object, 405 for GET."""
    busy = http.post("/control/busy", headers=bearer())
    assert (busy.status_code, busy.json()) == (409, {"ok": False, "reason": "the snapshot is not applied yet"})
    assert http.post("/control/nothing", headers=bearer()).status_code == 404
    assert http.post("/control/echo", headers=bearer(), content=b"[1]").status_code == 400
    assert http.post("/control/echo", headers=bearer(), content=b"{").status_code == 400
    assert http.get("/control/echo", headers=bearer()).status_code == 405


def test_a_rotated_token_counts_at_once(http: httpx.Client, token_file: Path) -> None:
    """Its file is read at each request; an empty or missing one lets nobody in."""
    token_file.write_text("another")
    assert http.post("/control/echo", headers=bearer()).status_code == 401
    assert http.post("/control/echo", headers=bearer("another")).status_code == 200
    token_file.write_text("\n")
    assert http.post("/control/echo", headers=bearer("x")).status_code == 503
    token_file.unlink()
    assert http.post("/control/echo", headers=bearer("another")).status_code == 503


def test_without_a_token_file_there_is_no_control(tmp_path: Path) -> None:
    """404, as for any path that is not there."""
    server = HealthServer(Status(), host="127.0.0.1", port=0, ready_max_lag_seconds=30)
    server.start()
    try:
        assert httpx.post(f"http://127.0.0.1:{server.port}/control/verify", headers=bearer()).status_code == 404
    finally:
        server.stop()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("host", "allow_plain", "status"),
    [("127.0.0.1", False, 200), ("::1", False, 200), ("192.0.2.7", False, 403), ("192.0.2.7", True, 200)],
)
async def test_plain_http_from_another_host_is_403(
    token_file: Path, host: str, allow_plain: bool, status: int
) -> None:
    """Before the token is looked at; control.allow_plain lets it in, where TLS ends before the worker."""
    endpoint = ControlEndpoint(controls, token_file, allow_plain=allow_plain)
    transport = httpx.ASGITransport(
        Starlette(routes=[Route("/control/{verb}", endpoint.answer, methods=["POST"])]), client=(host, 1234)
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
        answer = await client.post("/control/echo", headers=bearer())
        assert answer.status_code == status
        assert ("control.allow_plain" in answer.text) is (status == 403)
        assert (await client.post("/control/echo", headers=bearer("x"))).status_code == (
            403 if status == 403 else 401
        )
