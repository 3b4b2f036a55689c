"""Build hook: with SHAKER_BUILD_COMPILED=1 mypyc compiles the codec, from the same sources.

Everything else about the build stands in pyproject.toml and building/. Without the variable the codec is plain Python:
the same behaviour, and what a debugger shows.
"""

import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "building"))

import compiled  # noqa: E402 - from the folder above


def extensions() -> list:
    """Return the extension modules to build."""
    if not compiled.wanted():
        return []
    compiled.check_tools()
    from mypyc.build import mypycify

    return mypycify(compiled.modules(ROOT), opt_level="3", strip_asserts=False)


setup(ext_modules=extensions())
