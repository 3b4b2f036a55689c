"""What commands may have changed: their keys, and where nobody can tell those, everything that it can be."""

from __future__ import annotations

import pytest

from shaker.codec.resp.replies import encode
from shaker.rules.command_table import CommandTable
from shaker.rules.touched_keys import TO_DELETE, Touched
from tests.support.servers import Server

Arguments = tuple[str | bytes | int, ...]


@pytest.fixture(scope="module")
def table() -> CommandTable:
    """The table of a server."""
    with Server() as server:
        client = server.client(protocol=2)
        client.response_callbacks.clear()
        return CommandTable.from_reply(client.execute_command("COMMAND"))


KEYS: list[tuple[Arguments, set[bytes]]] = [
    (("SET", "a", 1), {b"a"}),
    (("set", "a", 1), {b"a"}),
    (("MSET", "a", 1, "b", 2), {b"a", b"b"}),
    (("DEL", "a", "b", "c"), {b"a", b"b", b"c"}),
    (("RENAME", "a", "b"), {b"a", b"b"}),
    (("LMOVE", "a", "b", "LEFT", "LEFT"), {b"a", b"b"}),
    (("BITOP", "AND", "a", "b"), {b"a", b"b"}),
    (("XGROUP", "CREATE", "a", "group", "$"), {b"a"}),
    (("SUNIONSTORE", "a", "b", "c"), {b"a", b"b", b"c"}),
    (("ZUNIONSTORE", "a", 2, "b", "c"), {b"a"}),
    (("SORT", "a", "BY", "b", "STORE", "c"), {b"a", b"c"}),
    (("GEORADIUS", "a", 1, 1, 1, "km", "STOREDIST", "b"), {b"a", b"b"}),
    (("EVAL", "return 1", 2, "a", "b", "c"), {b"a", b"b"}),
    (("FCALL", "f", 1, "a", "b"), {b"a"}),
    (("PUBLISH", "channel", "message"), set()),
    (("SCRIPT", "LOAD", "return 1"), set()),
    (("NOSUCHCOMMAND", "a"), set()),  # the target did not take it
]


@pytest.mark.parametrize(("arguments", "keys"), KEYS, ids=[str(case[0]) for case in KEYS])
def test_keys(arguments: Arguments, keys: set[bytes], table: CommandTable) -> None:
    """Of the commands that tell them, and no whole database."""
    touched = Touched(table)
    touched.add(3, encode(*arguments))
    assert touched.keys == ({3: keys} if keys else {})
    assert (touched.whole, touched.everything, touched.again) == (set(), False, [])


WHOLE: list[tuple[Arguments, set[int]]] = [
    (("FLUSHDB",), {3}),
    (("SWAPDB", 1, 2), {1, 2}),
    (("EVAL", "return 1", 0), {3}),
    (("EVALSHA", "abc", "no number"), {3}),
]


@pytest.mark.parametrize(("arguments", "databases"), WHOLE, ids=[str(case[0]) for case in WHOLE])
def test_whole_databases(arguments: Arguments, databases: set[int], table: CommandTable) -> None:
    """Of the commands that do not tell their keys."""
    touched = Touched(table)
    touched.add(3, encode(*arguments))
    assert (touched.keys, touched.whole, touched.everything) == ({}, databases, False)
    assert touched.databases == databases


def test_everything(table: CommandTable) -> None:
    """FLUSHALL reaches every database."""
    touched = Touched(table)
    touched.add(3, encode("FLUSHALL"))
    assert touched.everything


def test_keys_in_other_databases(table: CommandTable) -> None:
    """MOVE and COPY change a key of the other database, too."""
    touched = Touched(table)
    touched.add(3, encode("MOVE", "a", 5) + encode("COPY", "b", "c", "DB", 7, "REPLACE"))
    assert touched.keys == {3: {b"a", b"b", b"c"}, 5: {b"a"}, 7: {b"c"}}


def test_libraries_of_functions_come_again(table: CommandTable) -> None:
    """In a form that does not depend on what is there."""
    touched = Touched(table)
    touched.add(0, encode("FUNCTION", "LOAD", "code") + encode("function", "load", "REPLACE", "code"))
    touched.add(0, encode("FUNCTION", "RESTORE", "payload") + encode("FUNCTION", "RESTORE", "payload", "FLUSH"))
    touched.add(0, encode("FUNCTION", "FLUSH", "ASYNC") + encode("FUNCTION", "DELETE", "name"))
    assert touched.again == [
        (0, encode("FUNCTION", "LOAD", "REPLACE", "code")),
        (0, encode("FUNCTION", "LOAD", "REPLACE", "code")),
        (0, encode("FUNCTION", "RESTORE", "payload", "REPLACE")),
        (0, encode("FUNCTION", "RESTORE", "payload", "FLUSH")),
        (0, encode("FUNCTION", "FLUSH")),
        (0, encode("FUNCTION", "LOAD", "REPLACE", TO_DELETE % (b"name", b"name"))),
        (0, encode("FUNCTION", "DELETE", "name")),
    ]


def test_a_huge_command(table: CommandTable) -> None:
    """Its first key is known: all of them, where it has no more."""
    touched = Touched(table)
    touched.add_huge(1, b"rpush", b"a")
    touched.add_huge(2, b"MSET", b"a")
    touched.add_huge(4, b"SET", None)
    assert (touched.keys, touched.whole) == ({1: {b"a"}}, {2, 4})


def test_some_names(table: CommandTable) -> None:
    """Only the commands that are asked for count."""
    touched = Touched(table)
    touched.add(0, encode("SET", "a", 1) + encode("rename", "b", "c"), {b"RENAME"})
    assert touched.keys == {0: {b"b", b"c"}}


def test_a_database_known_later(table: CommandTable) -> None:
    """What was added for a placeholder joins what is there."""
    touched = Touched(table)
    touched.add(-1, encode("SET", "a", 1) + encode("FLUSHDB") + encode("FUNCTION", "FLUSH"))
    touched.add(2, encode("SET", "b", 1))
    touched.settle(-1, 2)
    assert (touched.keys, touched.whole) == ({2: {b"a", b"b"}}, {2})
    assert touched.again == [(2, encode("FUNCTION", "FLUSH"))]
    assert touched.databases == {2}
