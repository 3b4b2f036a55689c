"""The control endpoint: `POST /control/<verb>` with a bearer token, answered by the worker's own event loop."""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

log = structlog.get_logger("shaker.control")

MAX_TOKEN_BYTES = 4096
# Takes a verb and the fields of the body, and returns the answer's fields. Raises ControlError for 409.
Controls = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]


class ControlError(Exception):
    """The worker cannot do that now; the text is the reason. `status` is the HTTP status of the answer."""

    def __init__(self, reason: str, *, status: int = 409) -> None:
        super().__init__(reason)
        self.status = status


def read_token(path: Path) -> str:
    """Return the token in a file, without the line's end. Raises ControlError where there is none."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TOKEN_BYTES)
    except OSError as error:
        raise ControlError(f"control.token_file cannot be read: {error.strerror}", status=503) from error
    token = content.strip().decode("utf-8", "surrogateescape")
    if not token:
        raise ControlError("control.token_file is empty", status=503)
    return token


class ControlEndpoint:
    """Checks a request before any verb sees it. The token file is read at each request: it may be rotated."""

    def __init__(self, controls: Controls, token_file: Path, *, allow_plain: bool) -> None:
        self._controls = controls
        self._token_file = token_file
        self._allow_plain = allow_plain

    async def answer(self, request: Request) -> Response:
        """Answer a request: 401, 403, 409 with a reason, or what the verb answers."""
        verb = request.path_params["verb"]
        if not self._allow_plain and not _is_loopback(request):
            return _refused(
                403, "plain HTTP from another host: set control.allow_plain if TLS ends before the worker"
            )
        try:
            token = read_token(self._token_file)
        except ControlError as error:
            return _refused(error.status, str(error))
        given = request.headers.get("authorization", "")
        expected = f"Bearer {token}".encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given.encode("latin-1", "replace"), expected):
            return _refused(401, "the token is wrong or missing", {"WWW-Authenticate": "Bearer"})
        try:
            fields = json.loads(await request.body() or b"{}")
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            return _refused(400, "the body is not a JSON object")
        (log.debug if "id" in fields else log.info)("control", verb=verb)  # not each question about the progress
        try:
            return JSONResponse({"ok": True} | await self._controls(verb, fields))
        except ControlError as error:
            return _refused(error.status, str(error))


def _refused(status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"ok": False, "reason": reason}, status, headers)


def _is_loopback(request: Request) -> bool:
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
