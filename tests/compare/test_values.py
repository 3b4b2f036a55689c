"""Each type is compared by its meaning, in bounded pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shaker.compare.values import CHECKS, CHUNK_BYTES, Check, Command, Subject, opaque

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


def test_a_large_list_is_read_in_pieces_up_to_the_first_difference() -> None:
    """Another length is a difference at once."""
    elements = [b"%d" % number for number in range(1000)]
    check = CHECKS[b"list"]
    assert compared(check(LARGE), listing(elements), listing(elements)) == (True, 5)
    assert compared(check(LARGE), listing(elements), listing([*elements[:-1], b"x"])) == (False, 5)
    assert compared(check(LARGE), listing(elements), listing([b"x", *elements[1:]])) == (False, 2)
    assert compared(check(LARGE), listing(elements), listing(elements[1:])) == (False, 1)


def side(value: Any, expiry: int = -1) -> Answer:
    """Return a side that holds a value, a flat list of its elements; each field expires at `expiry`."""

    def answer(command: Command) -> Any:
        name, _, *arguments = command
        pairs = dict(zip(value[::2], value[1::2], strict=True)) if name in ("HLEN", "HMGET", "ZCARD") else {}
        answers: dict[Any, Callable[[], Any]] = {
            "STRLEN": lambda: len(value),
            "GETRANGE": lambda: value,
            "SCARD": lambda: len(value),
            "SSCAN": lambda: (b"0", value),
            "SMISMEMBER": lambda: [int(each in value) for each in arguments],
            "ZCARD": lambda: len(pairs),
            "ZRANGE": lambda: value,
            "HLEN": lambda: len(pairs),
            "HSCAN": lambda: (b"0", value),
            "HMGET": lambda: [pairs.get(each) for each in arguments],
            "HPEXPIRETIME": lambda: [expiry],
        }
        return answers[name]()

    return answer


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
    subject = Subject(b"k", 10, True, later)
    field = [b"f", b"v"]
    assert compared(CHECKS[b"hash"](subject), side(field, mine), side(field, theirs))[0] is same


def test_values_of_unknown_types_are_compared_by_dump() -> None:
    """But for version and checksum, and a missing key is only the same as a missing one."""
    assert compared(opaque(SMALL), lambda _: b"value0123456789", lambda _: b"value9876543210")[0]
    assert not compared(opaque(SMALL), lambda _: b"value0123456789", lambda _: b"other0123456789")[0]
    assert compared(opaque(SMALL), lambda _: None, lambda _: None)[0]
    assert not compared(opaque(SMALL), lambda _: b"value0123456789", lambda _: None)[0]


def test_pieces_hold_about_so_many_bytes() -> None:
    """At least one element, however large it is."""
    assert LARGE.piece(1000) == 250
    assert Subject(b"k", 1 << 40, False, 0).piece(3) == 1
