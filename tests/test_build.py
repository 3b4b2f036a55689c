"""Which build runs, and that all that names it agrees: run on both builds (`make test-compiled`)."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

import shaker.codec
from shaker.build import codec_kind
from tests.support.servers import Server
from tests.support.worker import ROOT, Worker

CODEC = [
    module.name for module in pkgutil.walk_packages(shaker.codec.__path__, "shaker.codec.") if not module.ispkg
]


@pytest.mark.parametrize("name", [*CODEC, "shaker.model.entries", "shaker.rules.restore", "shaker.rules.expiry"])
def test_the_kind_is_that_of_each_module(name: str) -> None:
    """All of what does the work per key and per command is compiled, or none of it."""
    origin = importlib.import_module(name).__file__

    assert origin is not None
    assert codec_kind() == ("plain" if origin.endswith(".py") else "compiled")


def test_version_tells_the_kind() -> None:
    """`shaker --version` is what an operator and the image's recipe look at."""
    done = subprocess.run(
        [sys.executable, "-m", "shaker", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip().endswith(f"(codec {codec_kind()})")


def test_a_running_worker_tells_the_kind(source: Server, target: Server, worker: Callable[..., Worker]) -> None:
    """Log, /status and /metrics agree on it."""
    running = worker(source, target)

    assert running.status()["codec"] == codec_kind()
    assert [event["codec"] for event in running.events("worker started")] == [codec_kind()]
    [build] = re.findall(r"^shaker_build_info\{(.*)\} 1\.0$", running.get("/metrics")[1], re.MULTILINE)
    assert f'codec="{codec_kind()}"' in build
