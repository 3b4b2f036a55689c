"""The window between source and target: what stays, what leaves, and how it lines up with a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaker.apply.records import Checkpoint
from shaker.apply.window import ITEM_OVERHEAD, Window
from shaker.model.batch import Batch, CommandRun
from shaker.model.entries import Entries, LargeEntry
from shaker.model.items import Item, SnapshotChunk, SnapshotFinish, SnapshotKeys, SnapshotStart, StreamItem
from shaker.model.position import Phase, Position

REPLID = "a" * 40


def batch(offset: int, *, effect: bool = True, replid: str = REPLID, size: int = 10) -> StreamItem:
    """Return a batch that ends at `offset`."""
    parts = (CommandRun(0, b"x" * size, 1),) if effect else ()
    return StreamItem(Batch(parts, len(parts), size * effect, replid, offset, 0), 0.0)


def keys(snapshot: str, number: int) -> SnapshotKeys:
    """Return a batch of a snapshot's keys."""
    return SnapshotKeys(snapshot, number, Entries(0, [b"key", b"x" * 100], [], [], []))


def start(snapshot: str) -> SnapshotStart:
    """Return the beginning of a snapshot."""
    return SnapshotStart(snapshot, REPLID, 0, flush=False)


def at(position: Position | None) -> Checkpoint | None:
    """Return the checkpoint that stands at `position`."""
    if position is None:
        return None
    if position.phase == Phase.SNAPSHOT:
        return Checkpoint("snapshot", REPLID, snapshot=position.history, snapshot_batch=position.number)
    return Checkpoint("stream", position.history, position.number)


def window_of(*items: Item, handed: int = 0, base: Position | None = None) -> Window:
    """Return a window with items, some of them handed out."""
    window = Window(1 << 20)
    window.clear(base)
    for item in items:
        window.put(item)
    for _ in range(handed):
        window.take()
    return window


def rest(window: Window) -> list[Item]:
    """Hand out all that waits."""
    out = []
    while window.peek() is not None:
        out.append(window.take())
    return out


def stream_at(offset: int, replid: str = REPLID) -> Position:
    """Return a position in the stream."""
    return Position(Phase.STREAM, replid, offset)


# --- the queue ---


def test_items_leave_in_order() -> None:
    """Items are handed out in the order in which they came, and counted in bytes until they are answered."""
    items = [batch(offset, size=offset) for offset in (10, 20, 30)]
    window = window_of(*items, base=stream_at(0))

    assert [window.take(), window.take()] == items[:2]
    assert window.peek() is items[2]
    assert window.size == 60 + 3 * ITEM_OVERHEAD
    window.answered(2)
    assert (len(window), window.size, window.applied_position) == (1, 30 + ITEM_OVERHEAD, stream_at(20))
    assert window.peek() is items[2]
    assert window.last is items[2]


def test_full() -> None:
    """The window is full once its limit is reached; even items without bytes fill it."""
    window = Window(3 * ITEM_OVERHEAD)
    count = 0
    while not window.full:
        count += 1
        window.put(batch(count, effect=False))

    assert count == 3
    window.take()
    window.answered(1)
    assert not window.full


def test_what_waits_is_discarded_and_what_was_handed_out_stays() -> None:
    """A source that begins anew makes void only what was not handed out."""
    first, second = batch(10), batch(20)
    window = window_of(first, second, handed=1, base=stream_at(0))
    window.discard_waiting()

    assert (len(window), window.last, window.peek()) == (1, first, None)
    assert window.size == first.size + ITEM_OVERHEAD


@pytest.mark.parametrize("handed", [0, 1, 2, 3, 4])
def test_what_was_begun_is_finished_when_the_source_begins_anew(handed: int) -> None:
    """The rest of a request of which a part was sent stays: what came in its place would be taken for its value."""
    entry = LargeEntry(0, b"large", 30, -1, -1, -1)
    pieces = [SnapshotChunk("s", 1, entry, b"x" * 10, first=index == 0, more=index < 2) for index in range(3)]
    items = [*pieces, keys("s", 2)]
    kept = [] if handed == 0 else items[: max(3, handed)]
    window = window_of(*items, handed=handed)
    window.discard_waiting()

    assert rest(window) == (pieces[handed:] if 0 < handed < 3 else [])
    assert window.size == sum(item.size + ITEM_OVERHEAD for item in kept)


