"""Kinds of the stream's commands by name."""

from __future__ import annotations

import pytest

from shaker.codec.resp.command_events import Note
from shaker.codec.resp.command_kinds import BEGINS, ENDS, MAX_NAMES, ORDINARY, SPECIAL, CommandKinds

NOTED = {b"EXPIRE": Note(1, 3), b"PING": Note(2, 1)}


@pytest.fixture
def kinds() -> CommandKinds:
    """Kinds with a frame, a special command and two that are noted."""
    return CommandKinds(frozenset((b"PING", b"MULTI", b"EXEC")), (b"MULTI", b"EXEC"), NOTED)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        (b"SET", 3, (ORDINARY, 0)),
        (b"PING", 1, (SPECIAL, 0)),
        (b"multi", 1, (BEGINS, 0)),
        (b"Exec", 1, (ENDS, 0)),
        (b"EXEC", 2, (SPECIAL, 0)),
    ],
)
def test_names_count_in_any_case(
    kinds: CommandKinds, name: bytes, arguments: int, expected: tuple[int, int]
) -> None:
    assert kinds.known(name, arguments)[0] == expected[0]
    assert kinds.is_special(name) == (expected[0] != ORDINARY)


@pytest.mark.parametrize("name", [b"EXPIRE", b"expire"])
def test_a_command_with_too_few_arguments_is_not_noted(kinds: CommandKinds, name: bytes) -> None:
    assert kinds.known(name, 2) == (ORDINARY, 0)
    assert kinds.known(name, 3) == (ORDINARY, 1)


def test_names_beyond_the_limit_are_known_and_not_remembered(kinds: CommandKinds) -> None:
    for number in range(MAX_NAMES + 10):
        assert kinds.known(b"name%d" % number, 1) == (ORDINARY, 0)
    assert kinds.known(b"ping", 1) == (SPECIAL, 2)
