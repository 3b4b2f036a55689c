"""Records that somebody else took or replaced are noticed at the next write or registration, and not relied on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.apply.records import Checkpoint
from shaker.errors import RecordsWipedError
from shaker.flow.lifecycle import FlowEvent, RecordsState
from shaker.model.batch import RecordsWiped
from shaker.model.items import SnapshotFinish, SnapshotStart
from tests.support.servers import NAMES, Server
from tests.support.target_driver import REPLID, Stream, Writer, checkpoint_of, dump_of, keys_item, start_stream

MakeWriter = Callable[..., Writer]
WIPING: list[tuple[tuple[str | int, ...], ...]] = [
    (("FLUSHALL",),),
    (("FLUSHDB",),),
    (("SWAPDB", 0, 1),),
    (("DEL", "shaker:checkpoint:default"),),
    (("HDEL", "shaker:checkpoint:default", "offset"),),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("commands", WIPING, ids=str)
def test_noticed_by_the_next_transaction(
    server: Callable[..., Server], make_writer: MakeWriter, name: str, commands: tuple[tuple[str | int, ...], ...]
) -> None:
    """The checkpoint gets fields that it had: the stream does not go on from it."""
    target, stream = server(name), Stream()
    writer = make_writer(target)
    writer.slice = 7
    writer.register()
    start_stream(writer, stream)
    writer.put(stream.batch(("SET", "a", 1), database=4))
    writer.run()
    for command in commands:
        target.client().execute_command(*command)
    writer.put(stream.batch(("SET", "b", 1), database=4))

    with pytest.raises(RecordsWipedError):
        writer.run()

    writer.flow.happen(FlowEvent.RECORDS_WIPED)
    writer.cut()
    restarts = writer.flow.restarts
    assert not writer.register()
    flow = writer.flow
    assert (flow.resume, flow.loading, flow.lifecycle.records) == (None, True, RecordsState.REFILLING)
    assert flow.restarts == restarts + 1
    start_stream(writer, Stream(5000))
    writer.put(stream.batch(("SET", "c", 1), database=4))
    writer.run()


@pytest.mark.parametrize("commands", WIPING[:3], ids=str)
def test_noticed_by_a_later_process(
    make_writer: MakeWriter, target: Server, stream: Stream, commands: tuple[tuple[str | int, ...], ...]
) -> None:
    """A worker that is killed before it reads the answer leaves a checkpoint that is newer than the fence."""
    first = make_writer(target)
    first.register()
    start_stream(first, stream)
    first.put(stream.batch(("SET", "a", 1), database=4))
    first.run()
    for command in commands:
        target.client().execute_command(*command)
    first.put(stream.batch(("SET", "b", 1), database=4))
    first.send()
    first.wire.receive(1 << 16)
    first.cut()
    assert checkpoint_of(target).offset == stream.offset  # type: ignore[union-attr]

    second = make_writer(target)
    second.register()

    assert second.registered.wiped
    assert second.flow.resume is None


def test_an_older_record_that_comes_back(writer: Writer, stream: Stream, target: Server) -> None:
    """Databases swapped and swapped back: the fence that comes back is older than what the checkpoint got."""
    writer.put(stream.batch(("SET", "a", 1)))
    writer.run()
    target.client().swapdb(0, 1)
    writer.flow.happen(FlowEvent.RECORDS_WIPED)
    writer.cut()
    writer.register()
    start_stream(writer, Stream(5000))
    target.client().swapdb(0, 1)
    writer.put(Stream(5000).batch(("SET", "b", 1)))
    writer.run()
    writer.cut()
    writer.register()

    assert writer.registered.wiped


@pytest.mark.parametrize(
    ("commands", "moved_to"), [((("FLUSHALL",),), None), ((("FLUSHDB",),), None), ((("SWAPDB", 0, 3),), 3)]
)
def test_what_the_source_does_to_records_is_no_surprise(
    sliced: Writer,
    stream: Stream,
    target: Server,
    commands: tuple[tuple[str | int, ...], ...],
    moved_to: int | None,
) -> None:
    """FLUSHALL, FLUSHDB and SWAPDB of the stream, a snapshot that flushes, and a record of an older version."""
    for _ in range(2):
        sliced.put(stream.batch(*commands, records=RecordsWiped(moved_to)), stream.batch(("INCR", "n")))
        sliced.run()
    payload = dump_of(target, "value")
    sliced.put(
        SnapshotStart("s", REPLID, stream.offset, flush=True),
        keys_item("s", 1, 4, {"k": payload}),
        SnapshotFinish(REPLID, stream.offset, 0),
        stream.batch(("INCR", "n")),
    )
    sliced.run()
    newer = Checkpoint._fields[-4:-3]
    target.client().hdel("shaker:checkpoint:default", *newer)
    sliced.cut()
    assert sliced.register()
    assert not sliced.registered.wiped
    assert sliced.registered.lacks == len(newer)
    sliced.put(stream.batch(("INCR", "n")))
    sliced.run()

    assert target.client().get("n") == b"2"
    assert set(target.client().hkeys("shaker:checkpoint:default")) == {name.encode() for name in Checkpoint._fields}
