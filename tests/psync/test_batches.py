"""The stream becomes batches: transactions whole, offsets exact, records of workers in nobody's way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shaker.codec.resp.replies import encode
from shaker.errors import CorruptError, ShakerError, UnfaithfulError
from shaker.model.batch import RUN_BYTES, AckRequested, Batch, CommandRun, RecordsWiped
from shaker.psync.batches import StreamAssembler
from shaker.rules.chain import Chain
from shaker.rules.command_table import CommandTable
from shaker.rules.mset import LEAST, SET
from tests.rules.conftest import exchange
from tests.support.outcome import Applied, applied, commands_of
from tests.support.servers import DEFAULT, NAMES, Server
from tests.support.splits import cut, every_cut

REPLID = "c" * 40
START = 5_000
Table = Callable[[str], CommandTable]


def stream(text: str) -> bytes:
    """Requests, one a line, arguments apart by blanks."""
    return b"".join(encode(*line.split()) for line in text.strip().splitlines())


def make(table: CommandTable, *, database: int = 0, limit: int = 1_000_000) -> StreamAssembler:
    """An assembler of a stream that goes on at START."""
    return StreamAssembler(
        replid=REPLID, offset=START, database=database, chain=Chain(table), max_transaction=limit
    )


def feed(assembler: StreamAssembler, pieces: list[bytes]) -> list[Batch | AckRequested]:
    """Feed all the pieces and return what comes out."""
    return [event for piece in pieces for event in assembler.feed(piece)]


# What comes and what of it is applied: database and command.
CASES = {
    "plain": ("SET a 1 \n INCR b", ["0 SET a 1", "0 INCR b"]),
    "select": ("SET a 1 \n SELECT 3 \n SET a 2 \n select 0 \n SET a 3", ["0 SET a 1", "3 SET a 2", "0 SET a 3"]),
    "select again": ("SELECT 2 \n SET a 1 \n SELECT 2 \n SET a 2", ["2 SET a 1", "2 SET a 2"]),
    "ping in any case": ("PING \n SET a 1 \n ping \n pInG", ["0 SET a 1"]),
    "transaction": ("MULTI \n INCR a \n INCR b \n EXEC", ["0 INCR a", "0 INCR b"]),
    "names in any case": ("Multi \n incr a \n Select 4 \n Incr b \n exec \n INCR c",
                          ["0 incr a", "4 Incr b", "4 INCR c"]),
    "select in front of a transaction": ("SELECT 1 \n MULTI \n INCR a \n EXEC", ["1 INCR a"]),
    "empty transaction": ("MULTI \n EXEC \n INCR a", ["0 INCR a"]),
    "two transactions": ("MULTI \n INCR a \n EXEC \n MULTI \n INCR b \n EXEC", ["0 INCR a", "0 INCR b"]),
    "ping in a transaction": ("MULTI \n INCR a \n ping \n INCR b \n EXEC", ["0 INCR a", "0 INCR b"]),
    "publish": ("PUBLISH news x \n publish __sentinel__:hello gossip \n PUBLISH __sentinel__:hello2 y",
                ["0 PUBLISH news x", "0 PUBLISH __sentinel__:hello2 y"]),
    "publish of a record's name": ("PUBLISH shaker:x y", ["0 PUBLISH shaker:x y"]),
    "replconf": ("SET a 1 \n REPLCONF NOTHING \n SET b 2", ["0 SET a 1", "0 SET b 2"]),
    "records": ("HSET shaker:fence:x a 1 \n SET a shaker: \n DEL shaker:stale:x b \n RENAME shaker:copying:x c",
                ["0 SET a shaker:", "0 DEL b"]),
    "records in a transaction": ("MULTI \n INCR a \n HSET shaker:fence:x a 1 \n EXEC", ["0 INCR a"]),
    "flushes": ("SET a 1 \n FLUSHALL \n SELECT 2 \n flushdb \n SET b 1",
                ["0 SET a 1", "0 FLUSHALL", "2 flushdb", "2 SET b 1"]),
    "swaps": ("SWAPDB 0 1 \n SET a 1 \n swapdb 2 3 \n MULTI \n SWAPDB 1 0 \n SET b 1 \n EXEC",
              ["0 SWAPDB 0 1", "0 SET a 1", "0 swapdb 2 3", "0 SWAPDB 1 0", "0 SET b 1"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_cut_applies_the_same(case: str, table: Table) -> None:
    """The same commands in the same databases, and the offset behind all bytes, wherever they are cut."""
    text, expected = CASES[case]
    data = stream(text)
    wanted = [(int(line.split()[0]), [word.encode() for word in line.split()[1:]]) for line in expected]
    databases = [int(line.split()[1]) for line in text.lower().splitlines() if line.split()[0] == "select"]
    for pieces in every_cut(data):
        assembler = make(table(DEFAULT))
        events = feed(assembler, pieces)
        assert applied(events) == Applied(wanted, START + len(data), ([0, *databases])[-1], [])
        assert assembler.offset == START + len(data)
        assert {event.replid for event in events if isinstance(event, Batch)} == {REPLID}


@pytest.mark.parametrize("case", CASES)
def test_beginning_of_a_command_behind(case: str, table: Table) -> None:
    """Bytes of a command that is not whole move nothing."""
    data = stream(CASES[case][0])
    for trailing in (b"*", b"*2\r\n$6\r\nSELECT\r\n$1\r\n9", b"*1\r\n$5\r\nMULTI\r"):
        for pieces in every_cut(data + trailing, random_cuts=2):
            outcome = applied(feed(make(table(DEFAULT)), pieces))
            assert outcome == applied(feed(make(table(DEFAULT)), [data]))
            assert outcome.offset == START + len(data)


def test_database_at_the_start(table: Table) -> None:
    """A stream that goes on does not repeat its SELECT."""
    [batch] = make(table(DEFAULT), database=7).feed(stream("INCR a"))
    assert batch == Batch(
        (CommandRun(7, stream("INCR a"), 1),), 1, RUN_BYTES + len(stream("INCR a")), REPLID, START + 23 - 2, 7
    )


def test_one_part_for_each_run_of_a_database(table: Table) -> None:
    """Commands of one database stay together; their bytes are as they came."""
    [batch] = make(table(DEFAULT)).feed(
        stream("INCR a \n ping \n INCR b \n SELECT 1 \n MULTI \n INCR c \n EXEC \n INCR d \n SELECT 0 \n INCR e")
    )
    assert isinstance(batch, Batch)
    assert batch.parts == (
        CommandRun(0, stream("INCR a \n INCR b"), 2),
        CommandRun(1, stream("INCR c \n INCR d"), 2),
        CommandRun(0, stream("INCR e"), 1),
    )


def test_many_sets_lack_their_beginning(table: Table) -> None:
    """A run of them is a part of its own beside other commands of the database, and grows by more of the kind."""
    sets, lower = "SET a 1 \n" * LEAST, "set b 2 \n" * LEAST
    for text, expected in (
        (sets, [LEAST]),
        ("SET a 1", [0]),
        (f"{sets} PING \n {sets}", [2 * LEAST]),
        (f"MULTI \n {sets} EXEC \n {sets}", [2 * LEAST]),
        (f"MULTI \n {sets} PING \n {sets} EXEC", [2 * LEAST]),
        (f"{sets} PING \n SET a 1", [LEAST, 0]),
        (f"{sets} INCR b", [0]),
        (f"{sets} PING \n INCR b \n PING \n {sets}", [LEAST, 0, LEAST]),
        (f"{sets} PING \n {lower}", [LEAST, LEAST]),
        (f"{sets} SELECT 2 \n {sets}", [LEAST, LEAST]),
        (f"{sets} PUBLISH a b \n {sets}", [LEAST, 0, LEAST]),
    ):
        [batch] = make(table(DEFAULT)).feed(stream(text))
        assert isinstance(batch, Batch)
        assert [part.commands if part.prefix else 0 for part in batch.parts] == expected
        assert all(part.prefix.upper() in (b"", SET) for part in batch.parts)
        # The same as a reader that is fed each command alone, which finds no runs.
        lines = [stream(line) for line in text.strip().splitlines()]
        assert applied([batch]).commands == applied(feed(make(table(DEFAULT)), lines)).commands


def test_offsets_are_exact(table: Table) -> None:
    """Fed command by command, each moves the offset by its bytes, but for those inside a transaction."""
    lines = ["SET a 1", "PING", "SELECT 3", "MULTI", "INCR a", "SELECT 0", "INCR b", "EXEC", "ping", "REPLCONF x"]
    assembler = make(table(DEFAULT))
    offset = START
    for line in lines:
        offset += len(stream(line))
        batches = assembler.feed(stream(line))
        assert assembler.offset == offset
        inside = line in ("MULTI", "INCR a", "SELECT 0", "INCR b")
        assert [batch.end_offset for batch in batches if isinstance(batch, Batch)] == ([] if inside else [offset])
        if line == "SELECT 3":
            assert batches == [Batch((), 0, 0, REPLID, offset, 3)]
        if line == "EXEC":
            [batch] = batches
            assert isinstance(batch, Batch)
            assert (commands_of(batch), batch.database) == ([(3, [b"INCR", b"a"]), (0, [b"INCR", b"b"])], 0)


def test_before_a_transaction(table: Table) -> None:
    """What stands before an open transaction is applied, up to before its MULTI, in the database selected there."""
    assembler = make(table(DEFAULT))
    before = stream("SELECT 2 \n SET a 1 \n PING")
    [batch] = assembler.feed(before + stream("MULTI \n SELECT 5 \n INCR b"))
    assert isinstance(batch, Batch)
    assert (batch.end_offset, batch.database, batch.commands) == (START + len(before), 2, 1)
    [batch] = assembler.feed(stream("EXEC"))
    assert isinstance(batch, Batch)
    assert (batch.end_offset, batch.database, commands_of(batch)) == (assembler.offset, 5, [(5, [b"INCR", b"b"])])


def test_ping_at_the_tail_moves_the_offset_only(table: Table) -> None:
    """An idle source's PING is a batch without commands."""
    assembler = make(table(DEFAULT))
    for name in ("PING", "ping"):
        [batch] = assembler.feed(encode(name))
        assert batch == Batch((), 0, 0, REPLID, assembler.offset, 0)
    assert assembler.offset == START + 28


