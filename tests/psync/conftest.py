"""The command tables of real servers, asked once in a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from shaker.codec.resp.replies import encode
from shaker.rules.command_table import CommandTable
from tests.rules.conftest import exchange
from tests.support.psync_driver import Conversation
from tests.support.servers import Server


@pytest.fixture(scope="session")
def table() -> Callable[[str], CommandTable]:
    """A function from a server's name to the table of its commands."""

    @cache
    def ask(name: str) -> CommandTable:
        with Server(name) as server:
            return CommandTable.from_reply(exchange(server, encode("COMMAND"), 1)[0])

    return ask


Talk = Callable[..., Conversation]


@pytest.fixture
def talk(table: Callable[[str], CommandTable]) -> Iterator[Talk]:
    """A factory of conversations with a server; they end with the test."""
    with ExitStack() as stack:

        def start(server: Server, **options: object) -> Conversation:
            return stack.enter_context(Conversation(server, table(server.name), **options))  # type: ignore[arg-type]

        yield start
