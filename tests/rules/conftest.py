"""The command tables of real servers, asked once in a session, and raw requests to them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import cache
from typing import Any

import hiredis
import pytest

from shaker.codec.resp.replies import encode
from shaker.rules.command_table import CommandTable
from tests.support.servers import Server

Exchange = Callable[[Server, bytes, int], list[Any]]


def exchange(server: Server, requests: bytes, count: int) -> list[Any]:
    """Send requests as they are and return the `count` replies, errors as exceptions among them."""
    reader = hiredis.Reader(notEnoughData=Ellipsis)
    replies: list[Any] = []
    with socket.create_connection(("127.0.0.1", server.port), 10.0) as link:
        link.sendall(requests + encode("ECHO", "behind all"))
        while len(replies) <= count:
            reply = reader.gets()
            if reply is Ellipsis:
                received = link.recv(65536)
                assert received
                reader.feed(received)
            else:
                replies.append(reply)
    assert replies.pop() == b"behind all"
    return replies


@pytest.fixture(scope="session")
def raw_table(shared: Callable[[str], Server]) -> Callable[[str], list[Any]]:
    """A function from a server's name to its raw reply to COMMAND."""

    @cache
    def get(name: str) -> list[Any]:
        [reply] = exchange(shared(name), encode("COMMAND"), 1)
        assert isinstance(reply, list)
        return reply

    return get


@pytest.fixture(scope="session")
def table(raw_table: Callable[[str], list[Any]]) -> Callable[[str], CommandTable]:
    """A function from a server's name to the table of its commands."""
    return cache(lambda name: CommandTable.from_reply(raw_table(name)))