@pytest.mark.parametrize("spelling", ["REPLCONF GETACK *", "replconf getack *"])
def test_getack(table: Table, spelling: str) -> None:
    """What came before is given out first; then the request, with the offset behind it, at which it counts."""
    data = stream("INCR a") + stream(spelling)
    expected = Applied([(0, [b"INCR", b"a"])], START + len(data), 0, [START + len(data)])
    for pieces in every_cut(data):
        assert applied(feed(make(table(DEFAULT)), pieces)) == expected
    kinds = make(table(DEFAULT)).feed(data)
    assert kinds == [
        Batch(
            (CommandRun(0, stream("INCR a"), 1),),
            1,
            RUN_BYTES + len(stream("INCR a")),
            REPLID,
            START + len(stream("INCR a")),
            0,
        ),
        AckRequested(START + len(data)),
        Batch((), 0, 0, REPLID, START + len(data), 0),
    ]


# Streams and, for each batch: its commands and what it does to the records of the worker ("-": nothing).
RECORDS = [
    ("SET a 1 \n FLUSHALL \n SET b 1", ["SET a 1 | -", "FLUSHALL | None", "SET b 1 | -"]),
    ("FLUSHALL", ["FLUSHALL | None"]),
    ("flushall ASYNC", ["flushall ASYNC | None"]),
    ("FLUSHALL \n FlushAll SYNC", ["FLUSHALL | None", "FlushAll SYNC | None"]),
    ("SET a 1 \n FLUSHDB \n SET b 1", ["SET a 1 | -", "FLUSHDB | None", "SET b 1 | -"]),
    ("flushdb ASYNC", ["flushdb ASYNC | None"]),
    ("SELECT 3 \n FLUSHALL", [" | -", "FLUSHALL | None"]),
    ("SWAPDB 0 1", ["SWAPDB 0 1 | 1"]),
    ("SET a 1 \n swapdb 5 0 \n SET b 1", ["SET a 1 | -", "swapdb 5 0 | 5", "SET b 1 | -"]),
    ("SWAPDB 0 0", ["SWAPDB 0 0 | None"]),
    # Each batch puts the records back into database 0: the next one finds them there.
    ("SWAPDB 0 1 \n SWAPDB 0 1", ["SWAPDB 0 1 | 1", "SWAPDB 0 1 | 1"]),
    ("SWAPDB 0 1 \n SWAPDB 2 0", ["SWAPDB 0 1 | 1", "SWAPDB 2 0 | 2"]),
    # Inside a transaction they go along.
    ("MULTI \n FLUSHALL \n SET a 1 \n EXEC", ["FLUSHALL, SET a 1 | None"]),
    ("MULTI \n SET a 1 \n FLUSHDB \n EXEC", ["SET a 1, FLUSHDB | None"]),
    ("SET x 1 \n MULTI \n SET a 1 \n FLUSHALL \n EXEC \n SET y 1",
     ["SET x 1 | -", "SET a 1, FLUSHALL | None", "SET y 1 | -"]),
    ("MULTI \n SWAPDB 0 1 \n EXEC", ["SWAPDB 0 1 | 1"]),
    ("MULTI \n SWAPDB 0 1 \n SWAPDB 1 2 \n EXEC", ["SWAPDB 0 1, SWAPDB 1 2 | 2"]),
    ("MULTI \n SWAPDB 0 1 \n SWAPDB 1 2 \n SWAPDB 2 0 \n EXEC", ["SWAPDB 0 1, SWAPDB 1 2, SWAPDB 2 0 | None"]),
    ("MULTI \n SWAPDB 0 1 \n SWAPDB 1 0 \n EXEC", ["SWAPDB 0 1, SWAPDB 1 0 | None"]),
    ("MULTI \n SWAPDB 0 1 \n SWAPDB 1 2 \n SWAPDB 0 1 \n EXEC", ["SWAPDB 0 1, SWAPDB 1 2, SWAPDB 0 1 | 2"]),
    ("MULTI \n SWAPDB 1 2 \n SWAPDB 0 1 \n EXEC", ["SWAPDB 1 2, SWAPDB 0 1 | 1"]),
    ("MULTI \n FLUSHALL \n SWAPDB 0 3 \n EXEC", ["FLUSHALL, SWAPDB 0 3 | 3"]),
    ("MULTI \n SWAPDB 0 3 \n FLUSHALL \n EXEC", ["SWAPDB 0 3, FLUSHALL | 3"]),
    ("MULTI \n SWAPDB 0 3 \n FLUSHDB \n EXEC", ["SWAPDB 0 3, FLUSHDB | 3"]),
    ("MULTI \n SWAPDB 0 3 \n EXEC \n MULTI \n SWAPDB 0 2 \n EXEC", ["SWAPDB 0 3 | 3", "SWAPDB 0 2 | 2"]),
]  # fmt: skip
# These leave the records alone: no batch of their own.
HARMLESS = [
    "SET a 1 \n SWAPDB 1 2 \n SET b 1",
    "SELECT 4 \n SET a 1 \n FLUSHDB \n SET b 1",
    "MULTI \n SWAPDB 1 2 \n SELECT 1 \n flushdb \n EXEC",
]