# --- lining up with the checkpoint ---


@pytest.mark.parametrize("run", [True, False])
def test_what_took_effect_leaves(run: bool) -> None:
    """The stream needs no same server run: each boundary is exact."""
    items = [batch(offset) for offset in (10, 20, 30, 40)]
    window = window_of(*items, handed=3, base=stream_at(0))

    assert window.recover(at(stream_at(20)), same_server_run=run)
    assert rest(window) == items[2:]
    assert window.applied_position == stream_at(20)


@pytest.mark.parametrize(
    "checkpoint",
    [
        None,
        at(stream_at(15)),
        at(stream_at(-10)),
        at(stream_at(20, "b" * 40)),
        at(Position(Phase.SNAPSHOT, "s", 20)),
    ],
)
def test_no_boundary(checkpoint: Checkpoint | None) -> None:
    """A checkpoint that is lost, between the boundaries, before them all, or of another history."""
    window = window_of(batch(10), batch(20), handed=2, base=stream_at(0))

    assert not window.recover(checkpoint, same_server_run=True)


def test_behind_the_base_by_batches_with_effect() -> None:
    """A checkpoint before something that took effect and left is no boundary."""
    window = window_of(batch(10), batch(20), batch(30), handed=2, base=stream_at(0))
    window.answered(2)

    assert not window.recover(at(stream_at(10)), same_server_run=True)
    assert not window.recover(at(stream_at(0)), same_server_run=True)


def test_behind_the_base_by_batches_without_effect() -> None:
    """What left without being written is no loss: the checkpoint before it is good until a newer one is written."""
    waiting = batch(40)
    window = window_of(batch(10), batch(20, effect=False), batch(30, effect=False), waiting, handed=3)
    window.answered(1)
    window.answered(1, written=False)
    window.answered(1, written=False)
    assert window.applied_position == stream_at(30)

    for position in (stream_at(10), stream_at(30)):
        assert window.recover(at(position), same_server_run=False)
        assert window.applied_position == stream_at(30)
    window.written()
    assert not window.recover(at(stream_at(10)), same_server_run=True)
    assert window.recover(at(stream_at(30)), same_server_run=True)
    assert rest(window) == [waiting]


def test_a_snapshot_goes_on_within_what_was_sent() -> None:
    """All that was not answered is handed out again; the number tells that nothing answered is missing."""
    items = [keys("s", number) for number in (3, 4, 5, 6)]
    for number, good in ((1, False), (2, True), (3, True), (5, True), (6, False)):
        window = window_of(*items, handed=3, base=Position(Phase.SNAPSHOT, "s", 2))
        assert window.recover(at(Position(Phase.SNAPSHOT, "s", number)), same_server_run=True) is good
        if good:
            assert rest(window) == items


@pytest.mark.parametrize(
    ("snapshot", "run"),
    [("s", False), ("t", True)],
)
def test_a_snapshot_that_is_another_starts_over(snapshot: str, run: bool) -> None:
    """Another run of the server may have lost keys and kept the number; another id is another snapshot."""
    window = window_of(keys("s", 3), handed=1, base=Position(Phase.SNAPSHOT, "s", 2))

    assert not window.recover(at(Position(Phase.SNAPSHOT, snapshot, 2)), same_server_run=run)


def test_a_beginning_that_was_not_answered() -> None:
    """A snapshot's beginning may have taken effect or not; if so, only on this very run of the server."""
    items: list[Item] = [start("s"), keys("s", 1)]
    assert window_of(*items, handed=1, base=stream_at(5)).recover(at(stream_at(5)), same_server_run=False)
    window = window_of(*items, handed=1, base=stream_at(5))
    assert window.recover(at(Position(Phase.SNAPSHOT, "s", 0)), same_server_run=True)
    assert rest(window) == items[1:]
    window = window_of(*items, handed=1, base=stream_at(5))
    assert not window.recover(at(Position(Phase.SNAPSHOT, "s", 0)), same_server_run=False)


