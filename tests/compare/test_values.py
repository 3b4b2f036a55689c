"""Each type is compared by its meaning, in one piece where it is small and in bounded pieces where it is large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shaker.compare.values import CHECKS, CHUNK_BYTES, SMALL_BYTES, Check, Command, Subject, opaque

Answer = Callable[[Command], Any]
SMALL = Subject(b"k", 10, False, 0)
LARGE = Subject(b"k", 4 * CHUNK_BYTES, False, 0)


def compared(check: Check, mine: Answer, theirs: Answer) -> tuple[bool, int]:
    """Run a check against two sides that answer by function; return its verdict and the number of round trips."""
    rounds = 0
    try:
        question = next(check)
        while True:
            rounds += 1
            question = check.send((list(map(mine, question[0])), list(map(theirs, question[1]))))
    except StopIteration as stop:
        return stop.value, rounds


def listing(elements: list[bytes]) -> Answer:
    """Return a side that holds a list."""

    def answer(command: Command) -> Any:
        if command[0] == "LLEN":
            return len(elements)
        _, _, start, stop = command
        assert isinstance(start, int)
        assert isinstance(stop, int)
        return elements[start:] if stop == -1 else elements[start : stop + 1]

    return answer


def test_a_small_value_takes_one_round_trip() -> None:
    """Whatever its type."""
    check = CHECKS[b"list"]
    assert compared(check(SMALL), listing([b"a", b"b"]), listing([b"a", b"b"])) == (True, 1)
    assert compared(check(SMALL), listing([b"a", b"b"]), listing([b"b", b"a"])) == (False, 1)


def test_a_large_list_is_read_in_pieces_up_to_the_first_difference() -> None:
    """Another length is a difference at once."""
    elements = [b"%d" % number for number in range(1000)]
    check = CHECKS[b"list"]
    assert compared(check(LARGE), listing(elements), listing(elements)) == (True, 5)
    assert compared(check(LARGE), listing(elements), listing([*elements[:-1], b"x"])) == (False, 5)
    assert compared(check(LARGE), listing(elements), listing([b"x", *elements[1:]])) == (False, 2)
    assert compared(check(LARGE), listing(elements), listing(elements[1:])) == (False, 1)


@pytest.mark.parametrize(
    ("kind", "mine", "theirs", "same"),
    [
        (b"set", [b"a", b"b"], [b"b", b"a"], True),
        (b"set", [b"a", b"b"], [b"a", b"c"], False),
        (b"zset", [b"a", b"0.30000000000000004"], [b"a", b"0.30000000000000004"], True),
        (b"zset", [b"a", b"0.10000000000000001"], [b"a", b"0.1"], True),
        (b"zset", [b"a", b"1"], [b"a", b"2"], False),
        (b"hash", [b"f", b"1", b"g", b"2"], [b"g", b"2", b"f", b"1"], True),
        (b"hash", [b"f", b"1"], [b"f", b"2"], False),
        (b"string", b"v", b"v", True),
        (b"string", b"v", b"w", False),
    ],
)
def test_order_and_spelling_do_not_count(kind: bytes, mine: Any, theirs: Any, same: bool) -> None:
    """Encodings and versions of servers differ in them."""

    def side(value: Any) -> Answer:
        return lambda command: len(value) // 2 if command[0] == "ZCARD" else value

    assert compared(CHECKS[kind](SMALL), side(mine), side(theirs))[0] is same


@pytest.mark.parametrize(
    ("mine", "theirs", "later", "same"),
    [
        (1000, 1000, 0, True),
        (1000, 1500, 500, True),
        (1000, 1501, 500, False),
        (1000, 999, 500, False),
        (-1, -1, 0, True),
        (-1, 5, 99, False),
    ],
)
def test_expiries_of_fields_may_lie_later_by_the_margin_only(
    mine: int, theirs: int, later: int, same: bool
) -> None:
    """Never earlier, and none is not the same as one."""

    def side(expiry: int) -> Answer:
        return lambda command: [b"f", b"v"] if command[0] == "HGETALL" else [expiry]

    subject = Subject(b"k", 10, True, later)
    assert compared(CHECKS[b"hash"](subject), side(mine), side(theirs))[0] is same


def test_values_of_unknown_types_are_compared_by_dump() -> None:
    """But for version and checksum, and a missing key is only the same as a missing one."""
    assert compared(opaque(SMALL), lambda _: b"value0123456789", lambda _: b"value9876543210")[0]
    assert not compared(opaque(SMALL), lambda _: b"value0123456789", lambda _: b"other0123456789")[0]
    assert compared(opaque(SMALL), lambda _: None, lambda _: None)[0]
    assert not compared(opaque(SMALL), lambda _: b"value0123456789", lambda _: None)[0]


def test_pieces_hold_about_so_many_bytes() -> None:
    """At least one element, however large it is."""
    assert Subject(b"k", SMALL_BYTES, False, 0).small
    assert not Subject(b"k", SMALL_BYTES + 1, False, 0).small
    assert LARGE.piece(1000) == 250
    assert Subject(b"k", 1 << 40, False, 0).piece(3) == 1
