"""The one ordered list of rules: what it changes, what it does not touch, and the way back."""

from __future__ import annotations

from shaker.codec.resp.replies import encode
from shaker.model.batch import CommandRun
from shaker.model.entries import Entries, Entry, LargeEntry
from shaker.rules.chain import Chain
from shaker.rules.client_forms import PAYLOADS, TRIMS
from shaker.rules.command_table import CommandTable, KeyPositions
from shaker.rules.expiring_commands import NOTED, SETS
from shaker.rules.expiry import Times
from shaker.rules.mset import SET
from shaker.rules.reserved import MENTIONS
from shaker.rules.rule import Received
from shaker.rules.sentinel_hello import PUBLISHES

RECORD = b"shaker:checkpoint:other"
CHAIN = Chain(CommandTable({"xadd": KeyPositions(1, 1, 1, False), "del": KeyPositions(1, -1, 1, False)}))
TIMES = Times(written=1_000, near=0, until=0, margin=7, late=False, passed=False)
XADD = ("XADD", "s", "MAXLEN", "=", "5", "LIMIT", "10", "1-1", "f", "v")


def test_commands_without_marks_are_not_looked_at() -> None:
    """Neither those of no rule, nor those that only the rules of the writing side know."""
    assert not CHAIN.received_marks & SETS
    assert all(CHAIN.received_marks & marks for marks in (TRIMS, PAYLOADS, MENTIONS, PUBLISHES))
    assert CHAIN.marks(b"GET", 2) == 0
    assert CHAIN.marks(b"XADD", 8) == 0
    assert CHAIN.marks(b"XADD", 9) == TRIMS
    assert CHAIN.marks(b"RESTORE", 4) == SETS | PAYLOADS
    assert all(CHAIN.notes[name].bits & note.bits == note.bits for name, note in NOTED.items())


def test_records_are_left_out_before_other_rules_see_them() -> None:
    """A command that another rule would change passes both; one that is left out passes none."""
    run = CHAIN.commands(Received(encode(*XADD), 1, TRIMS | MENTIONS))
    assert run == Received(encode(*XADD[:5], *XADD[7:]), 1, 0)
    dropped = CHAIN.commands(Received(encode("XADD", RECORD, *XADD[2:]), 1, TRIMS | MENTIONS))
    assert dropped == Received(b"", 0, 0, skipped=1)


def test_marks_of_the_writing_side_stay() -> None:
    """They are for the rules after the window."""
    data = encode("RESTORE", "k", 5, "payload")
    assert CHAIN.commands(Received(data, 1, SETS | PAYLOADS)) == Received(data, 1, SETS)


def test_messages_of_sentinels_stay_at_the_source() -> None:
    """They are not counted; all other messages are forwarded."""
    hello, other = encode("PUBLISH", "__sentinel__:hello", "x"), encode("PUBLISH", "news", "x")
    assert CHAIN.commands(Received(hello, 1, PUBLISHES)) == Received(b"", 0, 0)
    assert CHAIN.commands(Received(other, 1, PUBLISHES)) == Received(other, 1, 0)


def test_keys_of_a_snapshot() -> None:
    """Records are left out, large ones too; what is left keeps its place, expiries change when it is written."""
    skipped: list[bytes] = []
    found = CHAIN.entries(
        Entries(2, [b"a", b"1", RECORD, b"2"], [], [], [Entry(b"b", b"\0p", 100, -1, -1)]), skipped
    )
    assert found == Entries(2, [b"a", b"1"], [], [], [Entry(b"b", b"\0p", 100, -1, -1)])
    assert skipped == [RECORD]
    assert CHAIN.large(LargeEntry(0, RECORD, 5, -1, -1, -1)) is None
    entry = LargeEntry(0, b"k", 5, 100, -1, -1)
    assert CHAIN.large(entry) == entry
    restored = CHAIN.restored(found, TIMES)
    assert (restored.requests, restored.keys) == (2, 2)
    assert b"$3\r\n107\r\n" in restored.data
    large = CHAIN.large_restored(entry, TIMES)
    assert b"$3\r\n107\r\n" in large.before
    assert not large.waits


def test_what_is_written_for_a_run() -> None:
    """One MSET, the bytes as they came, or expiries as they are now."""
    plain = CommandRun(0, encode("INCR", "k") * 2, 2)
    assert CHAIN.written(plain, None, any_waiting=False) == ((plain.data,), 2, None)
    joined = CommandRun(0, b"".join(encode("SET", "k", n).removeprefix(SET) for n in range(9)), 9, prefix=SET)
    written = CHAIN.written(joined, TIMES, any_waiting=False)
    assert b"".join(written.pieces) == encode("MSET", *[each for n in range(9) for each in ("k", n)])
    assert written.requests == 1
    expiring = CommandRun(0, encode("PEXPIRE", "k", 50), 1, expiries=SETS)
    written = CHAIN.written(expiring, TIMES, any_waiting=False)
    assert (b"".join(written.pieces), written.requests) == (encode("PEXPIREAT", "k", 1057), 1)


def test_the_way_back() -> None:
    """A key of the target is the source's, by the same name; a record is nobody's."""
    assert CHAIN.source_key(3, b"k") == (3, b"k")
    assert CHAIN.source_key(0, RECORD) is None
