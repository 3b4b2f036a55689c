"""A difference counts only when several barriers in a row have seen it."""

from __future__ import annotations

from shaker.jobs.verify_suspects import DELAYS, Suspects
from shaker.model.differences import Difference, Kind

DIFFERENCE = Difference(3, b"k", Kind.VALUE, "the values differ")


def test_a_difference_counts_at_its_last_look() -> None:
    """It is due again after each delay, and no longer waits once it counts."""
    suspects, now = Suspects(), 100.0
    for delay in DELAYS:
        assert not suspects.differs(DIFFERENCE, now)
        assert suspects.due(now + delay - 0.01, 10) == {}
        now += delay
        assert suspects.due(now, 10) == {3: [b"k"]}
    assert suspects.differs(DIFFERENCE, now)
    assert len(suspects) == 0


def test_an_equal_key_is_forgotten_and_begins_from_the_first_look() -> None:
    """Otherwise a key that changes all the time would add up to a difference."""
    suspects = Suspects()
    for _ in DELAYS:
        suspects.differs(DIFFERENCE, 0)
    suspects.equal((3, b"k"))
    assert not suspects.differs(DIFFERENCE, 0)


def test_a_deferred_key_counts_no_look() -> None:
    """Another job is at work on it."""
    suspects = Suspects()
    suspects.defer((3, b"k"), 0)
    assert suspects.due(DELAYS[-1], 10) == {3: [b"k"]}
    for _ in DELAYS:
        assert not suspects.differs(DIFFERENCE, 0)
    assert suspects.differs(DIFFERENCE, 0)


def test_suspects_are_bounded() -> None:
    """Full at the limit; as many come due at once as are asked for."""
    suspects = Suspects(most=3)
    for number in range(3):
        assert not suspects.full
        suspects.differs(DIFFERENCE._replace(key=b"%d" % number), 0)
    assert suspects.full
    assert sum(map(len, suspects.due(1000, 2).values())) == 2
