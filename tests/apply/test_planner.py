"""A hold: the target stands still at one point of the stream, and what its owner gives is applied just there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.apply.planner import EXEC
from shaker.apply.window import ITEM_OVERHEAD, Window
from shaker.codec.resp.replies import encode
from shaker.errors import LinkError
from shaker.model.batch import CommandRun
from shaker.model.items import Barrier
from tests.apply.test_window import at, batch, rest, stream_at, window_of
from tests.support.servers import Server
from tests.support.target_driver import REPLID, Stream, Writer, checkpoint_of, start_stream

MakeWriter = Callable[..., Writer]


class Owner:
    """One who holds: what he was told, in order."""

    def __init__(self, offset: int) -> None:
        self.reported: list[str] = []
        self.hold = Barrier(
            REPLID, offset, lambda: self.reported.append("reached"), lambda done: self.reported.append(str(done))
        )


def noted(*words: str, database: int = 0) -> CommandRun:
    """Return a part that appends `words` to the list in which the order of all effects can be read."""
    return CommandRun(database, b"".join(encode("RPUSH", "order", word) for word in words), len(words))


def order(server: Server, database: int = 0) -> list[bytes]:
    """Return what took effect, in order."""
    return server.client(db=database).lrange("order", 0, -1)  # type: ignore[return-value]


# --- the window ---


@pytest.mark.parametrize("event", ["give_up_barriers", "clear", "recover"])
def test_a_lost_target_ends_every_hold(event: str) -> None:
    """Sent or not, told or not: the transaction it was in is void or done, and nobody will answer for it."""
    owners = [Owner(10), Owner(20)]
    first, second = batch(10), batch(20)
    window = window_of(first, owners[0].hold, second, owners[1].hold, handed=2, base=stream_at(0))
    if event == "recover":
        assert window.recover(at(stream_at(0)), same_server_run=True)
    elif event == "clear":
        window.clear(stream_at(0))
    else:
        window.give_up_barriers()

    assert [owner.reported for owner in owners] == [["False"], ["False"]]
    left = [] if event == "clear" else [first, second]
    assert window.size == sum(10 + ITEM_OVERHEAD for _ in left)
    assert rest(window) == (left[1:] if event == "give_up_barriers" else left)


@pytest.mark.parametrize(
    "event", [Window.drop_unfinished, Window.discard_waiting], ids=lambda event: event.__name__
)
def test_a_lost_source_leaves_a_hold_that_was_sent(event: Callable[[Window], object]) -> None:
    """Its answer is still to come, and would else count for the batch behind it, which would then be lost."""
    sent, waiting = Owner(10), Owner(20)
    window = window_of(sent.hold, batch(20), waiting.hold, handed=1, base=stream_at(10))
    event(window)

    assert (sent.reported, waiting.reported) == ([], ["False"])
    window.answered(1)
    assert window.applied_position == stream_at(10)
    behind = window.peek()
    assert behind is None or behind.position == stream_at(20)
    assert (behind is None) == (event is Window.discard_waiting)


# --- the session, on a real server ---


def reach(writer: Writer, owner: Owner) -> None:
    """Bring the target to a hold."""
    writer.send()
    while not owner.reported:
        writer.receive()
        writer.send()
    assert owner.reported == ["reached"]


def held(writer: Writer, stream: Stream, *parts: CommandRun) -> Owner:
    """Put a batch, a hold and a batch, and bring the target to the hold; `parts` are to be applied there."""
    first = stream.batch(("RPUSH", "order", "before"))
    owner = Owner(stream.offset)
    writer.put(first, owner.hold, stream.batch(("RPUSH", "order", "behind")))
    reach(writer, owner)
    assert order(writer.server) == [b"before"]
    assert not writer.send(), "nothing may be sent while the target is held"
    owner.hold.go_on(tuple(parts))
    return owner


def test_the_parts_take_effect_at_the_very_point(writer: Writer, stream: Stream, target: Server) -> None:
    """Behind all that came before, before all that comes behind, with the checkpoint at that offset."""
    owner = held(writer, stream, noted("held", "twice"), noted("elsewhere", database=5))
    writer.run()

    assert order(target) == [b"before", b"held", b"twice", b"behind"]
    assert order(target, 5) == [b"elsewhere"]
    assert owner.reported == ["reached", "True"]
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert checkpoint.offset == stream.offset
    assert writer.sent.count(b"elsewhere") == 1


def test_a_hold_without_parts_costs_nothing(writer: Writer, stream: Stream, target: Server) -> None:
    """No transaction is written for it, and the stream goes on."""
    owner = held(writer, stream)
    before = writer.sent.count(EXEC)
    writer.send()

    assert owner.reported == ["reached", "True"]
    writer.run()
    assert order(target) == [b"before", b"behind"]
    assert writer.sent.count(EXEC) <= before + 2  # the batch behind, and what `run` persists


def test_a_hold_behind_a_batch_without_effect(writer: Writer, stream: Stream, target: Server) -> None:
    """The offset that it is held at counts, though no transaction led there: a reconnect finds itself again."""
    writer.put(stream.batch(("RPUSH", "order", "before")), stream.ping())
    owner = Owner(stream.offset)
    writer.put(owner.hold)
    reach(writer, owner)
    owner.hold.go_on((noted("held"),))
    writer.run()
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert checkpoint.offset == owner.hold.offset

    writer.cut()
    assert writer.register()
    writer.put(stream.batch(("RPUSH", "order", "behind")))
    writer.run()
    assert order(target) == [b"before", b"held", b"behind"]


def test_a_connection_lost_while_it_is_held(writer: Writer, stream: Stream, target: Server) -> None:
    """The hold is over, what its owner gives later has no effect, and the stream goes on."""
    owner = Owner(0)
    first = stream.batch(("RPUSH", "order", "before"))
    owner.hold.offset = stream.offset
    writer.put(first, owner.hold, stream.batch(("RPUSH", "order", "behind")))
    reach(writer, owner)
    writer.cut()
    assert writer.register()

    assert owner.reported == ["reached", "False"]
    owner.hold.go_on((noted("held"),))
    writer.run()
    assert order(target) == [b"before", b"behind"]
    assert owner.reported == ["reached", "False"]


def test_a_connection_lost_at_any_byte_of_the_parts(make_writer: MakeWriter, target: Server) -> None:
    """All of the parts take effect or none of them, in both databases, and the stream's own exactly once."""
    outcomes = set()
    sent = len(encode("RPUSH", "order", "held")) * 2 + 1200  # beyond the whole transaction with its checkpoint
    for cut in range(0, sent, 23):
        target.client().flushall()
        stream = Stream()
        writer = make_writer(target, name=f"cut-{cut}", on_existing="merge")
        writer.register()
        start_stream(writer, stream)
        owner = held(writer, stream, noted("held"), noted("elsewhere", database=5))
        while b"elsewhere" not in (data := writer.data_to_send()):  # the database is proven first
            writer.wire.send(data)
            writer.receive()
        writer.wire.send(data[:cut])
        writer.cut()
        assert writer.register()
        writer.run()

        assert owner.reported == ["reached", "False"]
        found = (order(target), order(target, 5))
        assert found in (
            ([b"before", b"held", b"behind"], [b"elsewhere"]),
            ([b"before", b"behind"], []),
        )
        outcomes.add(len(found[1]))
    assert outcomes == {0, 1}


