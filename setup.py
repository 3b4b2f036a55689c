"""Build hook: with SHAKER_BUILD_COMPILED=1 the codec is compiled in place by mypyc, from the same sources.

Everything else about the build stands in pyproject.toml. Without the variable, and in editable installs, the codec
is plain Python: the same behaviour, and what a debugger shows.
"""

import os
from pathlib import Path

from setuptools import setup

# Modules with work per key, per command or per reply; the others are not worth an extension module.
COMPILED = sorted(str(path) for path in Path("shaker/codec").glob("*.py") if path.name != "__init__.py")
COMPILED += ["shaker/transform/expiry.py", "shaker/transform/restore.py"]


def extensions() -> list:
    """Return the extension modules to build."""
    if os.environ.get("SHAKER_BUILD_COMPILED") != "1":
        return []
    from mypyc.build import mypycify

    return mypycify(COMPILED, opt_level="3", strip_asserts=False)


setup(ext_modules=extensions())
