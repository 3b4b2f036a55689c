"""The health server over real HTTP: codes, bodies, headers, and clients that mean no good."""

from __future__ import annotations

import itertools
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection

import httpx
import pytest

from shaker.errors import SettingsError
from shaker.watch.http.routes import HealthServer
from shaker.watch.http.server import DEFAULT_LIMITS, Limits
from shaker.watch.status import State, Status
from shaker.watch.status_document import status_document

FILES = ["/page.css", "/page.js", "/curve.js", "/text.js"]
PATHS = ["/livez", "/startupz", "/readyz", "/healthz", "/metrics", "/status", "/history", "/", *FILES]


SIDES = ("source", "target")
OFFSETS = ("source", "received", "applied", "checkpoint")


@pytest.fixture
def status() -> Status:
    return Status(name="orders")


@pytest.fixture
def hasty(status: Status) -> Iterator[HealthServer]:
    """A server with little patience."""
    limits = Limits(exchange_seconds=0.4)
    server = HealthServer(status, host="127.0.0.1", port=0, ready_max_lag_seconds=30, limits=limits)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def http(health: HealthServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{health.port}", timeout=10, trust_env=False) as client:
        yield client


def connect(health: HealthServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", health.port), timeout=20)


def test_livez_depends_on_the_tasks_alone(http: httpx.Client, status: Status) -> None:
    assert (http.get("/livez").status_code, http.get("/livez").text) == (200, "ok\n")

    status.state = State.FAILED
    status.reasons["x"] = "no Redis can be reached"
    assert http.get("/livez").status_code == 200

    status.heartbeat("target", within=-1)
    status.heartbeat("source", within=-1)
    answer = http.get("/livez")
    assert (answer.status_code, answer.text) == (503, "source is stalled\ntarget is stalled\n")

    status.heartbeat("target")
    status.forget("source")
    assert http.get("/livez").status_code == 200


def test_startupz_waits_for_the_start(http: httpx.Client, status: Status) -> None:
    answer = http.get("/startupz")
    assert (answer.status_code, answer.text) == (503, "the worker has not started its work\n")

    status.started = True
    assert http.get("/startupz").status_code == 200


def test_readyz_lists_what_is_missing(http: httpx.Client, status: Status) -> None:
    status.reasons["rejected"] = "1 command was rejected"
    answer = http.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "state is starting\n1 command was rejected\n")

    status.state = State.STREAMING
    status.reasons.clear()
    answer = http.get("/readyz")
    assert (answer.status_code, answer.text) == (200, "ok\n")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", 503),
        ("?lag_seconds=5", 503),
        ("?lag_seconds=100", 200),
        ("?lag_seconds=0", 503),
        ("?lag=10MB", 200),
        ("?lag=2000", 200),
        ("?lag=1999", 503),
        ("?lag=2kb", 200),
        ("?lag=2k", 200),
        ("?lag=10MB&lag_seconds=5", 503),
        ("?lag=10MB&lag_seconds=100", 200),
    ],
)
def test_a_request_sets_its_own_limit_of_lag(
    health: HealthServer, http: httpx.Client, status: Status, query: str, code: int
) -> None:
    status.state = State.STREAMING
    now = status.clock()
    status.clock = lambda: now
    status.observe_source_offset(3000)
    status.observe_applied(1000, 1, None)
    status.clock = lambda: now + 60

    for path in ("/readyz", "/healthz"):
        assert http.get(path + query).status_code == code
    body = http.get("/healthz" + query).json()
    assert body["ready"] is (code == 200)
    assert bool(body["reasons"]) is (code == 503)
    # The limit of one request is none of the others'.
    assert http.get("/readyz").status_code == 503


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("?lag=", "lag is not"),
        ("?lag=x", "lag is not"),
        ("?lag=-1", "lag is not"),
        ("?lag_seconds=", "lag_seconds is not"),
        ("?lag_seconds=nan", "lag_seconds is not"),
        ("?lag_seconds=inf", "lag_seconds is not"),
        ("?lag_seconds=-1", "lag_seconds is not"),
        ("?lag_secs=5", "only lag and lag_seconds are allowed"),
        ("?lag=1&lag=2", "lag is given twice"),
    ],
)
def test_a_bad_limit_is_400_and_named(http: httpx.Client, status: Status, query: str, named: str) -> None:
    status.state = State.STREAMING

    for path in ("/readyz", "/healthz"):
        answer = http.get(path + query)
        assert answer.status_code == 400
        assert named in answer.text


def test_healthz_has_the_code_of_readyz_and_the_state_as_json(http: httpx.Client, status: Status) -> None:
    answer = http.get("/healthz")
    assert (answer.status_code, answer.json()["state"], answer.json()["ready"]) == (503, "starting", False)

    status.state = State.STREAMING
    answer = http.get("/healthz")
    assert (answer.status_code, answer.json()["state"], answer.json()["ready"]) == (200, "streaming", True)


