"""Keys, libraries and scripts of a snapshot: the requests for them, and what a target does with these."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.apply.snapshot_requests import takes_libraries
from shaker.errors import UnfaithfulError
from shaker.model.entries import Entry, LargeEntry
from shaker.model.items import (
    SnapshotChunk,
    SnapshotFinish,
    SnapshotKeys,
    SnapshotLibraries,
    SnapshotStart,
)
from shaker.model.position import Phase
from shaker.model.rejection import Rejection
from tests.support.deferred import (
    FAR,
    MARGIN,
    assert_put_off,
    expires,
    listed,
    soon,
)
from tests.support.rdb_bytes import entries_of
from tests.support.servers import Server
from tests.support.target_driver import (
    REPLID,
    Writer,
    checkpoint_of,
    dump_of,
)

MakeWriter = Callable[..., Writer]
LIBRARY = b"#!lua name=%s\nredis.register_function('%s', function() return 1 end)\n"


@pytest.mark.parametrize("database", [0, 3])
def test_keys_of_a_snapshot(fresh: Writer, target: Server, database: int) -> None:
    """Put off and remembered, before the batch counts as applied."""
    payload = dump_of(target, "value")
    entries = [
        Entry(b"near", payload, soon(), -1, -1),
        Entry(b"gone", payload, soon(-9), -1, -1),
        Entry(b"far", payload, FAR, -1, -1),
        Entry(b"none", payload, -1, -1, -1),
    ]
    fresh.put(
        SnapshotStart("s", REPLID, 1000, flush=False),
        SnapshotKeys("s", 1, entries_of(*entries, database=database)),
    )
    fresh.run()
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.phase, checkpoint.snapshot_batch, checkpoint.expiring) == (Phase.SNAPSHOT, 1, 1)
    fresh.put(SnapshotFinish(REPLID, 1000, 0))
    fresh.run()

    assert listed(target, database=database) == {"near", "gone"}
    assert_put_off(target, "near", database)
    assert_put_off(target, "gone", database)
    assert expires(target, "far", database) == FAR + MARGIN
    assert expires(target, "none", database) == -1
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert checkpoint.expiring == 1


def test_a_value_of_a_snapshot_in_pieces(fresh: Writer, target: Server) -> None:
    """The same."""
    payload = dump_of(target, "value" * 100)
    entry = LargeEntry(0, b"large", len(payload), soon(), -1, -1)
    fresh.put(
        SnapshotStart("s", REPLID, 1000, flush=False),
        SnapshotChunk("s", 0, entry, payload[:20], first=True, more=True),
        SnapshotChunk("s", 0, entry, payload[20:50], first=False, more=True),
        SnapshotChunk("s", 1, entry, payload[50:], first=False, more=False),
        SnapshotFinish(REPLID, 1000, 0),
    )
    fresh.run()

    assert target.client().get("large") == b"value" * 100
    assert_put_off(target, "large")
    assert listed(target) == {"large"}


@pytest.mark.parametrize("database", [0, 3])
def test_a_key_that_the_target_refuses_is_named(fresh: Writer, target: Server, database: int) -> None:
    """Requests of the worker's own are among them."""
    payload = dump_of(target, "value")
    good, bad = Entry(b"good", payload, soon(), -1, -1), Entry(b"bad", payload[:-1] + b"!", soon(), -1, -1)
    fresh.put(
        SnapshotStart("s", REPLID, 1000, flush=False),
        SnapshotKeys("s", 1, entries_of(good, bad, database=database)),
    )
    with pytest.raises(UnfaithfulError, match="'bad'"):
        fresh.run()


@pytest.mark.parametrize(
    ("codes", "keep", "left"),
    [((b"new",), False, {b"new"}), ((), False, set()), ((b"new",), True, {b"new", b"old"}), ((), True, {b"old"})],
)
def test_the_libraries_of_the_source(
    fresh: Writer, target: Server, codes: tuple[bytes, ...], keep: bool, left: set[bytes]
) -> None:
    """A snapshot's libraries replace those of the target, or join them where that is asked for."""
    target.client().function_load((LIBRARY % (b"old", b"old")).decode())
    libraries = tuple(LIBRARY % (code, code) for code in codes)
    fresh.put(SnapshotStart("s", REPLID, 500, flush=False))
    if takes_libraries(libraries, fresh.flow.target.table, keep=keep):
        fresh.put(SnapshotLibraries("s", 1, libraries, keep))
    fresh.put(SnapshotFinish(REPLID, 500, 0, rejections=(Rejection("MODULE", "m", "lost"),)))
    fresh.run()

    listed = target.client(protocol=2).execute_command("FUNCTION", "LIST")
    assert {dict(zip(row[::2], row[1::2], strict=True))[b"library_name"] for row in listed} == left
    assert checkpoint_of(target).rejected == 1  # type: ignore[union-attr]


def test_libraries_for_a_target_without_functions(server: Callable[..., Server], make_writer: MakeWriter) -> None:
    """A target that knows no functions is refused by name, not left without them in silence."""
    writer = make_writer(server("redis-6.2"))
    writer.register()
    with pytest.raises(UnfaithfulError, match="no functions"):
        takes_libraries((LIBRARY % (b"new", b"new"),), writer.flow.target.table, keep=False)


def test_libraries_that_are_refused_are_not_forgotten(fresh: Writer, target: Server) -> None:
    """The snapshot is not complete without them: the checkpoint says so, and the next worker begins again."""
    fresh.put(SnapshotStart("s", REPLID, 500, flush=False))
    fresh.put(SnapshotLibraries("s", 1, (b"#!lua name=new\nerror('needs another version')\n",), keep=False))
    fresh.put(SnapshotFinish(REPLID, 500, 0))

    with pytest.raises(UnfaithfulError, match="function libraries") as caught:
        fresh.run()
    assert caught.value.kind == "function"
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.phase, checkpoint.resumable) == (Phase.SNAPSHOT, False)
