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
def table() -> Callable[[str], CommandTable]:
    """A function from a server's name to the table of its commands."""

    @cache
    def ask(name: str) -> CommandTable:
        with Server(name) as server:
            return CommandTable.from_reply(exchange(server, encode("COMMAND"), 1)[0])

    return ask
