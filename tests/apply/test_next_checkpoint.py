"""What the checkpoint says of offsets and replies: `confirmed`, commands without effect, new replication ids."""

from __future__ import annotations

from tests.support.servers import Server, wait_until
from tests.support.target_driver import (
    Stream,
    Writer,
    checkpoint_of,
)


def test_a_database_that_was_selected_and_not_used(sliced: Writer, stream: Stream, target: Server) -> None:
    """An offset behind a SELECT is never written without the database that is selected there."""
    sliced.put(stream.batch(("INCR", "a")))
    sliced.run()
    sliced.put(stream.batch(database=3))
    sliced.run()
    sliced.put(stream.ping())
    sliced.run()

    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    # The last batch is a PING for which the stream stands in database 0 again.
    assert (checkpoint.offset, checkpoint.database) == (stream.offset, 0)
    sliced.put(stream.batch(database=3))
    sliced.run()
    assert checkpoint_of(target).database == 3  # type: ignore[union-attr]


def test_a_batch_without_effect_waits_for_what_is_on_the_wire(sliced: Writer, stream: Stream) -> None:
    """The applied offset does not pass a transaction that is not answered."""
    sliced.put(stream.batch(("INCR", "a")))
    sliced.send()
    before = sliced.flow.acknowledged_offset
    sliced.put(stream.ping())

    assert sliced.send() == b""
    assert sliced.flow.acknowledged_offset == before
    sliced.run()
    assert sliced.flow.acknowledged_offset == stream.offset


def test_the_window_is_kept_over_offsets_that_were_not_written(
    sliced: Writer, stream: Stream, target: Server
) -> None:
    """A checkpoint behind the applied offset by commands without effect is a boundary all the same."""
    sliced.put(stream.batch(("INCR", "a")))
    sliced.run()
    sliced.put(stream.ping(), stream.ping())
    sliced.send()
    sliced.put(stream.batch(("INCR", "a")))
    sliced.cut()

    assert sliced.register()
    sliced.run()

    assert target.client().get("a") == b"2"
    assert checkpoint_of(target).offset == stream.offset  # type: ignore[union-attr]


def test_a_new_replication_id_is_written_at_once(sliced: Writer, stream: Stream, target: Server) -> None:
    """A batch without commands whose position must be kept is a transaction with the checkpoint alone."""
    item = stream.ping()
    item.batch = item.batch._replace(replid="c" * 40, persist=True)
    sliced.put(item)
    while sliced.step():
        pass

    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.replid, checkpoint.offset) == ("c" * 40, stream.offset)


def test_confirmed_lags_by_one_transaction_and_catches_up(sliced: Writer, stream: Stream, target: Server) -> None:
    """`confirmed` is what replies were read for when the transaction ended; an idle session makes up for it."""
    start = stream.offset
    before = start
    for _ in range(3):
        sliced.put(stream.batch(("INCR", "a")))
        sliced.send()
        while sliced.session.checkpoint.offset != stream.offset:
            sliced.receive()
        checkpoint = checkpoint_of(target)
        assert checkpoint is not None
        assert (checkpoint.offset, checkpoint.confirmed) == (stream.offset, before)
        before = stream.offset

    assert sliced.session.behind
    sliced.session.persist()
    sliced.run()

    assert checkpoint_of(target).confirmed == stream.offset  # type: ignore[union-attr]
    assert not sliced.session.behind
    assert sliced.send() == b""


def test_confirmed_does_not_cover_what_is_on_the_wire(sliced: Writer, stream: Stream, target: Server) -> None:
    """A transaction that was sent and executed and whose replies nobody read stays unconfirmed."""
    start = stream.offset
    sliced.put(stream.batch(("INCR", "a")))
    sliced.send()
    wait_until(lambda: target.client().get("a") == b"1", "the batch")

    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.offset, checkpoint.confirmed) == (stream.offset, start)


def test_batches_without_effect_cost_no_transaction(sliced: Writer, stream: Stream, target: Server) -> None:
    """PING moves the applied offset at once, the checkpoint only when that is asked for."""
    sliced.put(stream.batch(("INCR", "a")))
    sliced.run()
    written = stream.offset
    sliced.put(stream.ping(), stream.ping())

    assert sliced.send() == b""
    assert sliced.flow.acknowledged_offset == stream.offset
    assert checkpoint_of(target).offset == written  # type: ignore[union-attr]
    assert sliced.session.unpersisted
    sliced.run()
    assert checkpoint_of(target).offset == stream.offset  # type: ignore[union-attr]
    assert not sliced.session.unpersisted
