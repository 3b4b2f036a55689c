"""The project with its codec compiled, in a copy: `python -m tests.support.compiled` runs the codec's tests there."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.worker import ROOT

COPIED = ("shaker", "tests", "building", "setup.py", "pyproject.toml", "README.md", "LICENSE")
# The rooms that call the codec's every function, and what tells which build runs.
TESTS = ("tests/codec", "tests/rules", "tests/psync", "tests/test_build.py")
ARTEFACTS = shutil.ignore_patterns("__pycache__", "*.so", "build")


def copied(directory: Path, name: str) -> Path:
    """Copy the project into `directory` and return the copy.

    What runs with the copy as its working directory, or first on PYTHONPATH, uses it. It has its bytecode, as what
    is installed has.
    """
    copy = directory / name
    copy.mkdir()
    for part in COPIED:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, ignore=ARTEFACTS)
        else:
            shutil.copy2(ROOT / part, copy / part)
    compileall.compile_dir(copy / "shaker", quiet=1)
    return copy


def build(directory: Path) -> Path:
    """Compile the codec in a copy of the project in `directory`, and return the copy.

    Raises RuntimeError with the compiler's last words where it cannot be built.
    """
    copy = copied(directory, "compiled")
    done = _run(copy, "setup.py", "build_ext", "--inplace", SHAKER_BUILD_COMPILED="1")
    if done.returncode:
        raise RuntimeError(f"the codec cannot be compiled (is there a C compiler?):\n{done.stdout[-4000:]}")
    version = _run(copy, "-m", "shaker", "--version").stdout
    if "codec compiled" not in version:
        raise RuntimeError(f"what was built is not what runs: {version}")
    return copy


def _run(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )


def main() -> int:
    """Build, and run pytest there with the arguments given, or the tests of TESTS."""
    with tempfile.TemporaryDirectory(prefix="shaker-compiled-") as name:
        copy = build(Path(name))
        # What pytest finds of the project is the copy: `-m` puts the working directory first.
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *(sys.argv[1:] or TESTS)]
        return subprocess.run(command, cwd=copy, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
