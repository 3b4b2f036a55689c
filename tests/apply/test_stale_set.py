"""A sweep on a real server: listed before the first key, removed before the first command, whatever happens."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.apply.records import stale_key
from shaker.apply.stale_set import REQUEST_KEYS, forget_keys, list_keys, remove_keys, restored_keys
from shaker.codec.resp.replies import encode
from shaker.errors import ServerBusyError, UnfaithfulError
from shaker.model.batch import CommandRun
from shaker.model.entries import Entries
from shaker.model.items import Barrier, SnapshotFinish, SnapshotKeys, SnapshotStart, StreamItem, SweepStep
from shaker.model.position import Phase, Sweep
from tests.support.servers import Server
from tests.support.target_driver import REPLID, Stream, Writer, checkpoint_of, dump_of, keys_of

MakeWriter = Callable[..., Writer]
LIST = stale_key("default")
DATABASES = (0, 3)


def fill(target: Server, *keys: str) -> None:
    """Write what an earlier history left, in both databases."""
    for database in DATABASES:
        target.client(db=database).mset(dict.fromkeys(keys, "old"))


def listed(target: Server, database: int = 0) -> set[bytes]:
    """Return what the list of a database holds."""
    return target.client(db=database).smembers(LIST)  # type: ignore[return-value]


def restored(target: Server, number: int, database: int, *keys: str, snapshot: str = "s") -> SnapshotKeys:
    """Return keys of a snapshot that leave the list."""
    payload = dump_of(target, "new")
    values = [each for key in keys for each in (key.encode(), payload)]
    return SnapshotKeys(snapshot, number, Entries(database, [], values, [], []), listed=True)


def start(snapshot: str = "s", *, sweep: bool = True, flush: bool = False) -> SnapshotStart:
    """Return the beginning of a snapshot."""
    return SnapshotStart(snapshot, REPLID, 500, flush=flush, sweep=sweep)


FINISH = SnapshotFinish(REPLID, 500, 0)


@pytest.fixture
def manual(make_writer: MakeWriter, target: Server) -> Writer:
    """A registered writer over earlier data whose sweep is the test's."""
    fill(target, "stays", "stale")
    writer = make_writer(target, sweeping=False, on_existing="merge")
    writer.register()
    return writer


@pytest.fixture
def swept(make_writer: MakeWriter, target: Server) -> Writer:
    """A registered writer over earlier data whose sweep goes on by itself."""
    fill(target, "stays", "stale")
    writer = make_writer(target, on_existing="merge")
    writer.register()
    return writer


class Step:
    """One step of the sweep, and how it ended."""

    def __init__(self, writer: Writer, phase: str, sweep: str, *parts: CommandRun) -> None:
        self.ended: list[bool] = []
        writer.session.sweep(SweepStep(phase, parts, sweep, self.ended.append))

    @classmethod
    def done(cls, writer: Writer, phase: str, sweep: str, *parts: CommandRun) -> None:
        """Carry one out."""
        step = cls(writer, phase, sweep, *parts)
        while not step.ended:
            writer.send()
            writer.receive()
        assert step.ended == [True]
        assert writer.session.checkpoint.sweep == sweep


def begin(writer: Writer) -> None:
    """Have what is in the window sent as far as that may be now."""
    while writer.send() or writer.session.waiting:
        writer.receive()


def test_no_key_before_all_are_listed(manual: Writer, target: Server) -> None:
    """The list is whole, and that is answered, before the first RESTORE; a key leaves it where it is restored."""
    manual.put(start(), restored(target, 1, 0, "stays"), restored(target, 2, 3, "stays"), FINISH)
    begin(manual)
    assert checkpoint_of(target).sweep == Sweep.LISTING  # type: ignore[union-attr]
    Step.done(manual, Phase.SNAPSHOT, Sweep.LISTING, list_keys("default", 0, [b"stays", b"stale"]))
    begin(manual)
    assert b"RESTORE" not in manual.sent
    step = Step(manual, Phase.SNAPSHOT, Sweep.LISTED, list_keys("default", 3, [b"stays", b"stale"]))
    while not step.ended:
        manual.send()
        assert b"RESTORE" not in manual.sent
        manual.receive()
    assert (listed(target), listed(target, 3)) == ({b"stays", b"stale"},) * 2

    begin(manual)
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.phase, checkpoint.sweep) == (Phase.STREAM, Sweep.LISTED)
    assert (listed(target), listed(target, 3)) == ({b"stale"}, {b"stale"})
    assert [target.client(db=database).get("stays") for database in DATABASES] == [b"new"] * 2