def test_status_is_always_200(http: httpx.Client, status: Status) -> None:
    status.state = State.FAILED
    answer = http.get("/status")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == json.loads(json.dumps(status_document(status, max_lag_seconds=30)))


def test_history_has_a_column_for_each_figure(http: httpx.Client, status: Status) -> None:
    now = 1000.0
    status.clock = lambda: now
    for _ in range(3):
        status.sample_rate()
        status.stream.commands_applied += 10
        now += 2
    answer = http.get("/history")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert document.pop("version") == 1
    assert document["now"] >= max(document["at"])
    assert document["commands_per_second"] == [0, 5, 5]
    assert {len(column) for name, column in document.items() if name != "now"} == {3}


def test_metrics_come_in_the_format_asked_for(http: httpx.Client) -> None:
    plain, openmetrics = (
        http.get("/metrics"),
        http.get("/metrics", headers={"Accept": "application/openmetrics-text"}),
    )

    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert 'shaker_state{name="orders",state="starting"} 1.0' in plain.text
    assert openmetrics.text.endswith("# EOF\n")


def test_the_page_loads_nothing_but_its_own_files(http: httpx.Client) -> None:
    page = http.get("/")

    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe-inline" not in page.headers["content-security-policy"]
    assert "<style" not in page.text
    assert " style=" not in page.text
    assert " onload=" not in page.text
    assert "://" not in page.text
    assert set(re.findall(r'(?:src|href)="([\w.-]+)"', page.text)) >= {"page.css", "page.js"}
    imported = re.findall(r'from "\./([\w.-]+)"', http.get("/page.js").text)
    for name in ("page.css", "page.js", *imported):
        kind = {"css": "text/css", "js": "text/javascript"}[name.rpartition(".")[2]]
        answer = http.get(f"/{name}")
        assert answer.status_code == 200
        assert "://" not in answer.text.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
        assert answer.headers["content-type"].startswith(kind)


def test_the_page_finds_every_place_that_it_draws_into(http: httpx.Client) -> None:
    ids = set(re.findall(r'id="([\w-]+)"', http.get("/").text))
    script = http.get("/page.js").text
    drawn = set(re.findall(r'\b(?:put|show|curve|element)\("([\w-]+)"', script))
    drawn |= {f"{name}-{part}" for name, part in itertools.product(SIDES, re.findall(r"\$\{name\}-(\w+)", script))}
    drawn |= {
        f"{part}-{name}" for part, name in itertools.product(re.findall(r"`(\w+)-\$\{name\}", script), OFFSETS)
    }

    assert drawn
    assert drawn <= ids
    assert "innerHTML" not in script


@pytest.mark.parametrize("path", PATHS)
def test_only_reading_is_allowed(http: httpx.Client, path: str) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = http.request(method, path)
        assert answer.status_code == 405, method
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    head, get = http.head(path), http.get(path)
    assert head.status_code == get.status_code
    assert head.content == b""


@pytest.mark.parametrize("path", [*PATHS, "/nothing-here"])
def test_every_answer_has_the_headers_of_a_careful_server(http: httpx.Client, path: str) -> None:
    headers = http.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "server" not in headers


@pytest.mark.parametrize(
    "path", ["/nothing-here", "/livez/", "//livez", "/../livez", "/page/index.html", "/%2e%2e/x"]
)
def test_other_paths_are_404(health: HealthServer, path: str) -> None:
    # Not by httpx, which would tidy the path up.
    with closing(HTTPConnection("127.0.0.1", health.port, timeout=10)) as connection:
        connection.request("GET", path)
        assert connection.getresponse().status == 404


def test_port_0_picks_a_free_one_and_two_servers_differ(health: HealthServer) -> None:
    other = HealthServer(Status(), host="127.0.0.1", port=0, ready_max_lag_seconds=30)
    other.start()
    try:
        assert 0 != other.port != health.port
    finally:
        other.stop()


def test_a_port_in_use_names_the_setting(health: HealthServer) -> None:
    second = HealthServer(Status(), host="127.0.0.1", port=health.port, ready_max_lag_seconds=30)

    with pytest.raises(
        SettingsError, match=r"health\.port \(SHAKER_HEALTH__PORT\): cannot listen on 127\.0\.0\.1 port"
    ):
        second.start()
    second.stop()


@pytest.mark.parametrize("host", ["203.0.113.7", "not a host", "x" * 70 + ".invalid"])
def test_an_address_that_is_not_ours_is_a_fault(host: str) -> None:
    with pytest.raises(SettingsError, match="cannot listen"):
        HealthServer(Status(), host=host, port=0, ready_max_lag_seconds=30).start()


def test_it_listens_at_ipv6(status: Status) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    server = HealthServer(status, host="::1", port=0, ready_max_lag_seconds=30)
    server.start()
    try:
        assert httpx.get(f"http://[::1]:{server.port}/livez", trust_env=False).status_code == 200
    finally:
        server.stop()


