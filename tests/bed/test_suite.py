"""The judge of `tests.suite`: what it reports, and what it leaves to Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.suite.pair import Pair
from tests.suite.runner import Suite, outcome
from tests.support.servers import DEFAULT, wait_until


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Pair(DEFAULT, DEFAULT, kill_every=None) as pair:
        yield pair


def test_differences_are_faults_once(pair: Pair) -> None:
    """A planted difference is one fault until it is gone; what no native replica gets is none."""
    pair.source.client(db=9).set("key", 1)
    pair.source.client(db=9).execute_command("DEBUG", "POPULATE", 3)
    pair.check("first")
    assert pair.faults == []
    assert len(pair.own) == 3

    pair.target.client(db=9).set("key", 2)
    pair.check("second")
    pair.check("third")
    assert pair.faults == ["second: database 9 key b'key': value differs"]

    pair.source.client().flushall()
    pair.check("fourth")
    assert len(pair.faults) == 1
    assert pair.compared == 4
    assert pair.applied > 0


def test_rejected_commands_and_ended_workers_are_faults(pair: Pair) -> None:
    """With the command, its key and the error; the worker is started again."""
    pair.target.client().rpush("key", 1)
    pair.source.client().set("other", 1)
    pair.source.client().incr("key")
    pair.check("first")
    assert pair.rejected == 1
    assert any("INCRBY key: WRONGTYPE" in fault for fault in pair.faults), pair.faults

    pair.worker.terminate()
    pair.worker.wait_ended()
    pair.check("second")
    assert any("the worker ended with 0" in fault for fault in pair.faults)
    assert pair.worker.returncode is None


def test_the_default_user_may_be_lost(pair: Pair) -> None:
    """The suite sets passwords: worker and comparison log in as a user of their own."""
    pair.source.client().config_set("requirepass", "word")
    pair.kill_every = 0.01
    time.sleep(0.02)
    pair.tick()
    pair.source.client().set("key", 1)
    pair.check("first")
    assert pair.faults == []
    assert pair.kills >= 1
    wait_until(lambda: pair.target.client().get("key") == b"1", "the key")


def test_the_outcome_of_a_unit() -> None:
    """As the suite prints it."""
    found = outcome("[ok]: one (3 ms)\n[err]: two in tests/unit/x.tcl\nmore\n[ignore]: three\n[skip]: four\n")
    assert (found.passed, found.failures, found.skipped) == (1, ["two in tests/unit/x.tcl"], 2)


def test_what_is_no_suite(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="test_helper"):
        Suite(tmp_path, "redis-server")
