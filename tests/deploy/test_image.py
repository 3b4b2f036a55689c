"""What can be said of the image without building it. `tests/image` builds and runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from shaker import __version__
from tests.deploy.kubelet import entrypoint
from tests.deploy.tools import run
from tests.support.servers import Server, wait_until
from tests.support.worker import ROOT

DOCKERFILE = ROOT / "Dockerfile"


def test_hadolint_finds_nothing() -> None:
    """The one rule that is turned off has its reason beside it."""
    program = Path(sys.executable).with_name("hadolint")
    assert program.exists(), "hadolint is missing; `make deploy-test` installs it"

    done = run(str(program), "--failure-threshold", "style", str(DOCKERFILE))

    assert (done.returncode, done.stdout) == (0, "")


def test_the_dockerfile_needs_no_buildkit() -> None:
    """CapRover and old Docker build without it."""
    text = DOCKERFILE.read_text()

    assert not re.search(r"<<|--link|--mount|^# *syntax=", text, re.MULTILINE)


def test_the_labels_name_the_version_of_the_project() -> None:
    """It stands in the Dockerfile, because a build argument cannot be computed there."""
    assert f"ARG VERSION={__version__}\n" in DOCKERFILE.read_text()


def test_only_what_the_wheel_needs_is_in_the_build_context() -> None:
    """All is ignored but a list, and each entry of the list exists."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}

    assert lines[0] == "*"
    assert all((ROOT / name).exists() for name in kept), kept
    copied = set(re.findall(r"requirements[\w-]*\.lock", DOCKERFILE.read_text()))
    assert copied <= kept


def test_every_requirement_of_the_image_has_hashes() -> None:
    """And is pinned."""
    for name in ("requirements.lock", "requirements-build.lock"):
        entries = re.split(r"\n(?=\S)", (ROOT / name).read_text())
        for entry in entries:
            if not entry.startswith("#"):
                assert re.match(r"[\w.\[\]-]+==\S+", entry), entry.splitlines()[0]
                assert "--hash=sha256:" in entry


def test_sigterm_ends_process_1_during_the_start(source: Server, target: Server, tmp_path: Path) -> None:
    """The kernel keeps a signal without handler from process 1: there is one as soon as Python runs."""
    log = tmp_path / "log"
    environment = {
        "PATH": os.environ["PATH"],
        "SHAKER_SOURCE__URL": source.url,
        "SHAKER_TARGET__URL": target.url,
        "SHAKER_HEALTH__HOST": "127.0.0.1",
        "SHAKER_HEALTH__PORT": "0",
    }
    # A PID namespace of its own, as a container has; its child is process 1 there.
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", *entrypoint(), "run"]
    with log.open("w") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        pid = int(wait_until(lambda: process.poll() is None and children.read_text(), "process 1"))
        status = Path(f"/proc/{pid}/status")

        def caught() -> bool:
            text = status.read_text()
            assert re.search(r"^NSpid:\s+\d+\s+1$", text, re.MULTILINE)
            found = re.search(r"^SigCgt:\s+([0-9a-f]+)$", text, re.MULTILINE)
            assert found
            return bool(int(found[1], 16) >> (signal.SIGTERM - 1) & 1)

        wait_until(caught, "a handler of SIGTERM")
        os.kill(pid, signal.SIGTERM)
        assert process.wait(20) == 75
    # It had not even begun: the first line of a worker is its health server.
    assert log.read_text() == ""