@pytest.mark.parametrize(("text", "expected"), RECORDS)
def test_commands_that_reach_the_records(text: str, expected: list[str], table: Table) -> None:
    """FLUSHALL, FLUSHDB and SWAPDB make a batch of their own, or their transaction does, for every cut."""
    data = stream(text)
    for pieces in every_cut(data):
        batches = [batch for batch in feed(make(table(DEFAULT)), pieces) if isinstance(batch, Batch)]
        assert batches[-1].end_offset == START + len(data)
        seen = []
        for batch in batches:
            commands = ", ".join(b" ".join(arguments).decode() for _, arguments in commands_of(batch))
            seen.append(f"{commands} | {'-' if batch.records is None else batch.records.moved_to}")
        # Where a cut leaves nothing but a SELECT or a MULTI, it has a batch or none.
        assert [line for line in seen if line != " | -"] == [line for line in expected if line != " | -"]


@pytest.mark.parametrize("text", HARMLESS)
def test_commands_that_do_not_reach_the_records(text: str, table: Table) -> None:
    """In other databases they are ordinary commands, in one batch with their neighbours."""
    [batch] = make(table(DEFAULT)).feed(stream(text))
    assert isinstance(batch, Batch)
    assert batch.records is None


@pytest.mark.parametrize("name", ["redis-6.2", "redis-8.0", "valkey-9.1"])
def test_records_are_where_a_server_has_them(name: str, shared: Callable[[str], Server], table: Table) -> None:
    """Batch by batch on a real server: afterwards the old records are where `moved_to` says, or gone."""
    server = shared(name)
    for text in [text for text, _ in RECORDS] + HARMLESS:
        for batch in make(table(name)).feed(stream(text)):
            assert isinstance(batch, Batch)
            requests = encode("FLUSHALL") + encode("SET", "shaker:record", "1") + encode("MULTI")
            for part in batch.parts:
                requests += encode("SELECT", part.database) + part.data
            requests += encode("EXEC")
            count = 3 + len(batch.parts) + batch.commands + 1
            assert isinstance(exchange(server, requests, count)[-1], list)
            found = [number for number in range(16) if server.client(db=number).exists("shaker:record")]
            if batch.records is None:
                assert found == [0], text
            elif batch.records.moved_to is None:
                assert found in ([], [0]), text
            else:
                assert found in ([], [batch.records.moved_to]), text


