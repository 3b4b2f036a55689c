"""A connection proves that it may use a database before a transaction uses it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.codec.resp.replies import encode
from shaker.errors import AccessError, LinkError, UnfaithfulError
from shaker.model.items import SnapshotStart, StreamItem
from tests.support.servers import Server
from tests.support.target_driver import (
    REPLID,
    Stream,
    Writer,
    checkpoint_of,
    dump_of,
    keys_item,
    keys_of,
    start_stream,
)

MakeWriter = Callable[..., Writer]


@pytest.mark.parametrize("databases", [1, 4])
def test_a_database_that_the_target_lacks(
    server: Callable[..., Server], make_writer: MakeWriter, stream: Stream, databases: int
) -> None:
    """A database is proven before it is used: nothing lands in another one, and the offset does not move."""
    target = server(databases=databases)
    writer = make_writer(target)
    writer.register()
    start_stream(writer, stream)
    before = checkpoint_of(target)
    writer.put(stream.parts((0, (("SET", "right", 1),)), (databases, (("SET", "wrong", 1),))))

    with pytest.raises(UnfaithfulError, match=f"database {databases}") as caught:
        writer.run()

    assert (caught.value.kind, caught.value.exit_code) == ("database", 4)
    assert [
        keys_of(target, database) - {b"shaker:fence:default", b"shaker:checkpoint:default"}
        for database in range(databases)
    ] == [set()] * databases
    assert checkpoint_of(target) == before


def test_a_database_of_a_snapshot_that_the_target_lacks(
    server: Callable[..., Server], make_writer: MakeWriter
) -> None:
    """The same for the keys of a snapshot."""
    target = server(databases=4)
    writer = make_writer(target)
    writer.register()
    payload = dump_of(target, "value")
    writer.put(SnapshotStart("s", REPLID, 0, flush=False), keys_item("s", 1, 9, {"wrong": payload}))

    with pytest.raises(UnfaithfulError, match="database 9"):
        writer.run()

    assert b"wrong" not in keys_of(target)


def test_databases_stay_proven_over_batches(writer: Writer, stream: Stream, target: Server) -> None:
    """One probe for each database and connection; commands behind it are in the right one."""
    for _ in range(3):
        writer.put(stream.batch(("INCR", "n"), database=2), stream.batch(("INCR", "n"), database=1))
        writer.run()

    assert (target.client(db=1).get("n"), target.client(db=2).get("n")) == (b"3", b"3")
    assert writer.sent.count(encode("SELECT", 2) + encode("SELECT", 0)) == 1


def test_databases_are_proven_in_one_round_trip(make_writer: MakeWriter, server: Callable[..., Server]) -> None:
    """All that waits, and all that earlier connections used, is asked for at once, by a new connection too."""
    target, stream = server(databases=2000), Stream()
    writer = make_writer(target)
    writer.register()
    start_stream(writer, stream)
    used = range(1, 1001)
    writer.put(*[stream.batch(("INCR", "n"), database=database) for database in used])
    probes = writer.send()
    assert probes == b"".join(encode("SELECT", database) for database in (*used, 0))
    writer.run()
    writer.cut()
    assert writer.register()
    writer.put(stream.batch(("INCR", "n"), database=7))
    assert writer.send() == probes
    writer.run()

    assert target.client(db=7).get("n") == b"2"
    assert target.client(db=1000).get("n") == b"1"


def test_a_database_that_only_may_be_used_can_be_missing(
    server: Callable[..., Server], make_writer: MakeWriter, stream: Stream
) -> None:
    """What is asked for ahead of a transaction of unknown size ends nothing; what it then uses and lacks does."""
    target = server(databases=4)
    writer = make_writer(target)
    writer.register()
    start_stream(writer, stream)

    def begun(database: int) -> StreamItem:
        item = stream.batch(("INCR", "n"), database=database)
        item.batch = item.batch._replace(more=True)
        return item

    writer.put(stream.batch(("INCR", "n")), begun(0), begun(3), stream.batch(("INCR", "n"), database=2))
    writer.run()
    assert [target.client(db=database).get("n") for database in (0, 3, 2)] == [b"2", b"1", b"1"]
    before = checkpoint_of(target)

    writer.put(begun(0), begun(5))
    with pytest.raises(LinkError, match="database 5"):
        writer.run()
    writer.cut()
    writer.register()
    with pytest.raises(UnfaithfulError, match="database 5"):
        writer.run()
    assert checkpoint_of(target) == before


@pytest.mark.parametrize("permitted", ["db=0,2", "alldbs"])
@pytest.mark.needs_servers("valkey-9.1")
def test_a_database_is_proven_by_the_right_to_select_it(
    make_writer: MakeWriter, server: Callable[..., Server], stream: Stream, permitted: str
) -> None:
    """A right for each database (Valkey 9) is asked for, not concluded from a number of databases."""
    target = server("valkey-9.1")
    writer = make_writer(target)
    writer.register()
    start_stream(writer, stream)
    target.client().execute_command("ACL", "SETUSER", "default", "resetdbs", permitted)
    item = stream.batch(("INCR", "n"), database=2)
    item.batch = item.batch._replace(more=True)
    writer.put(item, stream.batch(("INCR", "n"), database=2))
    writer.run()
    assert target.client(db=2).get("n") == b"2"

    writer.put(stream.batch(("INCR", "n"), database=3))
    if permitted == "alldbs":
        writer.run()
        return
    with pytest.raises(AccessError):
        writer.run()
    target.client().execute_command("ACL", "SETUSER", "default", "alldbs")
    writer.cut()
    assert writer.register()
    writer.run()
    assert target.client(db=3).get("n") == b"1"
