"""Commands that name a worker's record: dropped, rewritten or rejected, with the key positions of every server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.codec.resp.replies import encode
from shaker.model.entries import LargeEntry
from shaker.rules.command_table import CommandTable
from shaker.rules.reserved import MENTIONS, ReservedKeys
from shaker.rules.rule import Received
from tests.support.servers import NAMES

F = b"shaker:fence:default"
C = b"shaker:checkpoint:default"

DROPPED = [
    [b"HSET", C, b"offset", b"1"],
    [b"hset", C, b"offset", b"1"],
    [b"DEL", C],
    [b"Unlink", C, F],
    [b"PEXPIREAT", F, b"1"],
    [b"RENAME", F, C],
    [b"COPY", F, C],
    [b"MSET", F, b"1", C, b"2"],
    [b"MOVE", C, b"1"],
    [b"RESTORE", C, b"0", b"payload"],
    [b"XGROUP", b"CREATE", C, b"g", b"0"],
    [b"SET", b"shaker:doubtful:" + b"n" * 64, b"v"],
    *[[b"SADD", b"shaker:%b:Other-1._" % kind, b"k"] for kind in (b"stale", b"expiring", b"copying")],
]
REJECTED = [
    [b"RENAME", b"data", C],
    [b"RENAME", C, b"data"],
    [b"RENAMENX", b"data", C],
    [b"COPY", b"data", C],
    [b"COPY", C, b"data"],
    [b"MSET", b"data", b"1", C, b"2"],
    [b"SINTERSTORE", C, b"data"],
    [b"LMOVE", b"data", C, b"LEFT", b"LEFT"],
    [b"BITOP", b"AND", C, b"data"],
    # Where the keys are cannot be told: refused rather than forwarded.
    [b"SORT", b"data", b"STORE", C],
    [b"ZUNIONSTORE", C, b"1", b"data"],
    [b"EVAL", b"return 1", b"1", C],
    [b"NOSUCHCOMMAND", C],
]
FORWARDED = [
    [b"SET", b"k", b"shaker:value"],
    [b"HSET", b"k", C, b"shaker:x"],
    [b"SADD", b"set", F, C],
    [b"SET", b"shaker:", b"v"],
    [b"SET", b"shaker:fence", b"v"],
    [b"SET", b"shaker:fence:", b"v"],
    [b"SET", b"shaker:fence:a:b", b"v"],
    [b"SET", b"shaker:fence:a\n", b"v"],
    [b"SET", b"shaker:fence:-a", b"v"],
    [b"SET", b"shaker:fence:" + b"n" * 65, b"v"],
    [b"SET", b"shaker:session:default", b"v"],
    [b"SET", b"shaker:FENCE:default", b"v"],
    [b"MSET", b"shaker:a", b"v", b"k", C],
    [b"RENAME", b"shaker:a", b"k"],
    [b"SORT", b"k", b"STORE", b"shaker:a"],
    [b"SET", b"xshaker:fence:default", b"v"],
    [b"SET", b"Shaker:fence:default", b"v"],
    [b"MSET", b"a", C, b"b", F],
    [b"DEL", b"a", b"my-shaker:b", b"shaker:b"],
    [b"PUBLISH", b"shaker:channel", b"x"],
    [b"XGROUP", b"CREATE", b"k", b"shaker:group", b"0"],
    [b"FUNCTION", b"LOAD", b"shaker:code"],
    [b"EVAL", b"return 'shaker:'", b"0"],
    [b"NOSUCHCOMMAND", b"xshaker:"],
]
REWRITTEN = [
    ([b"DEL", b"a", C, b"b"], [b"DEL", b"a", b"b"]),
    ([b"del", C, F, b"a"], [b"del", b"a"]),
    ([b"UNLINK", b"a", C, b"", C], [b"UNLINK", b"a", b""]),
    ([b"DEL", b"shaker:a", C, b"shaker:b"], [b"DEL", b"shaker:a", b"shaker:b"]),
    ([b"UNLINK", C, b"\r\n"], [b"UNLINK", b"\r\n"]),
]


def received(arguments: list[bytes], table: CommandTable) -> Received:
    """What becomes of a command."""
    return ReservedKeys(table).commands(Received(encode(*arguments), 1, MENTIONS))


@pytest.mark.parametrize("name", NAMES)
def test_records_alone_are_dropped(table: Callable[[str], CommandTable], name: str) -> None:
    """A command that touches nothing but records of workers goes nowhere."""
    for arguments in DROPPED:
        assert received(arguments, table(name)) == Received(b"", 0, 0, skipped=1), arguments


@pytest.mark.parametrize("name", NAMES)
def test_records_mixed_with_data_are_rejected(table: Callable[[str], CommandTable], name: str) -> None:
    """A command that would mix records with data, or whose keys cannot be told, is a rejected command."""
    for arguments in REJECTED:
        rejected = (arguments[0].upper(),)
        assert received(arguments, table(name)) == Received(b"", 0, 0, 0, rejected), arguments


@pytest.mark.parametrize("name", NAMES)
def test_a_mention_that_is_no_key_is_forwarded(table: Callable[[str], CommandTable], name: str) -> None:
    """Values, fields, members, channels and groups may begin as they like."""
    for arguments in FORWARDED:
        if arguments[0] == b"FUNCTION" and name == "redis-6.2":
            continue  # it does not know it
        assert received(arguments, table(name)) == Received(encode(*arguments), 1, MENTIONS), arguments


@pytest.mark.parametrize("name", NAMES)
def test_deletions_go_on_without_records(table: Callable[[str], CommandTable], name: str) -> None:
    """DEL and UNLINK, in any case, keep their other keys in order."""
    for arguments, expected in REWRITTEN:
        assert received(arguments, table(name)) == Received(encode(*expected), 1, 0, skipped=1), arguments


def test_keys_of_a_snapshot_and_back() -> None:
    """A large record is left out; no key of the source becomes a record on the target."""
    rule = ReservedKeys(CommandTable({}))
    for key, kept in ((C, False), (F, False), (b"shaker:x", True), (b"k", True)):
        entry = LargeEntry(0, key, 10, -1, -1, -1)
        assert rule.large(entry) == (entry if kept else None)
        assert rule.source_key(3, key) == ((3, key) if kept else None)
