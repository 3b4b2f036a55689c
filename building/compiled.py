"""Which modules SHAKER_BUILD_COMPILED=1 has compiled by mypyc, and what that takes."""

from __future__ import annotations

import os
import sysconfig
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "SHAKER_BUILD_COMPILED"
# Code for the C API of one mypyc fits no other: of the series that requirements-build.lock pins.
MYPY = "mypy~=2.4.1"

# Modules with work per key, per command or per reply; the others are not worth an extension module.
ROOMS = ("shaker/codec",)
SINGLE = (
    "shaker/model/entries.py",
    "shaker/rules/expiring_commands.py",
    "shaker/rules/expiry.py",
    "shaker/rules/record_keys.py",
    "shaker/rules/restore.py",
)


def wanted() -> bool:
    """Return whether the codec is to be compiled."""
    return os.environ.get(VARIABLE) == "1"


def requirements() -> list[str]:
    """Return the packages that the compilation needs, none where there is none."""
    return [MYPY] if wanted() else []


@contextmanager
def nothing() -> Iterator[None]:
    """Compile nothing in this context: setuptools runs setup.py for every step, and only one of them compiles."""
    before = os.environ.pop(VARIABLE, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[VARIABLE] = before


def modules(root: Path) -> list[str]:
    """Return the files to compile, relative to `root`; RuntimeError where one, or a whole room, is not there."""
    found = []
    for room in ROOMS:
        files = sorted(path for path in (root / room).rglob("*.py") if path.name != "__init__.py")
        if not files:
            raise RuntimeError(f"{room} has no modules to compile")
        found += [path.relative_to(root).as_posix() for path in files]
    if absent := [name for name in SINGLE if not (root / name).is_file()]:
        raise RuntimeError(f"modules to compile are missing: {', '.join(absent)}")
    return [*found, *SINGLE]


def check_tools() -> None:
    """Raise SystemExit, with what helps, where the compilation cannot even begin."""
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.is_file():
        raise SystemExit(f"{VARIABLE}=1 needs Python's headers ({header}); on Debian: apt-get install python3-dev")
    try:
        import mypyc.build  # noqa: F401
    except ImportError:
        raise SystemExit(
            f"{VARIABLE}=1 needs {MYPY}, which pip installs into its own build environment; "
            "with --no-build-isolation: pip install --requirement requirements-build.lock"
        ) from None


def plain_in(wheel: Path) -> list[str]:
    """Return the modules to compile, as this wheel has them, that have no extension module beside them."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return [name for name in modules(Path.cwd()) if name.removesuffix(".py") + suffix not in names]