def test_no_command_before_the_last_stale_key_is_gone(manual: Writer, target: Server) -> None:
    """Not even its beginning is sent, nor does a PING count: what the stream makes anew begins from nothing."""
    target.client().set("counter", 41)
    stream = Stream(500)
    manual.put(start(), FINISH, stream.ping(), stream.batch(("INCR", "counter"), ("RPUSH", "stale", "a")))
    begin(manual)
    Step.done(manual, Phase.SNAPSHOT, Sweep.LISTED, list_keys("default", 0, [b"stays", b"stale", b"counter"]))
    begin(manual)
    assert checkpoint_of(target).phase == Phase.STREAM  # type: ignore[union-attr]
    Step.done(manual, Phase.STREAM, Sweep.LISTED, remove_keys("default", 0, [b"stays", b"stale"]))
    begin(manual)
    assert b"INCR" not in manual.sent
    assert checkpoint_of(target).offset == 500  # type: ignore[union-attr]
    step = Step(manual, Phase.STREAM, "", remove_keys("default", 0, [b"counter"]))
    while not step.ended:
        manual.send()
        assert b"INCR" not in manual.sent
        manual.receive()

    manual.run()
    assert target.client().get("counter") == b"1"
    assert target.client().lrange("stale", 0, -1) == [b"a"]
    assert target.client().exists("stays", LIST) == 0
    assert checkpoint_of(target).offset == stream.offset  # type: ignore[union-attr]


def test_the_whole_of_it(swept: Writer, target: Server) -> None:
    """Databases of their own, other workers' records, and nothing of it left at the end."""
    target.client().hset("shaker:checkpoint:other", "phase", "stream")
    target.client(db=3).set("shaker:anything", 1)
    target.client(db=3).set("shaker:fence:anything", 1)
    target.client(db=7).set("stale", "in a database that the source does not use")
    stream = Stream(500)
    swept.put(start(), restored(target, 1, 0, "stays"), restored(target, 2, 3, "stays", "new"), FINISH)
    swept.put(stream.batch(("SET", "last", 1)))
    swept.run()

    own = {b"shaker:checkpoint:default", b"shaker:fence:default", b"shaker:checkpoint:other"}
    assert keys_of(target) == own | {b"stays", b"last"}
    assert keys_of(target, 3) == {b"stays", b"new", b"shaker:fence:anything"}
    assert keys_of(target, 7) == set()
    assert checkpoint_of(target).sweep == ""  # type: ignore[union-attr]


def test_a_snapshot_without_a_sweep_lists_nothing(swept: Writer, target: Server) -> None:
    """It pays nothing: no list, and its first key goes out as soon as its beginning is answered."""
    swept.put(start(sweep=False), restored(target, 1, 0, "stays"), FINISH)
    swept.run()

    assert b"SADD" not in swept.sent
    assert keys_of(target) >= {b"stays", b"stale"}
    assert checkpoint_of(target).sweep == ""  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [1, 40, 1 << 16])
@pytest.mark.parametrize("cuts", [1, 4])
def test_connections_lost_on_the_way(swept: Writer, target: Server, size: int, cuts: int) -> None:
    """In the listing, the snapshot and the removal, some bytes of the answers after each: it goes on."""
    fill(target, *(f"stale:{number}" for number in range(40)))
    stream = Stream(500)
    swept.put(start(), restored(target, 1, 0, "stays"), restored(target, 2, 3, "stays"), FINISH)
    swept.put(stream.batch(("RPUSH", "stale:1", "once"), database=3))
    made = 0
    while swept.flow.window.peek() is not None or swept.session.waiting:
        swept.send()
        swept.receive(size)
        if made < 100 and made % cuts == 0:
            swept.cut()
            assert swept.register()
        made += 1
    swept.run()

    assert made > cuts
    assert keys_of(target) == {b"shaker:checkpoint:default", b"shaker:fence:default", b"stays"}
    assert keys_of(target, 3) == {b"stays", b"stale:1"}
    assert target.client(db=3).lrange("stale:1", 0, -1) == [b"once"]


