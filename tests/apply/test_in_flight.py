"""Steps in flight: which database is selected, where SWAPDB moves keys, and when the target owes an answer."""

from __future__ import annotations

from collections import deque

from shaker.apply.in_flight import PING, Ping, Requests, Step, Transaction
from shaker.apply.records import Checkpoint
from shaker.apply.sent import Sent
from shaker.codec.resp.replies import encode
from shaker.model.batch import CommandRun
from shaker.model.items import Barrier
from shaker.rules.expiring_commands import SWAPS
from tests.support.target_driver import REPLID, Stream


def swap(first: int, second: int) -> Sent:
    """Return a run that is one SWAPDB."""
    return Sent(1, None, CommandRun(0, encode("SWAPDB", first, second), 1, expiries=SWAPS))


def test_a_database_is_selected_once_until_another_is_used(stream: Stream) -> None:
    """Runs of one database follow each other without a SELECT, which itself counts as a request."""
    transaction, out = Transaction(), []
    for database in (0, 3, 3, 0):
        part = CommandRun(database, encode("INCR", "n"), 1)
        transaction.run(Sent(1, stream.batch(("INCR", "n")), part), (part.data,), out)

    assert b"".join(out) == b"".join(
        (
            encode("INCR", "n"),
            encode("SELECT", 3),
            encode("INCR", "n") * 2,
            encode("SELECT", 0),
            encode("INCR", "n"),
        )
    )
    assert transaction.commands == 6


def test_swaps_behind_a_run_move_its_keys_and_swaps_before_it_do_not() -> None:
    """Keys remembered for a run lie, once all is executed, where the later SWAPDBs leave them."""
    transaction = Transaction()
    run = Sent(1, None, CommandRun(1, encode("INCR", "n"), 1))
    transaction.layout = [swap(1, 2), run, swap(1, 3), swap(3, 4)]

    assert transaction.moved(1, run) == 4
    assert transaction.moved(1) == 2
    assert transaction.moved_keys({1: {b"a"}, 5: {b"b"}}, run) == {4: {b"a"}, 5: {b"b"}}


def test_a_released_transaction_keeps_only_its_swaps() -> None:
    """The bytes of a huge transaction are dropped; SWAPDB still has to be read back."""
    transaction = Transaction()
    transaction.layout = [Sent(1, None, CommandRun(0, encode("SET", "k", "v"), 1)), swap(0, 1)]
    transaction.release()

    assert transaction.layout[0].part == CommandRun(0, b"", 1, label=(b"?", None))
    assert transaction.layout[1] == swap(0, 1)


def test_the_target_owes_an_answer_to_each_request_until_all_are_queued() -> None:
    """An open transaction whose requests are all answered waits for the worker, not for the target."""
    transaction, out = Transaction(), []
    assert transaction.owed
    transaction.read.opened = True
    assert not transaction.owed
    transaction.request(encode("INCR", "n"), out)
    assert transaction.owed
    transaction.read.queued = 1
    assert not transaction.owed
    transaction.checkpoint = Checkpoint()
    assert transaction.owed


def test_a_huge_request_is_owed_only_once_it_is_whole() -> None:
    """Of an unfinished request the target may wait for the rest."""
    assert not Requests([], left=1, unfinished=True).owed
    assert Requests([], left=2, unfinished=True).owed
    assert Requests([], left=1).owed


def test_a_ping_is_sent_on_an_idle_connection_only() -> None:
    """Where an answer is expected anyway, the connection is in use."""
    expected: deque[Step] = deque()

    assert Ping.of(expected) == PING
    assert Ping.of(expected) == b""
    assert len(expected) == 1


def test_owners_of_barriers_learn_that_their_work_took_effect() -> None:
    """Each barrier in the transaction ends well."""
    ended: list[bool] = []
    transaction = Transaction(items=[Barrier(REPLID, 100, lambda: None, ended.append)])
    transaction.notify_owners()

    assert ended == [True]
