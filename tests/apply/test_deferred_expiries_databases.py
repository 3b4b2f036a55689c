"""Deferred expiries follow their keys where MOVE, SWAPDB and FLUSHALL lead them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.errors import UnfaithfulError
from shaker.model.items import SnapshotFinish, SnapshotStart
from tests.support.deferred import (
    COPYING,
    Feeding,
    assert_put_off,
    catch_up,
    expire_one,
    listed,
    soon,
)
from tests.support.replicating import Command
from tests.support.servers import Server
from tests.support.target_driver import REPLID, Writer, checkpoint_of


def rename_of_a_missing_key(behind: Feeding, database: int = 0) -> Writer:
    """Send one, where keys may have expired early; the writer has not read the answer."""
    catch_up(behind.writer)
    expire_one(behind.writer)
    behind.write(("RENAME", "k", "d"), database=database)
    behind.writer.send()
    return behind.writer


def test_what_fails_before_databases_are_swapped_is_remembered_where_it_is(behind: Feeding, target: Server) -> None:
    """By the transaction that comes next: the note follows the key, however often that swaps."""
    writer = rename_of_a_missing_key(behind, 3)
    behind.write(("SWAPDB", 2, 3), ("SWAPDB", 4, 5), ("SWAPDB", 5, 2), ("SWAPDB", 3, 1), database=3)
    writer.run_through()
    assert writer.rejections == []
    assert listed(target, COPYING, 5) == {"d"}
    assert not any(listed(target, COPYING, database) for database in range(5))


def test_what_fails_before_databases_are_swapped_by_its_own_transaction(behind: Feeding, target: Server) -> None:
    """Only the swaps behind it move the note."""
    catch_up(behind.writer)
    expire_one(behind.writer)
    swap, elsewhere = ("SWAPDB", 2, 3), ("SWAPDB", 3, 4)
    behind.apply(elsewhere, elsewhere, ("RENAME", "k", "d"), swap, ("SET", "next", 1), database=3)
    assert behind.writer.rejections == []
    assert listed(target, COPYING, 2) == {"d"}
    assert listed(target, COPYING, 3) == set()


def test_what_moves_is_copied_where_it_goes(behind: Feeding, target: Server) -> None:
    """To another name, into another database, which has to be proven first."""
    behind.apply(("MSET", "a", 1, "b", 1, "c", 1, "d", 1), ("RENAME", "a", "a2"))
    assert listed(target, COPYING) == set()

    behind.apply(
        ("PEXPIREAT", "b", soon()),
        ("RENAME", "b", "b2"),
        ("COPY", "b2", "b3", "DB", 4),
        ("MOVE", "c", 5),
        ("COPY", "d", "d2"),
    )
    assert listed(target) == {"b"}
    assert listed(target, COPYING) == {"b2", "d2"}
    assert listed(target, COPYING, 4) == {"b3"}
    assert listed(target, COPYING, 5) == {"c"}
    assert_put_off(target, "b2")
    assert_put_off(target, "b3", 4)
    assert target.client(db=5).get("c") == b"1"
    assert behind.writer.rejections == []

    behind.apply(("RENAME", "d", "e"))  # a batch that only moves
    assert listed(target, COPYING) == {"b2", "d2", "e"}


def test_a_move_to_a_database_that_the_target_lacks(
    server: Callable[..., Server], make_writer: Callable[..., Writer]
) -> None:
    """Named, and nothing lands elsewhere."""
    target = server(databases=4)
    writer = make_writer(target)
    writer.register()
    writer.put(SnapshotStart("s", REPLID, 1000, flush=False), SnapshotFinish(REPLID, 1000, 0))
    writer.run()
    writer.flow.expiries.waiting = True
    feeding = Feeding(writer)
    with pytest.raises(UnfaithfulError, match="database 9"):
        feeding.apply(("MOVE", "a", 9))


def test_swapdb_swaps_the_sets(behind: Feeding, target: Server) -> None:
    """They lie where their keys are."""
    behind.apply(("SET", "a", 1, "PXAT", soon()))
    behind.apply(("SET", "b", 1, "PXAT", soon()), ("SET", "c", 1), ("RENAME", "c", "d"), database=2)
    behind.apply(("SWAPDB", 0, 2), ("SWAPDB", 2, 3), ("SELECT", 0), ("SET", "e", 1, "PXAT", soon()))

    assert (listed(target), listed(target, COPYING)) == ({"b", "e"}, {"d"})
    assert (listed(target, database=3), listed(target, COPYING, 3)) == ({"a"}, set())
    assert listed(target, database=2) == set()
    checkpoint = checkpoint_of(target)
    assert checkpoint is not None
    assert checkpoint.expiring == 1


def test_a_swap_among_others(behind: Feeding, target: Server) -> None:
    """What was put off before it is remembered before it, in one batch, in a transaction, in any databases."""
    behind.apply(
        ("SELECT", 1),
        ("SET", "a", 1, "PXAT", soon()),
        ("SWAPDB", 1, 2),
        ("SET", "b", 1, "PXAT", soon()),
        ("SWAPDB", 3, 4),
        ("SWAPDB", 1, 3),
        ("SET", "c", 1, "PXAT", soon()),
        ("SELECT", 0),
        ("MULTI",),
        ("SET", "d", 1, "PXAT", soon()),
        ("SWAPDB", 0, 5),
        ("SET", "e", 1, "PXAT", soon()),
        ("EXEC",),
    )
    where = {1: "c", 2: "a", 3: "b", 5: "d", 0: "e"}
    for database in range(6):
        expected = {where[database]} if database in where else set()
        assert listed(target, database=database) == expected, database
        for key in expected:
            assert_put_off(target, key, database)


@pytest.mark.parametrize(("flush", "left"), [(("FLUSHDB",), {"a"}), (("FLUSHALL",), set())])
def test_a_flush_takes_the_sets_along(behind: Feeding, target: Server, flush: Command, left: set[str]) -> None:
    """Of what is gone no expiry waits."""
    behind.apply(("SET", "a", 1, "PXAT", soon()))
    behind.apply(("SET", "b", 1, "PXAT", soon()), database=2)
    behind.apply(flush, database=2)

    assert (listed(target), listed(target, database=2)) == (left, set())
    behind.apply(("SET", "c", 1, "PXAT", soon()), database=2)
    assert listed(target, database=2) == {"c"}
