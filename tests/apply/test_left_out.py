"""Commands that the target does not take are left out, whatever their size and whatever is kept of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from shaker.apply.left_out import LeftOut
from shaker.apply.rejections import RESERVED
from shaker.errors import UnfaithfulError
from shaker.model.entries import Entries, LargeEntry
from shaker.model.items import SnapshotChunk, SnapshotKeys, SnapshotStart
from tests.support.replicating import Command, Replicating, Source
from tests.support.servers import NAMES, Server
from tests.support.target_driver import REPLID, Stream, Writer, checkpoint_of, start_stream

MakeWriter = Callable[..., Writer]
MakeReplicating = Callable[..., Replicating]
BIG = "x" * 1_100_000  # beyond the smallest limit that servers take
FILL: list[Command] = [("APPEND", "s", "x" * 50)] * 40
MAX_COMMAND = 80  # what goes in pieces


@pytest.fixture
def replicating(target: Server) -> Iterator[MakeReplicating]:
    """A worker in the stream of some commands, of which it keeps next to nothing."""
    with ExitStack() as stack:

        def make(commands: list[Command], server: Server = target, *, window_limit: int = 1) -> Replicating:
            worker = Replicating(Source(commands, {}), server, window_limit=window_limit, pass_above=MAX_COMMAND)
            stack.callback(worker.close)
            worker.start()
            worker.load()
            return worker

        yield make


def complete(worker: Replicating, size: int = 60) -> None:
    """Apply all of it, read so many bytes at a time."""
    for _ in range(2 * len(worker.source.data) // size + 20):
        worker.read(size)
        worker.receive(1 << 16)
    worker.complete()


def summaries(worker: Replicating) -> list[str]:
    return [rejection.summary for rejection in worker.writer.rejections]


def connections(server: Server) -> int:
    return int(server.info("stats")["total_connections_received"])


@pytest.mark.parametrize("window_limit", [1, 1 << 20])
@pytest.mark.parametrize("database", [0, 4])
def test_refused_commands_of_a_transaction_too_large_to_keep(
    replicating: MakeReplicating, target: Server, database: int, window_limit: int
) -> None:
    """All of them cost one connection; the rest of the transaction takes effect once, and they are counted once."""
    unknown: list[Command] = [("NOSUCH", "k:1", "secret")]
    large: list[Command] = [("OTHER", "k:2", "secret" * 50)]
    commands: list[Command] = [
        ("SELECT", database),
        ("INCR", "n"),
        *[("MULTI",), *FILL, *unknown, *FILL, *large, *unknown, *FILL, ("INCR", "n"), ("EXEC",)],
        *[("INCR", "n"), *unknown, ("INCR", "n")],
    ]
    worker = replicating(commands, window_limit=window_limit)
    before = connections(target)
    complete(worker)

    client = target.client(db=database)
    assert (client.strlen("s"), client.get("n")) == (3 * 40 * 50, b"4")
    assert [summary.split(":")[0] for summary in summaries(worker)[-4:]] == ["NOSUCH", "OTHER", "NOSUCH", "NOSUCH"]
    assert not any("secret" in summary for summary in summaries(worker))
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert checkpoint.rejected == 4
    # The test's own client, one for the transaction and one for what is behind it; kept, they are found sooner.
    assert connections(target) - before <= 7


def test_a_command_is_left_out_across_a_new_start_of_the_stream(
    replicating: MakeReplicating, target: Server
) -> None:
    """Its number counts from where the stream is read again, wherever that is."""
    huge: list[Command] = [("MULTI",), *FILL, ("NOSUCH", "k"), *FILL, ("INCR", "n"), ("EXEC",)]
    worker = replicating([("INCR", "n"), ("NOSUCH", "a"), ("INCR", "n"), *huge, ("INCR", "n"), *huge])
    for number in range(400):
        worker.read(60)
        worker.receive(1 << 16)
        if number % 97 == 50:
            worker.cut_after_sending(30)
        if number % 89 == 60:
            worker.cut_source()
    worker.complete()

    assert (target.client().strlen("s"), target.client().get("n")) == (4 * 40 * 50, b"5")
    assert checkpoint_of(target).rejected == 3  # type: ignore[union-attr]


@pytest.mark.parametrize("window_limit", [1, 1 << 20])
@pytest.mark.parametrize("database", [0, 4])
@pytest.mark.parametrize("size", [7, 60, 1 << 16])
def test_a_record_named_late_in_a_huge_command(
    replicating: MakeReplicating, target: Server, database: int, size: int, window_limit: int
) -> None:
    """The command takes no effect, wherever the record's key is cut; it is counted, and what follows is applied."""
    pairs = [word for number in range(40) for word in (f"key:{number}", "v" * 10)]
    commands: list[Command] = [
        *[("SELECT", database), ("INCR", "n"), ("MSET", *pairs, "shaker:checkpoint:default", "boom", "k", 1)],
        *[("INCR", "n"), ("MSET", *pairs[:-2], "shaker:user", "shaker:checkpoint:default"), ("INCR", "n")],
    ]
    worker = replicating(commands, window_limit=window_limit)
    complete(worker, size)

    client = target.client(db=database)
    assert client.get("n") == b"3"
    assert client.exists("key:0", "key:38", "shaker:user", "key:39", "k") == 3
    assert client.get("shaker:user") == b"shaker:checkpoint:default"
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.rejected, checkpoint.offset) == (1, worker.source.end)
    assert checkpoint.rejected_last.startswith("MSET")
    assert checkpoint.rejected_last.endswith(RESERVED)