@pytest.mark.parametrize("removed", [False, True])
def test_a_new_worker_removes_first(manual: Writer, make_writer: MakeWriter, target: Server, removed: bool) -> None:
    """It goes on in the stream, and applies nothing of it before; until then the source is told of nothing."""
    manual.put(start(), FINISH)
    begin(manual)
    Step.done(manual, Phase.SNAPSHOT, Sweep.LISTED, list_keys("default", 0, [b"stays", b"stale"]))
    begin(manual)
    if removed:
        Step.done(manual, Phase.STREAM, Sweep.LISTED, remove_keys("default", 0, [b"stale"]))
    other = make_writer(target, sweeping=False)
    other.register()
    assert other.flow.resume is not None
    assert other.flow.resume.offset == 500
    assert other.flow.acknowledged_offset == 0
    stream = Stream(500)
    other.put(stream.batch(("APPEND", "stale", "new")))
    begin(other)
    assert b"APPEND" not in other.sent
    assert listed(target) == ({b"stays"} if removed else {b"stays", b"stale"})
    Step.done(other, "stream", "", remove_keys("default", 0, [b"stays", b"stale"]))
    assert other.flow.acknowledged_offset == 500
    other.run()

    assert target.client().get("stale") == b"new"
    assert target.client().exists("stays") == 0


def test_a_sweep_of_another_kind_begins_anew(manual: Writer, make_writer: MakeWriter, target: Server) -> None:
    """A worker before this one kept no lists: to end its sweep without them would leave stale keys for ever."""
    manual.put(start(sweep=False), FINISH)
    manual.run()
    target.client().hset("shaker:checkpoint:default", "sweep", "3:417:run")
    other = make_writer(target)
    other.register()

    assert other.flow.resume is None
    assert other.flow.acknowledged_offset == 0


def test_a_step_for_what_is_over_is_not_written(manual: Writer, target: Server) -> None:
    """Another snapshot has begun: what was stale for the one before may be in it."""
    manual.put(start(), FINISH)
    begin(manual)
    Step.done(manual, Phase.SNAPSHOT, Sweep.LISTED, list_keys("default", 0, [b"stays", b"stale"]))
    begin(manual)
    assert checkpoint_of(target).phase == Phase.STREAM  # type: ignore[union-attr]
    manual.put(start("next"))
    manual.send()
    step = Step(manual, Phase.STREAM, "", remove_keys("default", 0, [b"stays", b"stale"]))
    begin(manual)

    assert step.ended == [False]
    assert keys_of(target) >= {b"stays", b"stale"}
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.phase, checkpoint.snapshot, checkpoint.sweep) == (Phase.SNAPSHOT, "next", Sweep.LISTING)


@pytest.mark.parametrize("sweep", [Sweep.LISTING, Sweep.LISTED])
def test_a_snapshot_begins_over_a_sweep(swept: Writer, target: Server, sweep: str) -> None:
    """Wherever the one before was: its lists are gone through again, with what it had restored."""
    swept.put(start())
    while checkpoint_of(target) is None or checkpoint_of(target).sweep != sweep:  # type: ignore[union-attr]
        swept.step(1 << 16)
    if sweep == Sweep.LISTED:
        swept.put(restored(target, 1, 0, "of the first"))
        begin(swept)
    swept.flow.window.discard_waiting()
    swept.put(start("next"), restored(target, 1, 0, "stays", snapshot="next"), FINISH)
    swept.run()

    assert keys_of(target) == {b"shaker:checkpoint:default", b"shaker:fence:default", b"stays"}
    assert keys_of(target, 3) == set()


def test_lists_are_dropped_where_keys_are_kept(manual: Writer, target: Server) -> None:
    """A snapshot that keeps stale keys begins over a sweep: the keys stay, the lists do not."""
    manual.put(start())
    begin(manual)
    Step.done(manual, Phase.SNAPSHOT, Sweep.LISTED, list_keys("default", 3, [b"stays", b"stale"]))
    manual.put(start("next", sweep=False), FINISH)
    begin(manual)
    assert checkpoint_of(target).sweep == Sweep.LISTING  # type: ignore[union-attr]
    Step.done(manual, Phase.SNAPSHOT, "", *(forget_keys("default", database) for database in DATABASES))
    manual.run()

    assert keys_of(target, 3) == {b"stays", b"stale"}
    assert checkpoint_of(target).phase == Phase.STREAM  # type: ignore[union-attr]


