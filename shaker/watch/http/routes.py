"""The health server: probes, metrics, status and page on one port, answered from its own thread.

Its own event loop, because `/livez` must answer while the replication loop is stalled, and say so. It reads `Status`
and nothing else.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import structlog
from anyio.from_thread import start_blocking_portal
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from shaker.bytesize import parse_size
from shaker.errors import SettingsError
from shaker.text import printable
from shaker.watch.http.control import ControlEndpoint
from shaker.watch.http.rate_limit import Pace, Sparing
from shaker.watch.http.server import DEFAULT_LIMITS, HttpServer, Limits
from shaker.watch.metrics import OPENMETRICS_TYPE, Metrics
from shaker.watch.status import Status
from shaker.watch.status_document import status_document

Handler = Callable[[Request], Awaitable[Response]]

# The page loads only files of this package; caches never keep the status.
HEADERS = [
    (
        "Content-Security-Policy",
        "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
]

PAGE_DIRECTORY = Path(__file__).with_name("page")
PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/control.js": ("control.js", "text/javascript"),
    "/curve.js": ("curve.js", "text/javascript"),
    "/text.js": ("text.js", "text/javascript"),
}

# Connections that the kernel queues for us: room for a burst while the interpreter is busy.
BACKLOG = 256
# Bodies of one kind rendered per second, and in a burst: each takes up to a millisecond.
MADE_PER_SECOND = 20.0
MADE_AT_ONCE = 20


class HealthServer:
    """Answers HTTP requests about one `Status` from `start` to `stop`, in its own thread; `port` is the one bound."""

    def __init__(
        self,
        status: Status,
        *,
        host: str,
        port: int,
        ready_max_lag_seconds: float,
        limits: Limits = DEFAULT_LIMITS,
        control: ControlEndpoint | None = None,
    ) -> None:
        self.port = port
        self._status = status
        self._host = host
        self._max_lag = ready_max_lag_seconds
        self._limits = limits
        self._control = control
        self._metrics = Metrics(status, ready_max_lag_seconds=ready_max_lag_seconds)
        self._exposed: dict[bool, Sparing[tuple[bytes, str]]] = {False: _sparing(), True: _sparing()}
        self._documents: Sparing[Response] = _sparing()
        self._histories: Sparing[Response] = _sparing()
        self._running = ExitStack()
        self.handlers: dict[str, Handler] = {
            "/livez": self._livez,
            "/startupz": self._startupz,
            "/readyz": self._readyz,
            "/healthz": self._healthz,
            "/metrics": self._exposition,
            "/status": self._document,
            "/history": self._history,
            **{path: _static(name, media) for path, (name, media) in PAGE.items()},
        }

    def show(self, status: Status, control: ControlEndpoint | None) -> None:
        """Answer about another direction of the replication from now on."""
        self._metrics = Metrics(status, ready_max_lag_seconds=self._max_lag)
        self._status = status
        self._control = control

    def start(self) -> None:
        """Bind and serve. Raises SettingsError, naming `health.port`, if the address cannot be bound."""
        listener = self._bind()
        self.port = listener.getsockname()[1]
        # Starlette adds HEAD to GET and answers 405 to other methods.
        routes = [Route(path, handler, methods=["GET"]) for path, handler in self.handlers.items()]
        if self._control is not None:
            routes.append(Route("/control/{verb}", self._steer, methods=["POST"]))
        application = Starlette(routes=routes)
        application.router.redirect_slashes = False
        server = HttpServer(application, HEADERS, self._limits)
        portal = self._running.enter_context(start_blocking_portal("asyncio", name="health server"))
        serving, _ = portal.start_task(server.serve, listener)
        serving.add_done_callback(_log_failure)
        self._running.callback(portal.call, server.stop)
        structlog.get_logger().info("health server started", host=self._host, port=self.port)

    def stop(self) -> None:
        """Stop serving and return once it has ended; without effect if nothing is served."""
        self._running.close()

    def _bind(self) -> socket.socket:
        try:
            family, _, _, _, address = socket.getaddrinfo(
                self._host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            # "::" listens for IPv4 as well if the system supports it.
            dual = family == socket.AF_INET6 and self._host == "::" and socket.has_dualstack_ipv6()
            return socket.create_server(
                (str(address[0]), self.port), family=family, backlog=BACKLOG, dualstack_ipv6=dual
            )
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not an address"
            raise SettingsError(
                f"health.port (SHAKER_HEALTH__PORT): cannot listen on {self._host} port {self.port}: {reason}",
                hint="use a free port and an address of this machine, or 0 for any free port",
            ) from None

    async def _livez(self, request: Request) -> Response:
        stalled = self._status.stalled()
        return _answer([f"{task} is stalled" for task in stalled])

    async def _startupz(self, request: Request) -> Response:
        return _answer([] if self._status.started else ["the worker has not started its work"])

    async def _readyz(self, request: Request) -> Response:
        try:
            seconds, size = self._lag_limits(request)
        except ValueError as error:
            return PlainTextResponse(f"{error}\n", 400)
        return _answer(self._status.not_ready(max_lag_seconds=seconds, max_lag_bytes=size))

    async def _healthz(self, request: Request) -> Response:
        try:
            seconds, size = self._lag_limits(request)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        document = status_document(self._status, max_lag_seconds=seconds)
        # Code and body must agree: the limits of this request may differ from those of /status.
        reasons = self._status.not_ready(max_lag_seconds=seconds, max_lag_bytes=size)
        document |= {"ready": not reasons, "reasons": reasons}
        return JSONResponse(document, 503 if reasons else 200)

    async def _steer(self, request: Request) -> Response:
        assert self._control is not None  # there is no such path without it
        return await self._control.answer(request)

    async def _exposition(self, request: Request) -> Response:
        accept = request.headers.get("accept", "")
        body, content_type = self._exposed[OPENMETRICS_TYPE in accept].get(lambda: self._metrics.render(accept))
        return Response(body, headers={"Content-Type": content_type})

    async def _document(self, request: Request) -> Response:
        return self._documents.get(
            lambda: JSONResponse(status_document(self._status, max_lag_seconds=self._max_lag))
        )

    async def _history(self, request: Request) -> Response:
        return self._histories.get(lambda: JSONResponse(self._status.history.document()))

    def _lag_limits(self, request: Request) -> tuple[float | None, int | None]:
        """Return the maximum lag in (seconds, bytes): the request's limits replace the setting."""
        given: dict[str, str] = {}
        for name, value in request.query_params.multi_items():
            if name not in ("lag", "lag_seconds"):
                # A misspelt limit would silently be no limit.
                raise ValueError("only lag and lag_seconds are allowed, such as ?lag=10MB or ?lag_seconds=5")
            if name in given:
                raise ValueError(f"{name} is given twice")
            given[name] = value
        if not given:
            return self._max_lag, None
        size = None
        if "lag" in given:
            try:
                size = parse_size(given["lag"])
            except ValueError as error:
                raise ValueError(f"lag {error}") from None
        return _seconds(given["lag_seconds"]) if "lag_seconds" in given else None, size


def _sparing() -> Sparing[Any]:
    return Sparing(Pace(per_second=MADE_PER_SECOND, at_once=MADE_AT_ONCE))


def _log_failure(serving: Future[Any]) -> None:
    if not serving.cancelled() and serving.exception() is not None:
        structlog.get_logger().error("health server ended by a bug", exc_info=serving.exception())


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError("lag_seconds is not a number of seconds such as 5 or 0.5")
    return seconds


def _answer(missing: list[str]) -> Response:
    """Return 200 `ok`, or 503 with the `missing` conditions, one a line."""
    lines = "".join(f"{printable(each)}\n" for each in missing)
    return PlainTextResponse(lines or "ok\n", 503 if missing else 200)


def _static(name: str, media_type: str) -> Handler:
    body = (PAGE_DIRECTORY / name).read_bytes()

    async def handler(request: Request) -> Response:
        return Response(body, media_type=media_type)

    return handler