@pytest.mark.parametrize("name", NAMES)
def test_records_of_other_workers(name: str, table: Table) -> None:
    """Dropped and rewritten commands are counted as skipped, rejected ones named, inside a transaction, too."""
    lines = (
        "SET a 1 \n HSET shaker:checkpoint:x offset 1 \n "
        "xgroup CREATE shaker:fence:x g 0 \n del b shaker:stale:x c \n"
        "RENAME a shaker:fence:x \n SORT l STORE shaker:fence:x \n SET d shaker:"
    )
    for text in (lines, f"MULTI \n {lines} \n EXEC"):
        data = stream(text)
        [batch] = make(table(name)).feed(data)
        assert isinstance(batch, Batch)
        assert batch.skipped == 3
        assert batch.rejected == (b"RENAME", b"SORT")
        assert [arguments for _, arguments in commands_of(batch)] == [
            [b"SET", b"a", b"1"],
            [b"del", b"b", b"c"],
            [b"SET", b"d", b"shaker:"],
        ]
        assert batch.end_offset == START + len(data)


def test_a_rejected_command_alone_is_still_told(table: Table) -> None:
    """A batch without commands carries what was left out."""
    [batch] = make(table(DEFAULT)).feed(stream("RENAME a shaker:fence:x"))
    assert isinstance(batch, Batch)
    assert (batch.parts, batch.rejected, batch.skipped) == ((), (b"RENAME",), 0)


