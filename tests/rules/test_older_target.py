"""Commands in the forms of older targets."""

from __future__ import annotations

import pytest

from shaker.codec.resp.replies import encode
from shaker.codec.resp.requests import commands
from shaker.codec.values.target import Target
from shaker.rules.chain import Chain
from shaker.rules.command_table import CommandTable, KeyPositions
from shaker.rules.expiring_commands import SETS
from shaker.rules.older_target import OLDER
from shaker.rules.rule import Received
from shaker.rules.target_form import EVERYTHING, TargetForm
from tests.support.rdb_bytes import payload

OLD = TargetForm(
    Target(field_expiry=False, stream_counters=False, create_consumer=True, functions=False),
    bytes([1] * 10 + [0] * 246),
    1 << 30,
    b"shaker:building:x",
    frozenset(("vectorset",)),
)
FIELDS = OLD._replace(able=OLD.able._replace(field_expiry=True))
SKIPPING = OLD._replace(able=OLD.able._replace(drops_field_expiry=True))
HASH = payload(16, b"\x0b\x0b\x00\x00\x00\x02\x00\x01\x01\x02\x01\xff", 11)
NOT_WHOLE = HASH[:-1] + b"?"


def changed(form: TargetForm, *arguments: bytes | str, table: tuple[str, ...] = ()) -> list[list[bytes]]:
    """What becomes of one command."""
    return list(commands(run(form, *arguments, table=table).data))


def run(form: TargetForm, *arguments: bytes | str, table: tuple[str, ...] = ()) -> Received:
    """The run that becomes of one command."""
    chain = Chain(CommandTable(dict.fromkeys(table, KeyPositions(1, 1, 1, False))), form)
    name = arguments[0] if isinstance(arguments[0], bytes) else arguments[0].encode()
    received = chain.commands(Received(encode(*arguments), 1, chain.marks(name.upper(), len(arguments))))
    assert not received.marks & OLDER
    assert received.commands == len(list(commands(received.data)))
    return received


@pytest.mark.parametrize(
    ("form", "given", "expected"),
    [
        (OLD, "HSETEX h KEEPTTL FIELDS 1 a 3", ["HSET h a 3"]),
        (OLD, "HSETEX h FXX FIELDS 2 a 3 b 4", ["HSET h a 3 b 4"]),
        (OLD, "hsetex h PXAT 4000000000000 FIELDS 1 a 3", None),
        (SKIPPING, "HSETEX h PXAT 4000000000000 FIELDS 1 a 3", ["HSET h a 3"]),
        (
            FIELDS,
            "HSETEX h PXAT 4000000000000 FIELDS 1 a 3",
            ["HSET h a 3", "HPEXPIREAT h 4000000000000 FIELDS 1 a"],
        ),
        (FIELDS, "HSETEX h EX 5 FIELDS 1 a 3", ["HSET h a 3", "HEXPIRE h 5 FIELDS 1 a"]),
        (FIELDS, "HSETEX h KEEPTTL FIELDS 1 a 3", None),
        (OLD, "HGETDEL h FIELDS 2 a b", ["HDEL h a b"]),
        (OLD, "MSETEX 2 a 1 b 2 NX PXAT 5", ["SET a 1 PXAT 5", "SET b 2 PXAT 5"]),
        (OLD, "MSETEX 9 a 1", None),
        (OLD, "XGROUP SETID s g 1-1 ENTRIESREAD 1", ["XGROUP SETID s g 1-1"]),
        (OLD, "XGROUP CREATE s g 0 MKSTREAM ENTRIESREAD 1", ["XGROUP CREATE s g 0 MKSTREAM"]),
        (OLD, "XGROUP CREATE s g 0", None),
        (OLD, "XSETID s 9-1 ENTRIESADDED 12 MAXDELETEDID 1-1", ["XSETID s 9-1"]),
        (OLD, "HPEXPIREAT h 5 FIELDS 1 a", None),
        (SKIPPING, "HPEXPIREAT h 5 FIELDS 1 a", []),
        (SKIPPING, "FUNCTION FLUSH", []),
        (SKIPPING, "VADD v VALUES 1 1 e", []),
        (OLD, "FUNCTION FLUSH", None),
        (EVERYTHING, "HSETEX h FIELDS 1 a 3", None),
    ],
)
def test_commands(form: TargetForm, given: str, expected: list[str] | None) -> None:
    """Each becomes commands of the same effect, or stays and is judged by the target."""
    words = given.split()
    wanted = [given] if expected is None else expected
    assert changed(form, *words) == [each.encode().split() for each in wanted]


def test_left_out_is_counted() -> None:
    """Whole commands, and expiries of fields."""
    assert run(SKIPPING, *["HPEXPIREAT", "h", "5", "FIELDS", "1", "a"]).unsupported == 1
    assert run(SKIPPING, *["HSETEX", "h", "PX", "5", "FIELDS", "1", "a", "1"]).unsupported == 1
    assert run(SKIPPING, *["HSETEX", "h", "FIELDS", "1", "a", "1"]).unsupported == 0


def test_a_command_that_the_target_has_stays() -> None:
    """The table of the target decides."""
    given = ["HSETEX", "h", "FIELDS", "1", "a", "3"]
    assert changed(OLD, *given, table=("hsetex",)) == [[word.encode() for word in given]]


def test_restore() -> None:
    """A value that the target does not take is built, with its expiry, which the rule of expiries sees."""
    found = run(OLD, "RESTORE", "k", "4000000000000", HASH, "ABSTTL", "REPLACE")
    assert list(commands(found.data)) == [
        [b"UNLINK", b"k"],
        [b"HSET", b"k", b"1", b"2"],
        [b"PEXPIREAT", b"k", b"4000000000000"],
    ]
    assert found.marks & SETS
    assert changed(OLD, "RESTORE", "k", "700", HASH)[-1] == [b"PEXPIRE", b"k", b"700"]
    assert changed(OLD, "RESTORE", "k", "0", HASH)[-1] == [b"HSET", b"k", b"1", b"2"]
    assert changed(OLD, "RESTORE", "k", "0", NOT_WHOLE) == [[b"RESTORE", b"k", b"0", NOT_WHOLE]]
    assert changed(OLD, "RESTORE", "k", "0", "short") == [[b"RESTORE", b"k", b"0", b"short"]]
