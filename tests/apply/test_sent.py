"""Requests inside a transaction know whether several commands of the source went as one."""

from __future__ import annotations

import pytest

from shaker.apply.sent import Sent
from shaker.codec.resp.replies import encode
from shaker.model.batch import CommandRun


@pytest.mark.parametrize(("requests", "commands", "joined"), [(1, 3, True), (3, 3, False), (1, 1, False)])
def test_fewer_requests_than_commands_are_joined_ones(requests: int, commands: int, joined: bool) -> None:
    """Only an MSET in place of several SET has fewer requests than its run has commands."""
    run = CommandRun(0, encode("SET", "k", "v") * commands, commands)

    assert Sent(requests, None, run).joined == joined


def test_a_request_of_the_worker_is_never_joined() -> None:
    """It belongs to no run of the source."""
    assert not Sent(1).joined