def test_records_and_rejections_in_one_transaction(table: Table) -> None:
    """What a transaction with FLUSHALL leaves out is told by its own batch, not by the one before."""
    before, batch = make(table(DEFAULT)).feed(
        stream("DEL shaker:fence:a \n MULTI \n FLUSHALL \n RENAME a shaker:fence:x \n DEL shaker:fence:b \n EXEC")
    )
    assert isinstance(before, Batch)
    assert isinstance(batch, Batch)
    assert (before.skipped, before.rejected, before.records) == (1, (), None)
    assert (batch.skipped, batch.rejected, batch.records) == (1, (b"RENAME",), RecordsWiped(None))


@pytest.mark.parametrize(
    "text",
    [
        "EXEC",
        "MULTI \n MULTI",
        "MULTI \n EXEC \n EXEC",
        "SELECT",
        "SELECT x",
        "SELECT -1",
        "SELECT 9999999999",
        "SWAPDB 0",
        "SWAPDB a b",
        "MULTI \n SWAPDB 0 1 \n SELECT nine",
    ],
)
def test_what_cannot_be_there(text: str, table: Table) -> None:
    """A source never sends it: corrupt, named with the offset behind it, not guessed at."""
    data = stream("SET a 1 \n" + text)
    name = text.split("\n")[-1].split()[0]
    for pieces in every_cut(data):
        with pytest.raises(CorruptError, match=rf"has a {name} that .* before offset {START + len(data)};"):
            feed(make(table(DEFAULT)), pieces)