def test_a_flush_ends_a_sweep(manual: Writer, target: Server) -> None:
    """It takes the lists with the keys."""
    manual.put(start())
    begin(manual)
    Step.done(manual, Phase.SNAPSHOT, Sweep.LISTED, list_keys("default", 3, [b"stays", b"stale"]))
    manual.put(start("next", sweep=False, flush=True), FINISH)
    manual.run()

    assert keys_of(target, 3) == set()
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert (checkpoint.phase, checkpoint.sweep) == (Phase.STREAM, "")


def test_a_barrier_waits_for_the_sweep(manual: Writer, target: Server) -> None:
    """At no offset is the target what the source was while it holds stale keys."""
    told: list[str] = []
    manual.put(
        start(), FINISH, Barrier(REPLID, 500, lambda: told.append("reached"), lambda _: told.append("ended"))
    )
    begin(manual)
    Step.done(manual, Phase.SNAPSHOT, Sweep.LISTED, list_keys("default", 0, [b"stale"]))
    begin(manual)
    assert told == []
    Step.done(manual, Phase.STREAM, "", remove_keys("default", 0, [b"stale"]))
    manual.send()
    assert told == ["reached"]


def test_a_halt_does_not_wait_for_the_sweep(manual: Writer, target: Server) -> None:
    """The worker ends at once; the checkpoint tells the next one what is left to do."""
    manual.put(start(), FINISH)
    begin(manual)
    Step.done(manual, Phase.SNAPSHOT, Sweep.LISTED, list_keys("default", 0, [b"stale"]))
    begin(manual)
    Step(manual, Phase.STREAM, "", remove_keys("default", 0, [b"stale"]))
    manual.session.halt()
    begin(manual)

    assert manual.session.halted
    assert checkpoint_of(target).sweep == Sweep.LISTED  # type: ignore[union-attr]
    assert target.client().exists("stale") == 1


def test_a_target_without_memory_for_the_list_is_waited_for(manual: Writer, target: Server) -> None:
    """As for any other write."""
    manual.put(start())
    begin(manual)
    target.client().config_set("maxmemory", 1)
    Step(manual, Phase.SNAPSHOT, Sweep.LISTED, list_keys("default", 0, [b"stale"]))
    with pytest.raises(ServerBusyError):
        begin(manual)
    target.client().config_set("maxmemory", 0)

    assert checkpoint_of(target).sweep == Sweep.LISTING  # type: ignore[union-attr]


def test_another_key_in_the_place_of_the_list(manual: Writer, target: Server) -> None:
    """Not ours to overwrite, and without the list stale keys would stay: named."""
    target.client().set(LIST, "somebody's")
    manual.put(start())
    begin(manual)
    Step(manual, Phase.SNAPSHOT, Sweep.LISTED, list_keys("default", 0, [b"stale"]))

    with pytest.raises(UnfaithfulError, match="writing the worker's records"):
        begin(manual)


def test_a_database_is_proven_before_it_is_swept(manual: Writer, target: Server) -> None:
    """A SELECT that fails inside a transaction would have the rest of it done to another database's keys."""
    manual.put(start())
    begin(manual)
    before = len(manual.sent)
    Step.done(manual, Phase.SNAPSHOT, Sweep.LISTED, list_keys("default", 3, [b"stale"]))

    sent = bytes(manual.sent[before:])
    assert sent.startswith(encode("SELECT", 3) + encode("SELECT", 0) + encode("MULTI"))
    assert listed(target, 3) == {b"stale"}


def test_requests_are_bounded() -> None:
    """The target does nothing else while it carries one out."""
    keys = [b"%d" % number for number in range(2 * REQUEST_KEYS + 1)]

    assert list_keys("default", 3, keys).commands == 3
    assert len(restored_keys("default", keys)) == 3
    assert remove_keys("default", 3, keys).commands == 6
    assert restored_keys("default", []) == []


def test_nothing_is_kept_of_items(manual: Writer) -> None:
    """A step of the sweep is no item of the window: what is in it stays there."""
    stream = Stream(500)
    manual.put(start(), FINISH, stream.batch(("SET", "a", 1)))
    begin(manual)
    Step.done(manual, Phase.SNAPSHOT, Sweep.LISTING, list_keys("default", 0, [b"stale"]))
    assert len(manual.flow.window) == 2
    assert isinstance(manual.flow.window.last, StreamItem)