def test_an_answer_lost_behind_the_parts(writer: Writer, stream: Stream, target: Server) -> None:
    """The owner hears False although all took effect: not never, and never half."""
    owner = held(writer, stream, noted("held"))
    writer.send()
    # The target has executed it once the answer lies in the socket.
    writer.wire.receive(1)
    writer.cut()
    assert writer.register()
    writer.run()

    assert owner.reported == ["reached", "False"]
    assert order(target) == [b"before", b"held", b"behind"]


@pytest.mark.parametrize(
    "event", [Window.drop_unfinished, Window.discard_waiting], ids=lambda event: event.__name__
)
def test_a_source_lost_while_the_parts_are_under_way(
    event: Callable[[Window], object], writer: Writer, stream: Stream, target: Server
) -> None:
    """What is behind the hold is neither lost nor repeated."""
    owner = held(writer, stream, noted("held"))
    writer.send()
    event(writer.flow.window)
    writer.run()

    assert owner.reported == ["reached", "True"]
    assert order(target) == [b"before", b"held", b"behind"]


def test_a_command_of_the_parts_that_the_target_refuses(writer: Writer, stream: Stream) -> None:
    """A bug of the owner, not of the source: it ends the worker and is never taken for a rejected command."""
    held(writer, stream, CommandRun(0, encode("RPUSH", "order"), 1))
    with pytest.raises(LinkError, match="own request"):
        writer.run()
    assert writer.rejections == []


def test_halt_finishes_what_is_under_way(sliced: Writer, stream: Stream, target: Server) -> None:
    """After `halt`, however often, what was sent is committed with its counts, and nothing new is taken."""
    sliced.put(stream.batch(("SET", "s", "text")), stream.batch(("INCR", "s")))
    sliced.send()
    sliced.put(stream.batch(("SET", "later", 1)))
    while not sliced.rejections:
        sliced.receive()
    for _ in range(20):
        sliced.session.halt()
        if sliced.session.halted:
            break
        if not sliced.send():
            break
        sliced.receive()

    sliced.session.halt()
    assert sliced.session.halted
    assert target.client().get("later") is None
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.rejected, checkpoint.confirmed) == (1, checkpoint.offset)
