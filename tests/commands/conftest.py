"""The environment of a test of commands."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine reaches a test; help is as wide as an ordinary terminal."""
    for name in list(os.environ):
        if name.startswith("SHAKER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")