def test_stop_frees_the_port_at_once_and_may_come_twice(status: Status) -> None:
    server = HealthServer(status, host="127.0.0.1", port=0, ready_max_lag_seconds=30)
    server.stop()
    server.start()
    port = server.port
    with ExitStack() as stack:
        idle = stack.enter_context(connect(server))
        half = stack.enter_context(connect(server))
        half.sendall(b"GET /livez HTTP/1.1\r\n")
        assert httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False).status_code == 200
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 1
        for client in (idle, half):
            assert ended(client)
    server.stop()

    assert not any(thread.name == "health server" for thread in threading.enumerate())
    again = HealthServer(status, host="127.0.0.1", port=port, ready_max_lag_seconds=30)
    again.start()
    again.stop()


def ended(client: socket.socket) -> bool:
    """Wait until the server has ended this connection."""
    try:
        while client.recv(4096):
            pass
    except ConnectionError:
        return True
    return True


@pytest.mark.anyio
async def test_probes_are_answered_while_the_event_loop_of_the_worker_stands_still(
    health: HealthServer, status: Status
) -> None:
    def probe() -> int:
        # Blocks the loop that this test runs in until the other process has its answer.
        command = [sys.executable, "-m", "shaker", "healthcheck", "--health.port", str(health.port)]
        return subprocess.run(command, timeout=60).returncode

    status.heartbeat("loop", within=60)
    assert probe() == 0

    status.heartbeat("loop", within=0)
    assert probe() == 75


def test_two_hundred_half_open_clients_do_not_keep_a_probe_waiting(
    health: HealthServer, http: httpx.Client
) -> None:
    with ExitStack() as stack:
        for number in range(200):
            client = stack.enter_context(connect(health))
            client.sendall((b"", b"G", b"GET /livez HTTP/1.1\r\nX-Slow: ")[number % 3])
        began = time.monotonic()
        for _ in range(5):
            with httpx.Client(base_url=http.base_url, trust_env=False) as probe:
                assert probe.get("/livez").status_code == 200

        assert time.monotonic() - began < 2


def test_more_connections_than_allowed_drop_the_oldest_idle_one(health: HealthServer) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(health)) for _ in range(DEFAULT_LIMITS.connections + 1)]

        assert ended(clients[0])
        clients[-1].sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert clients[-1].recv(4096).startswith(b"HTTP/1.1 200")
        clients[1].sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert clients[1].recv(4096).startswith(b"HTTP/1.1 200")


def test_a_request_that_never_ends_is_dropped_in_its_time(hasty: HealthServer) -> None:
    with ExitStack() as stack:
        silent = stack.enter_context(connect(hasty))
        slow = stack.enter_context(connect(hasty))
        slow.sendall(b"GET /livez HTTP/1.1\r\nX-Slow: ")
        began = time.monotonic()
        stop = threading.Event()

        def drip() -> None:
            try:
                while not stop.wait(0.02):
                    slow.sendall(b"x")
            except OSError:
                pass  # dropped, as it should be

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert ended(slow)
            assert ended(silent)
        finally:
            stop.set()
            dripping.join()

        assert 0.2 < time.monotonic() - began < 5


def test_a_body_that_never_ends_is_dropped_in_its_time(hasty: HealthServer) -> None:
    with connect(hasty) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc")

        assert ended(client)


def send_for_ever(client: socket.socket, request: bytes) -> None:
    """Answers are 200 times as long as requests: buffers fill up, and then nothing moves any more."""
    while True:
        client.sendall(request)


def test_a_client_that_reads_no_answers_is_dropped_in_its_time(hasty: HealthServer) -> None:
    with connect(hasty) as client:
        client.settimeout(10)
        request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
        with pytest.raises(OSError, match=r"reset|[Bb]roken"):
            send_for_ever(client, request)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    ],
)
def test_what_is_not_a_request_is_400_and_the_end(health: HealthServer, request_bytes: bytes) -> None:
    with connect(health) as client:
        answer = b""
        try:
            client.sendall(request_bytes)
            while chunk := client.recv(4096):
                answer += chunk
        except ConnectionError:
            pass  # the server closed with some of the request unread
        # Nothing, where the reset for what was left unread overtook the answer.
        assert answer[:12] in (b"", b"HTTP/1.1 400")

    assert httpx.get(f"http://127.0.0.1:{health.port}/livez", trust_env=False).status_code == 200


def test_one_connection_serves_many_probes(health: HealthServer) -> None:
    with closing(HTTPConnection("127.0.0.1", health.port, timeout=10)) as connection:
        connection.connect()
        own = connection.sock
        for path in ("/livez", "/readyz", "/status", "/metrics"):
            connection.request("GET", path)
            connection.getresponse().read()
            assert connection.sock is own


def test_an_upgrade_is_not_taken(http: httpx.Client) -> None:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "x",
        "Sec-WebSocket-Version": "13",
    }

    assert http.get("/livez", headers=headers).status_code == 200