@pytest.mark.parametrize("name", NAMES)
def test_arguments_beyond_what_the_target_takes(
    server: Callable[..., Server], make_writer: MakeWriter, name: str
) -> None:
    """They are left out before the target closes the connection; the error names limit, command and key."""
    target, stream = server(name, proto_max_bulk_len="1mb"), Stream()
    writer = make_writer(target)
    writer.register()
    start_stream(writer, stream)
    wire = writer.wire
    writer.put(
        stream.batch(("SET", "before", 1), ("SET", "too:big", BIG), ("SET", "after", 1), database=4),
        stream.batch(("RPUSH", "list", BIG[:600_000], BIG[:600_000])),
    )
    writer.run()

    assert target.client(db=4).exists("before", "after", "too:big") == 2
    assert target.client().llen("list") == 2
    assert writer.wire is wire
    (rejection,) = writer.rejections
    assert (rejection.command, rejection.key) == ("SET", "too:big")
    assert rejection.error == "an argument of 1100000 bytes is beyond proto-max-bulk-len of the target, 1048576"


@pytest.mark.parametrize("sets", [2, 20])
def test_a_huge_argument_among_joined_commands(
    server: Callable[..., Server], replicating: MakeReplicating, sets: int
) -> None:
    """Commands that would go as one MSET go apart where one of them cannot go."""
    target = server(proto_max_bulk_len="1mb")
    commands: list[Command] = [("SET", f"key:{number}", "v") for number in range(sets)]
    worker = Replicating(Source([*commands, ("SET", "big", BIG), *commands], {}), target, window_limit=1 << 24)
    worker.start()
    worker.load()
    complete(worker, 1 << 22)
    worker.close()

    assert target.client().dbsize() == sets + 2
    assert [summary.split(":")[0] for summary in summaries(worker)] == ["SET big"]


@pytest.mark.parametrize("database", [0, 4])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_a_huge_argument_in_a_command_that_goes_in_pieces(
    server: Callable[..., Server], database: int, first: bool, known: bool
) -> None:
    """Whether it is in the first piece or a later one, and whether the target tells its limit or its error does."""
    target = server(proto_max_bulk_len="1mb")
    before = [] if first else [word for number in range(50) for word in (f"key:{number}", "v")]
    commands: list[Command] = [("SELECT", database), ("INCR", "n"), ("MSET", *before, "big", BIG), ("INCR", "n")]
    worker = Replicating(Source(commands, {}), target, window_limit=1 << 22, pass_above=1000)
    admin = target.client()
    if not known:
        admin.execute_command("ACL", "SETUSER", "default", "-config|get")
    worker.start()
    worker.load()
    complete(worker, 30_000)
    admin.execute_command("ACL", "SETUSER", "default", "+@all")
    worker.close()

    client = target.client(db=database)
    assert client.get("n") == b"2"
    assert client.exists("big", "key:0") == 0
    (summary,) = set(summaries(worker))
    assert summary.startswith("MSET big: " if first else "MSET key:0: ")
    assert ("proto-max-bulk-len" if known else "invalid bulk length") in summary
    assert checkpoint_of(target).rejected == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("label", [None, b"big"])
def test_a_value_of_a_snapshot_beyond_what_the_target_takes(
    server: Callable[..., Server], make_writer: MakeWriter, label: bytes | None
) -> None:
    """It is named with the limit before it is sent, and not asked of the source again and again."""
    target = server(proto_max_bulk_len="1mb")
    writer = make_writer(target)
    writer.register()
    item: SnapshotKeys | SnapshotChunk
    if label is None:
        item = SnapshotKeys("s", 1, Entries(4, [], [b"small", b"x", b"big", BIG.encode()], [], []))
    else:
        item = SnapshotChunk(
            "s", 1, LargeEntry(4, label, len(BIG), -1, -1, -1), BIG[:100].encode(), first=True, more=True
        )
    writer.put(SnapshotStart("s", REPLID, 0, flush=False), item)

    with pytest.raises(UnfaithfulError, match=r"'big' of database 4.*beyond proto-max-bulk-len"):
        writer.run()


def test_numbers_that_are_left_out() -> None:
    """They are found by range, forgotten in front and behind, and lowered; and there may not be too many."""
    left_out = LeftOut()
    assert not left_out
    assert left_out.between(0, 100) == []
    for number in (7, 3, 50):
        left_out.add(number, f"error {number}")
    assert [left_out.between(*bounds) for bounds in ((0, 100), (3, 8), (4, 7), (8, 9))] == [
        [3, 7, 50],
        [3, 7],
        [],
        [],
    ]
    left_out.keep(5, 50, shift=5)
    assert (left_out.between(0, 100), left_out.get(2), left_out.get(7)) == ([2], "error 7", None)
    left_out = LeftOut(limit=2)
    for number in (2, 3):
        left_out.add(number, "ERR unknown command")
    with pytest.raises(UnfaithfulError, match="more than 2 commands"):
        left_out.add(4, "ERR unknown command 'secret'")
