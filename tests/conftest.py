"""Fixtures: servers that end with their test, and a guard that none is left behind."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from shaker.run.signals import STOPPING
from shaker.watch.http.routes import HealthServer
from shaker.watch.status import Status
from tests.support.control import write_token
from tests.support.needs import Needs, Reports
from tests.support.servers import DEFAULT, Server
from tests.support.worker import Worker

# On a busy machine a single example, or drawing one, takes long without a fault.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_configure(config: pytest.Config) -> None:
    """Tests whose servers are missing are deselected, and counted as such."""
    config.pluginmanager.register(Needs(), "shaker-needs")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Reports(config), "shaker-reports")


def pytest_collection_finish() -> None:
    """Keep the thousands of collected tests out of every garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """The token file that worker and commands share."""
    return write_token(tmp_path)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """The process of the tests gets its signal handlers back: a worker that has run in it leaves signals ignored."""
    before = {number: signal.getsignal(number) for number in (*STOPPING, signal.SIGUSR1)}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture
def anyio_backend() -> str:
    """The loop that the product runs on."""
    return "asyncio"


@pytest.fixture
def server() -> Iterator[Callable[..., Server]]:
    """A factory of started servers: `server("valkey-8.0", maxmemory="100mb")`."""
    with ExitStack() as stack:

        def start(name: str = DEFAULT, **settings: Any) -> Server:
            return stack.enter_context(Server(name, **settings))

        yield start


@pytest.fixture
def source(server: Callable[..., Server]) -> Server:
    """An empty source of the default version."""
    return server()


@pytest.fixture
def target(server: Callable[..., Server]) -> Server:
    """An empty target of the default version."""
    return server()


@pytest.fixture
def health(status: Status) -> Iterator[HealthServer]:
    """A health server of the test's own `status`."""
    server = HealthServer(status, host="127.0.0.1", port=0, ready_max_lag_seconds=30)
    server.start()
    yield server
    server.stop()


WORKERS = pytest.StashKey[list[Worker]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the workers of a failed test said."""
    report = yield
    if report.when == "call" and report.failed:
        for number, worker in enumerate(item.stash.get(WORKERS, [])):
            report.sections.append((f"worker {number}", worker.describe()))
    return report


@pytest.fixture
def worker(request: pytest.FixtureRequest) -> Iterator[Callable[..., Worker]]:
    """A factory of started workers: `worker(source, target, SHAKER_MODE="migrate")`."""
    started: list[Worker] = []
    request.node.stash[WORKERS] = started
    with ExitStack() as stack:

        def start(source: Server | str, target: Server | str, **settings: str) -> Worker:
            started.append(stack.enter_context(Worker(source, target, **settings)))
            return started[-1]

        yield start


@pytest.fixture(scope="session")
def shared() -> Iterator[Callable[[str], Server]]:
    """A function from a server's name to a running one that the tests of a session share; it comes emptied."""
    running: dict[str, Server] = {}

    def get(name: str) -> Server:
        if name not in running:
            running[name] = Server(name).start()
        running[name].client().flushall()
        return running[name]

    yield get
    for server in running.values():
        server.close()