@pytest.mark.parametrize("position", [stream_at(999), Position(Phase.SNAPSHOT, "other", 7)])
def test_a_snapshot_that_waits_to_begin(position: Position) -> None:
    """Wherever the target stands, a snapshot that has not begun replaces it."""
    items: list[Item] = [batch(10), start("s"), keys("s", 1)]
    window = window_of(*items, handed=1, base=stream_at(0))

    assert window.recover(at(position), same_server_run=False)
    assert rest(window) == items[1:]
    assert window.size == sum(item.size + ITEM_OVERHEAD for item in items[1:])


# --- against a model ---


class History(NamedTuple):
    """What a source gives, in order: the model knows where every item begins and ends."""

    items: list[Item]

    @property
    def positions(self) -> list[Position]:
        """Where the checkpoint can stand: before all, and behind each item."""
        return [stream_at(0), *[item.position for item in self.items]]


def made(kinds: Iterable[str]) -> History:
    """Return a history of batches, snapshots cut short, and snapshots with their end."""
    items: list[Item] = []
    offset = number = 0
    snapshot = 0
    inside = False
    for kind in kinds:
        offset += 10
        if kind == "snapshot":
            snapshot, number, inside = snapshot + 1, 0, True
            items.append(SnapshotStart(str(snapshot), REPLID, offset, flush=False))
        elif inside and kind in ("effect", "ping"):
            number += 1
            items.append(keys(str(snapshot), number))
        elif inside:
            inside = False
            items.append(SnapshotFinish(REPLID, offset, 0))
        else:
            items.append(batch(offset, effect=kind == "effect"))
    return History(items)


histories = st.lists(
    st.sampled_from(["effect", "effect", "effect", "ping", "ping", "snapshot", "finish"]), max_size=25
).map(made)


@settings(max_examples=1500)
@given(
    history=histories,
    moves=st.lists(st.sampled_from(["put", "put", "take", "answer", "reconnect"]), max_size=60),
    where=st.integers(0, 30),
    same_run=st.booleans(),
)
def test_recovery_neither_skips_nor_repeats(history: History, moves: list[str], where: int, same_run: bool) -> None:
    """After any work and any checkpoint, what is handed out is exactly what the target lacks, or it is refused."""
    items, positions = history.items, history.positions
    window = Window(1 << 30)
    window.clear(positions[0])
    put = taken = left = written = 0  # indexes into the history
    for move in moves:
        if move == "put" and put < len(items):
            window.put(items[put])
            put += 1
        elif move == "take" and taken < put:
            assert window.take() is items[taken]
            taken += 1
        elif move == "answer" and left < taken:
            item = items[left]
            ping = isinstance(item, StreamItem) and not item.batch.parts
            window.answered(1, written=not ping)
            left += 1
            written = written if ping else left
        elif move == "reconnect":
            # The target stands where it was last written, the most common case.
            assert window.recover(at(positions[written]), same_server_run=True)
            taken = left
    assert len(window) == put - left
    assert window.size == sum(item.size + ITEM_OVERHEAD for item in items[left:put])

    stands = where % len(positions)
    kept = window.recover(at(positions[stands]), same_server_run=same_run)
    again = rest(window) if kept else []

    if not kept:
        # It may not refuse what it can do: go on from where the target stands.
        reachable = stands in (left, written) or left <= stands <= put
        in_snapshot = positions[stands].phase == Phase.SNAPSHOT
        assert not reachable or (in_snapshot and (not same_run or stands > taken))
        return
    begin = put - len(again)
    assert again == items[begin:put]
    assert window.size == sum(item.size + ITEM_OVERHEAD for item in again)
    if again and isinstance(again[0], SnapshotStart):
        return  # it replaces whatever there is
    # Nothing with an effect between where the target stands and what comes next may be missing …
    skipped = items[stands:begin]
    assert all(isinstance(item, StreamItem) and not item.batch.parts for item in skipped)
    # … and nothing is repeated but keys of a snapshot, where that does no harm.
    repeated = items[begin:stands]
    assert all(isinstance(item, SnapshotKeys) for item in repeated)
    if positions[stands].phase == Phase.SNAPSHOT:
        assert same_run
    assert window.applied_position is not None
