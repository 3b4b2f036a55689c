"""Tests whose servers are missing are deselected and counted, and none starts a server that it has not declared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import servers
from tests.support.needs import named
from tests.support.servers import SOURCES, Server, binary
from tests.support.worker import ROOT

# Each starts pytest anew, which takes its time on a busy machine.
pytestmark = pytest.mark.timeout(600)

EACH = "tests/bed/test_servers.py::test_each_version_is_what_it_is_called_and_ends_with_its_test"


def run(tmp_path: Path, *command: str) -> str:
    """Run Python on a machine that has but the servers of Python packages, and return what it prints."""
    # Without the folders that have a server of the system; the tests need setpriv of the system.
    path = tmp_path / "bin"
    path.mkdir()
    (path / "setpriv").symlink_to(shutil.which("setpriv") or "")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment | {"REDIS_SERVERS": str(tmp_path), "PATH": str(path)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("processes", [(), ("-n", "1")], ids=["alone", "by pytest-xdist"])
def test_missing_servers_deselect_their_tests(processes: tuple[str, ...], tmp_path: Path) -> None:
    """Not skipped, not failed; the closing line counts them."""
    output = run(tmp_path, "pytest", "-p", "no:cacheprovider", EACH, *processes)

    assert re.search(r"1 passed, 6 deselected.* in ", output), output
    missing = "redis-5.0, redis-7.0, redis-8.0, valkey-8.0, valkey-8.1, valkey-9.1"
    assert f"missing servers: {missing} (.ci/redis-servers unpacks them); 6 tests are deselected" in output


def test_the_sentence_of_make_test(tmp_path: Path) -> None:
    """It names versions and number before any test runs."""
    [line] = run(tmp_path, "tests.support.needs", EACH).splitlines()

    assert re.fullmatch(r"missing servers: redis-5\.0, .*valkey-9\.1 \(.*\); 6 tests are deselected", line)


def test_a_server_that_the_test_has_not_declared() -> None:
    """An error on every machine, so that none is noticed only where the server is missing."""
    other = next(name for name in SOURCES if name not in (servers.DEFAULT, "redis-6.2"))

    with pytest.raises(AssertionError, match="needs_servers"):
        binary(other)


@pytest.mark.needs_servers("valkey-9.1")
def test_a_server_that_the_marker_declares(server: Callable[..., Server]) -> None:
    """Such as this one."""
    assert server("valkey-9.1").client().ping()


def test_parameters_name_servers_at_any_depth() -> None:
    """As pairs, lists of others, and keys."""
    found = named(
        [("redis-8.0", ["valkey-9.1"]), {"redis-5.0": {"valkey-8.0"}}, "redis-9.9", 3, None, b"redis-7.0"]
    )

    assert found == {"redis-8.0", "valkey-9.1", "redis-5.0", "valkey-8.0"}
