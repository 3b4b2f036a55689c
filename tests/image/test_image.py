"""The image, built and run: a base made by mmdebstrap, the build by buildah, the run by podman. Needs root.

`make image-test`; not part of the gate, because it needs root, a container runtime and minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shaker import __version__
from shaker.commands.sample import seed
from tests.support.compare import differences
from tests.support.servers import Server, free_port, wait_until
from tests.support.worker import ROOT

PROGRAMS = ("mmdebstrap", "buildah", "podman", "runc")
SUITE = "bookworm"
BASE, IMAGE = "localhost/debian-python", "localhost/redis-shaker"

# What a hardened platform sets, and what containers inside of containers need: no systemd, no rights over limits.
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
NESTED = ("--no-healthcheck", "--network", "host", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=512:512")

pytestmark = pytest.mark.timeout(900)


class Images:
    """buildah and podman over a store of their own."""

    def __init__(self, room: Path) -> None:
        for program in PROGRAMS:
            if shutil.which(program) is None:
                raise FileNotFoundError(f"{program} is missing; on Debian: apt-get install {' '.join(PROGRAMS)}")
        assert os.geteuid() == 0, "building and running images needs root"
        self.store = ("--storage-driver", "vfs", "--root", str(room / "store"), "--runroot", str(room / "run"))

    def buildah(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run buildah to its end."""
        return self._run("buildah", *self.store, *arguments)

    def podman(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run podman to its end."""
        own = ("--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "runc")
        return self._run("podman", *self.store, *own, *arguments)

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, text=True, capture_output=True, check=False, timeout=800, cwd=ROOT)

    def build(self, context: Path, tag: str) -> subprocess.CompletedProcess[str]:
        """Build the Dockerfile of `context`, with this machine's way to its packages."""
        mounts = []
        for path in ("/etc/ssl/certs", "/etc/pip.conf"):
            if Path(path).exists():
                mounts += ["--volume", f"{path}:{path}:ro"]
        given = ("--isolation", "chroot", "--network", "host", "--format", "docker", "--layers")
        return self.buildah("bud", *given, "--build-arg", f"BASE={BASE}", *mounts, "--tag", tag, str(context))

    def run(self, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run the image once with these arguments."""
        return self.podman("run", "--rm", *NESTED, *HARDENED, *options, IMAGE, *arguments)


@pytest.fixture(scope="session")
def images() -> Iterator[Images]:
    """The image, built once."""
    # Not pytest's own directory: it keeps those of the last runs, and a store of images takes gigabytes.
    room = Path(tempfile.mkdtemp(prefix="shaker-image-"))
    images = Images(room)
    try:
        _make_base(images, room / "base.tar")
        built = images.build(ROOT, IMAGE)
        assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
        yield images
        images.podman("rm", "--all", "--force")
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _make_base(images: Images, archive: Path) -> None:
    """Make a Debian with its own Python, as small as that goes, the image that BASE names."""
    made = subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", "--include=python3,ca-certificates", SUITE, str(archive)],
        text=True,
        capture_output=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    container = images.buildah("from", "scratch").stdout.strip()
    added = images.buildah("add", container, str(archive), "/")
    assert added.returncode == 0, added.stderr
    images.buildah("commit", "--rm", container, BASE)
    archive.unlink()


def test_the_codec_is_compiled(images: Images) -> None:
    """And the version is that of the project."""
    done = images.run("--version")

    assert done.stdout == f"shaker {__version__} (codec compiled)\n", done.stderr


def test_no_compiler_and_no_installer_is_in_it(images: Images) -> None:
    """Only the first stage has them."""
    look = "for each in gcc cc g++ make pip pip3; do command -v $each && exit 1; done; exit 0"

    done = images.run("-c", look, options=("--entrypoint", "sh"))

    assert (done.returncode, done.stdout) == (0, "")


def test_it_runs_as_a_number_that_is_not_root(images: Images) -> None:
    """With an empty set of capabilities."""
    done = images.run("-c", "id -u; id -g; grep CapEff /proc/self/status", options=("--entrypoint", "sh"))

    assert done.stdout.split() == ["65532", "65532", "CapEff:", "0000000000000000"], done.stderr


def test_what_the_image_says_of_itself(images: Images) -> None:
    """Health check, signal, entry point, port, user, labels."""
    (found,) = json.loads(images.podman("image", "inspect", IMAGE).stdout)
    config: dict[str, Any] = found["Config"]

    assert config["Entrypoint"] == ["shaker"]
    assert config["Cmd"] == ["run"]
    assert config["User"] == "65532:65532"
    assert config["StopSignal"] == "SIGTERM"
    assert list(config["ExposedPorts"]) == ["8080/tcp"]
    assert found["Healthcheck"]["Test"] == ["CMD", "shaker", "healthcheck"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["version"] == __version__
    assert {"title", "description", "licenses", "revision"} <= set(labels)


def _start(images: Images, source: str, target: str, *options: str) -> tuple[str, int]:
    """Start a worker in a container; return (container, port of its health server)."""
    port = free_port()
    environment = {
        "SHAKER_SOURCE__URL": source,
        "SHAKER_TARGET__URL": target,
        "SHAKER_HEALTH__HOST": "127.0.0.1",
        "SHAKER_HEALTH__PORT": str(port),
    }
    given = [part for name, value in environment.items() for part in ("--env", f"{name}={value}")]
    done = images.podman("run", "--detach", *NESTED, *options, *given, IMAGE)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), port


def _answer(port: int, path: str) -> bytes:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return bytes(answer.read())
    except OSError:
        return b""


def _pid(images: Images, container: str) -> int:
    return int(images.podman("inspect", "--format", "{{.State.Pid}}", container).stdout)


def _exit_code(images: Images, container: str) -> int:
    return int(images.podman("wait", container).stdout)


def test_it_replicates_with_a_read_only_root_and_drains(images: Images, source: Server, target: Server) -> None:
    """Health by the image's own check; SIGTERM to process 1 ends with 0."""
    seed(source.client(), 1_000)
    container, port = _start(images, source.url, target.url, *HARDENED)
    wait_until(lambda: _answer(port, "/readyz"), "/readyz", 60)
    source.client().set("key", "value")
    wait_until(lambda: target.client().get("key"), "the key")
    assert images.podman("exec", container, "shaker", "healthcheck").returncode == 0
    images.podman("stop", "--time", "30", container)

    assert _exit_code(images, container) == 0
    assert differences(source, target) == []


def test_it_writes_nothing_outside_of_tmp(images: Images, source: Server, target: Server) -> None:
    """Where the root is not read-only, nothing of it changes either."""
    container, port = _start(images, source.url, target.url)
    wait_until(lambda: _answer(port, "/readyz"), "/readyz", 60)
    changed = images.podman("diff", container).stdout.split("\n")
    images.podman("stop", "--time", "30", container)

    # Podman mounts onto some of /etc and /run itself.
    ours = [line for line in changed if line and not line.split()[1].startswith(("/tmp", "/etc", "/run", "/dev"))]
    assert ours == []


def test_sigterm_during_the_start_ends_process_1(images: Images, source: Server, target: Server) -> None:
    """As soon as Python runs, and long before the worker does."""
    container, port = _start(images, source.url, target.url, *HARDENED)
    pid = _pid(images, container)
    status = Path(f"/proc/{pid}/status")

    def caught() -> bool:
        line = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
        return bool(int(line.split()[1], 16) & 1 << 14)

    wait_until(caught, "a handler of SIGTERM")
    os.kill(pid, 15)

    assert _exit_code(images, container) == 75
    assert not _answer(port, "/livez")


def test_a_codec_that_does_not_compile_makes_no_image(images: Images, tmp_path: Path) -> None:
    """The build fails."""
    context = tmp_path / "context"
    context.mkdir()
    for name in ("Dockerfile", ".dockerignore", "LICENSE", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, context)
    for path in ROOT.glob("requirements*.lock"):
        shutil.copy(path, context)
    for room in ("building", "shaker"):
        shutil.copytree(ROOT / room, context / room, ignore=shutil.ignore_patterns("__pycache__"))
    module = context / "shaker" / "codec" / "crc64.py"
    module.write_text(module.read_text() + "\nnumber: int = 'text'\n")

    done = images.build(context, "localhost/broken")

    assert done.returncode != 0
    assert "crc64.py" in done.stdout + done.stderr
    assert images.podman("image", "exists", "localhost/broken").returncode == 1
