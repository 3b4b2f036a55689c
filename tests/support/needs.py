"""Which servers a test needs, and what becomes of tests whose servers this machine does not have: deselected.

A test needs the servers that its parameters name and those of its marker: `needs_servers("valkey-9.1")`. Redis 6.2 is
always there. Where it stands in for the default server, tests that name none are deselected as well: most rely on more.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType, SimpleNamespace

import pytest

from tests.support import servers

WANTED = "redis-7.0"
ALWAYS = {servers.DEFAULT, "redis-6.2"}
FIXTURES = {"server", "shared", "source", "target", "worker"}  # that start the default server
STARTERS = {"DEFAULT", "Server", "Worker", "binary"}  # what a module has that starts servers itself
DESELECTED = "shaker_deselected"  # what a process of pytest-xdist hands to the one that reports


def named(parameters: Iterable[object]) -> set[str]:
    """Return the servers that parameters of a test name, those in tuples, lists, sets and mappings too."""
    found: set[str] = set()
    for each in parameters:
        if isinstance(each, str):
            found |= {each} & set(servers.SOURCES)
        elif isinstance(each, tuple | list | set | frozenset):
            found |= named(each)
        elif isinstance(each, dict):
            found |= named(each) | named(each.values())
    return found


def needed(item: pytest.Item) -> set[str]:
    """Return the servers that a test needs; pytest.UsageError for a marker that names none of ours."""
    callspec = getattr(item, "callspec", None)
    marked = {name for marker in item.iter_markers("needs_servers") for name in marker.args}
    if unknown := marked - {servers.DEFAULT, *servers.SOURCES}:
        raise pytest.UsageError(f"{item.nodeid}: needs_servers knows no {', '.join(sorted(unknown))}")
    given = named(callspec.params.values() if callspec else ())
    if servers.DEFAULT in servers.OLD and not marked | given and _starts_servers(item):
        given = {WANTED}
    return ALWAYS | marked | given


def _starts_servers(item: pytest.Item) -> bool:
    """Return whether a test may start servers: by its fixtures, its module, or the helpers that this imports."""
    module = vars(item.getparent(pytest.Module).obj)  # type: ignore[union-attr]
    homes = {getattr(value, "__module__", None) or "" for value in module.values()} | {
        getattr(value, "__name__", "") for value in module.values() if isinstance(value, ModuleType)
    }
    helpers = [vars(sys.modules[name]) for name in homes if name.startswith("tests.") and name in sys.modules]
    return bool(FIXTURES & set(getattr(item, "fixturenames", ()))) or any(
        STARTERS & set(names) for names in (module, *helpers)
    )


def notice(count: int) -> str:
    """Return the sentence about missing servers, empty where none is."""
    if not (missing := servers.missing()):
        return ""
    tests = "1 test is" if count == 1 else f"{count} tests are"
    return f"missing servers: {', '.join(missing)} (.ci/redis-servers unpacks them); {tests} deselected"


class Needs:
    """The plugin: deselects, reports the number, and holds each test to what it says it needs."""

    def __init__(self) -> None:
        self.deselected = 0

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Take out the tests whose servers are missing."""
        missing = set(servers.missing())
        left_out = [item for item in items if needed(item) & missing]
        if left_out:
            self.deselected = len(left_out)
            items[:] = [item for item in items if not needed(item) & missing]
            config.hook.pytest_deselected(items=left_out)

    def pytest_report_collectionfinish(self) -> str:
        """Say it above the results."""
        return notice(self.deselected) if self.deselected else ""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Tell the bed what the test may start."""
        servers.declared = needed(item)
        try:
            return (yield)
        finally:
            servers.declared = None

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand the number to the process that reports."""
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[DESELECTED] = self.deselected


class Reports:
    """The plugin of the process that reports for the others of pytest-xdist, which collect nothing there."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._deselected = 0

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Count what was deselected, once: each process collects the same tests."""
        count = getattr(node, "workeroutput", {}).get(DESELECTED, 0)
        if count and not self._deselected:
            self._deselected = count
            self._config.hook.pytest_deselected(items=[SimpleNamespace() for _ in range(count)])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say why."""
        if self._deselected:
            terminalreporter.write_line(notice(self._deselected))


def main() -> int:
    """Print the sentence about missing servers, if any is missing: the first line of `make test`."""
    if servers.missing():
        command = [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "--quiet",
            "--quiet",
            "-p",
            "no:cacheprovider",
            *sys.argv[1:],
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        lines = [line for line in done.stdout.splitlines() if line.startswith("missing servers: ")]
        print(lines[0] if lines else f"{notice(0)}\n{done.stdout}", flush=True)  # noqa: T201 - the command's output
    return 0


if __name__ == "__main__":
    sys.exit(main())