def test_a_transaction_too_large_is_named(table: Table) -> None:
    """A transaction above the limit is refused while it comes, named by where it begins."""
    begin = stream("SET a 1 \n INCR a")
    data = begin + stream("MULTI") + encode("SET", "k", "v" * 400) * 3 + stream("EXEC")
    for pieces in every_cut(data[:-10]):
        with pytest.raises(
            UnfaithfulError, match=rf"transaction of the source at offset {START + len(begin)} "
        ) as caught:
            feed(make(table(DEFAULT), limit=1000), pieces)
        assert caught.value.kind == "too_large"
        assert caught.value.exit_code == 4
        assert "SHAKER_SNAPSHOT__MAX_VALUE" in caught.value.hint
    feed(make(table(DEFAULT), limit=1300), [data])


def test_many_small_transactions_are_no_large_one(table: Table) -> None:
    """The limit is for one transaction, not for all that come at once."""
    data = (stream("MULTI") + encode("SET", "k", "v" * 400) + stream("EXEC")) * 10
    assert len(applied(make(table(DEFAULT), limit=1000).feed(data)).commands) == 10


def test_a_command_too_large_is_named(table: Table) -> None:
    """The limit is for a command, too; its name and offset are told."""
    with pytest.raises(UnfaithfulError, match=rf"SET command at offset {START + len(stream('INCR a'))}"):
        make(table(DEFAULT), limit=1000).feed(stream("INCR a") + encode("SET", "k", "v" * 2000)[:100])


ordinary = st.sampled_from(
    ("SET a 1", "incr b", "PUBLISH c d", "PING", "ping", "SELECT 2", "select 0", "SELECT 11")
)
swaps = st.sampled_from(
    (
        "FLUSHALL",
        "SWAPDB 0 1",
        "swapdb 3 2",
        "DEL shaker:stale:x a",
        "DEL shaker:fence:y",
        "RENAME a shaker:fence:z",
    )
)
inside = st.lists(st.one_of(ordinary, swaps), max_size=4)
blocks = st.one_of(
    ordinary.map(lambda line: [line]),
    swaps.map(lambda line: [line]),
    inside.map(lambda lines: ["MULTI", *lines, "exec"]),
)


@given(st.lists(blocks, max_size=8), st.lists(st.integers(0, 900), max_size=10))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_transaction_is_ever_cut(table: Table, found: list[list[str]], cuts: list[int]) -> None:
    """Whatever comes and however it is cut: batches end between transactions, and all is applied in order."""
    boundaries = {START: 0}
    data = b""
    database = 0
    for block in found:
        for line in block:
            data += stream(line)
            if line.lower().startswith("select"):
                database = int(line.split()[1])
        boundaries[START + len(data)] = database

    events = feed(make(table(DEFAULT)), cut(data, cuts))

    assert all(boundaries[event.end_offset] == event.database for event in events if isinstance(event, Batch))
    lines = [line for block in found for line in block]
    database = 0
    expected = []
    for line in lines:
        words = line.split()
        match words[0].upper():
            case "SELECT":
                database = int(words[1])
            case "PING" | "MULTI" | "EXEC" | "RENAME":
                pass
            case "DEL":
                expected += [(database, [b"DEL", b"a"])] if "a" in words else []
            case _:
                expected.append((database, [word.encode() for word in words]))
    outcome = applied(events)
    assert outcome.commands == expected
    assert outcome.offset == (START + len(data) if data else None)
    batches = [event for event in events if isinstance(event, Batch)]
    assert sum(batch.skipped for batch in batches) == sum(line.startswith("DEL") for line in lines)
    assert sum(len(batch.rejected) for batch in batches) == sum(line.startswith("RENAME") for line in lines)


streams = st.lists(blocks, max_size=8).map(
    lambda found: stream("\n".join(line for block in found for line in block))
)


@given(st.one_of(st.binary(max_size=100), streams), st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_raises_only_our_errors(table: Table, data: bytes, more: st.DataObject) -> None:
    """A stream with bytes changed or lost gives batches or an error of ours."""
    damaged = bytearray(data)
    for _ in range(more.draw(st.integers(1, 3))):
        at = more.draw(st.integers(0, len(damaged)))
        damaged[at : at + more.draw(st.integers(0, 5))] = more.draw(st.binary(max_size=4))
    assembler = make(table(DEFAULT), limit=10_000)
    try:
        events = assembler.feed(bytes(damaged))
    except ShakerError:
        return
    applied(events)
    assert START <= assembler.offset <= START + len(damaged)
