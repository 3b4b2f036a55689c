"""Which arguments are keys, as real servers answer it: COMMAND GETKEYS is the oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shaker.codec.resp.replies import encode
from shaker.rules.command_table import CommandTable, KeyPositions
from tests.rules.conftest import exchange
from tests.support.servers import NAMES, Server

# Writing commands as they are in a stream, each argument different, so that a key's place can be told.
COMMANDS = [
    b"SET a 1",
    b"set a 1 PX 5",
    b"Incr a",
    b"MSET a 1 b 2 c 3",
    b"DEL a",
    b"DEL a b c d",
    b"UNLINK a b",
    b"RENAME a b",
    b"COPY a b REPLACE",
    b"RPOPLPUSH a b",
    b"LMOVE a b LEFT RIGHT",
    b"BLPOP a b c 5",
    b"BRPOPLPUSH a b 5",
    b"SINTERSTORE a b c",
    b"PFMERGE a b c",
    b"BITOP AND a b c",
    b"BITFIELD a SET u8 0 255",
    b"SETBIT a 1 0",
    b"HSET a f v g w",
    b"ZADD a GT 1 m",
    b"ZRANGESTORE a b 0 -1",
    b"XADD a 1-1 f v",
    b"XGROUP CREATE a g 0",
    b"xgroup Create a g 0",
    b"XGROUP CREATECONSUMER a g c",
    b"XGROUP DELCONSUMER a g c",
    b"XGROUP DESTROY a g",
    b"XGROUP SETID a g 0",
    b"XCLAIM a g c 0 1-1 FORCE",
    b"XSETID a 5-0",
    b"PEXPIREAT a 4102444800000",
    b"PERSIST a",
    b"MOVE a 3",
    b"RESTORE a 0 payload",
    b"GEOADD a 1 2 m",
    b"GEOSEARCHSTORE a b FROMMEMBER m BYRADIUS 5 m",
    b"OBJECT ENCODING a",
]
NO_KEYS = [b"PING", b"FLUSHALL ASYNC", b"SELECT 3", b"SWAPDB 0 1", b"PUBLISH a b", b"SCRIPT LOAD a", b"XGROUP HELP"]
MOVABLE = [b"SORT a STORE b", b"EVAL script 1 a", b"ZUNIONSTORE a 2 b c", b"GEORADIUS a 1 2 3 m STORE b"]


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_those_of_the_server(
    shared: Callable[[str], Server], table: Callable[[str], CommandTable], name: str
) -> None:
    """The table tells the keys that the server itself finds in the command, names in any case."""
    commands = [command.split(b" ") for command in COMMANDS]
    requests = b"".join(encode("COMMAND", "GETKEYS", *command) for command in commands)
    for command, keys in zip(commands, exchange(shared(name), requests, len(commands)), strict=True):
        indexes = table(name).key_indexes(command)
        assert indexes is not None, command
        assert [command[index] for index in indexes] == keys, command
        assert table(name).first_key(command) == b"a"


@pytest.mark.parametrize("name", NAMES)
def test_every_command_with_keys_is_told_or_movable(raw_table: Callable[[str], list[Any]], name: str) -> None:
    """No command for which the server tells a key's position is taken for one without keys."""
    table = CommandTable.from_reply(raw_table(name))

    def rows(found: list[Any]) -> list[Any]:
        return found + [inner for row in found if len(row) > 9 for inner in rows(row[9])]

    seen = 0
    for row in rows(raw_table(name)):
        command = row[0].upper().split(b"|")
        if row[3] > 0:
            arguments = [*command, *[b"%d" % number for number in range(row[3] + abs(row[4]) + 4)]]
            indexes = table.key_indexes(arguments)
            assert indexes is None if b"movablekeys" in row[2] else indexes, command
            seen += 1
    assert seen > 150


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", NO_KEYS)
def test_no_keys(table: Callable[[str], CommandTable], name: str, command: bytes) -> None:
    """A command without keys has none, which is not the same as unknown."""
    assert table(name).key_indexes(command.split(b" ")) == []
    assert table(name).first_key(command.split(b" ")) is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", [*MOVABLE, b"NOSUCHCOMMAND a b", b"\xff\xfe a"])
def test_what_the_table_cannot_tell(table: Callable[[str], CommandTable], name: str, command: bytes) -> None:
    """Positions that depend on the arguments, and unknown commands, are told to be unknown."""
    assert table(name).key_indexes(command.split(b" ")) is None
    assert table(name).first_key(command.split(b" ")) is None


@pytest.mark.parametrize("name", NAMES)
def test_membership(table: Callable[[str], CommandTable], name: str) -> None:
    """A table knows whether its server knows a command."""
    assert "GET" in table(name)
    assert "get" in table(name)
    assert "nosuchcommand" not in table(name)
    assert ("FUNCTION" in table(name)) == (name != "redis-6.2")


def test_positions_behind_the_end() -> None:
    """A command with too few arguments, which the server would not have sent, has the keys that are there."""
    table = CommandTable(
        {"two": KeyPositions(1, 2, 1, movable=False), "last": KeyPositions(2, -2, 1, movable=False)}
    )
    assert table.key_indexes([b"two", b"a"]) == [1]
    assert table.key_indexes([b"two"]) == []
    assert table.key_indexes([b"last", b"x"]) == []
    assert table.key_indexes([b"last", b"x", b"a", b"b", b"y"]) == [2, 3]


def test_reply_as_text_or_bytes() -> None:
    """A reply decoded to text gives the same table; what is no row is left out."""
    text = CommandTable.from_reply([["get", 2, ["readonly"], 1, 1, 1], None, ["short"]])
    raw = CommandTable.from_reply([[b"GET", 2, [b"readonly"], 1, 1, 1]])
    for table in (text, raw):
        assert table.key_indexes([b"Get", b"k"]) == [1]
        assert "short" not in table
