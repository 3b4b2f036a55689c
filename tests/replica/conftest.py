"""The command tables of real servers, asked once in a session."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from shaker.codec.resp import encode
from shaker.transform.commands import CommandTable
from tests.servers import Server
from tests.transform.conftest import exchange


@pytest.fixture(scope="session")
def table(shared: Callable[[str], Server]) -> Callable[[str], CommandTable]:
    """A function from a server's name to the table of its commands."""
    return cache(lambda name: CommandTable.from_reply(exchange(shared(name), encode("COMMAND"), 1)[0]))
