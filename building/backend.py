"""The build backend of pyproject.toml: setuptools, which asks for mypy too where the codec is to be compiled.

Only building a wheel compiles. A wheel with a module that was to be compiled and is not, is an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import compiled
from setuptools import build_meta

Settings = dict[str, Any] | None


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """Return what a wheel is built with, besides what pyproject.toml names."""
    wanted = compiled.requirements()
    with compiled.nothing():
        return [*build_meta.get_requires_for_build_wheel(config_settings), *wanted]


def get_requires_for_build_sdist(config_settings: Settings = None) -> list[str]:
    """Return what a source distribution is built with, besides what pyproject.toml names."""
    with compiled.nothing():
        return [*build_meta.get_requires_for_build_sdist(config_settings)]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    """Return what an editable install is built with, besides what pyproject.toml names."""
    with compiled.nothing():
        return [*build_meta.get_requires_for_build_editable(config_settings)]


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Settings = None) -> str:
    """Write the wheel's metadata and return their folder."""
    with compiled.nothing():
        return str(build_meta.prepare_metadata_for_build_wheel(metadata_directory, config_settings))


def prepare_metadata_for_build_editable(metadata_directory: str, config_settings: Settings = None) -> str:
    """Write an editable install's metadata and return their folder."""
    with compiled.nothing():
        return str(build_meta.prepare_metadata_for_build_editable(metadata_directory, config_settings))


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> str:
    """Build the source distribution and return its name."""
    with compiled.nothing():
        return str(build_meta.build_sdist(sdist_directory, config_settings))


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Build the editable wheel and return its name: always plain, since extension modules would hide every edit."""
    with compiled.nothing():
        return str(build_meta.build_editable(wheel_directory, config_settings, metadata_directory))


def build_wheel(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel and return its name; RuntimeError for modules that were to be compiled and are not."""
    name = str(build_meta.build_wheel(wheel_directory, config_settings, metadata_directory))
    path = Path(wheel_directory, name)
    if compiled.wanted() and (missing := compiled.plain_in(path)):
        path.unlink()
        raise RuntimeError(f"not compiled in {name}: {', '.join(missing)}")
    return name
