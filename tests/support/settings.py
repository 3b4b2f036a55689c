"""Settings made from defaults and a few given ones, and the faults of those that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from shaker.errors import SettingsError
from shaker.settings.schema import Settings
from shaker.settings.sources import load

URLS = {"source.url": "redis://127.0.0.1:6379", "target.url": "redis://127.0.0.1:6380"}


def settings(**given: Any) -> Settings:
    """Settings from defaults and `given`, whose dots are written as two underscores."""
    flags = URLS | {name.replace("__", "."): value for name, value in given.items()}
    return load(flags, environment={}).settings


def faults(**given: Any) -> list[str]:
    """Return the lines of the error that the settings raise."""
    with pytest.raises(SettingsError) as caught:
        settings(**given)
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()
