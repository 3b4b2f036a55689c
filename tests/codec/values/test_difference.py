"""The first difference of two values is named by its place; no value is shown."""

from __future__ import annotations

import pytest

from shaker.codec.values import elements as of
from shaker.codec.values.difference import Difference, first_difference
from shaker.codec.values.elements import Element

ENTRY = of.StreamEntry((5, 1), [b"f", b"v"])
GROUP = [of.Group(b"g", (5, 1), 1), of.Consumer(b"alice", 1, 1)]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([of.StringStart(2), of.StringPart(b"ab")], [of.StringStart(2), of.StringPart(b"ac")], ("string", "value")),
        ([of.Items([b"a", b"b"])], [of.Items([b"a"]), of.Items([b"c"])], ("element 1", "value")),
        ([of.Items([b"a", b"b"])], [of.Items([b"a"])], ("element 1", "missing")),
        ([of.Items([b"a"])], [of.Items([b"a", b"b"])], ("element 1", "extra")),
        ([of.Members([b"a", b"b"])], [of.Members([b"a"])], ("member 'b'", "missing")),
        ([of.Scores([(b"a", 1.0)])], [of.Scores([(b"a", 2.0)])], ("member 'a'", "score")),
        ([of.Fields([b"f", b"1"])], [of.Fields([b"f", b"2"])], ("field 'f'", "value")),
        ([of.Fields([b"f", b"1"])], [of.ExpiringFields([(b"f", b"1", 9)])], ("field 'f'", "expiry")),
        ([of.StreamEntries([ENTRY])], [of.StreamEntries([])], ("entry 5-1", "missing")),
        ([of.StreamInfo(0, (5, 1), (0, 0), 1)], [of.StreamInfo(0, (5, 2), (0, 0), 1)], ("last id", "value")),
        (
            [*GROUP, of.Pending([of.PendingEntry((5, 1), 1, 1)])],
            GROUP,
            ("group 'g', consumer 'alice', pending 5-1", "missing"),
        ),
        (
            GROUP,
            [*GROUP, of.Released([of.PendingEntry((5, 1), 1, 1)])],
            ("group 'g', no consumer, pending 5-1", "extra"),
        ),
        ([of.ModuleParts([(1, b"1")])], [of.ModuleParts([(2, b"1")])], ("part 0", "value")),
        (
            [of.Libraries([b"#!lua name=a\none"])],
            [of.Libraries([b"#!lua name=a\ntwo"])],
            ("library '#!lua name=a'", "value"),
        ),
    ],
    ids=lambda part: part[1] if isinstance(part, tuple) else "",
)
def test_the_place_is_named(one: list[Element], other: list[Element], expected: tuple[str, str]) -> None:
    """And how the second value differs there."""
    assert first_difference(one, other) == Difference(*expected)
    assert first_difference(one, one) is None


def test_batches_and_order_do_not_count() -> None:
    """The same members in another order and other batches are the same set, and a part of a string is no element."""
    assert first_difference([of.Members([b"a", b"b"])], [of.Members([b"b"]), of.Members([b"a"])]) is None
    assert first_difference([of.StringPart(b"ab")], [of.StringPart(b"a"), of.StringPart(b"b")]) is None


def test_times_of_consumers_do_not_count() -> None:
    """Servers do not replicate when a consumer was seen."""
    assert first_difference(GROUP, [GROUP[0], of.Consumer(b"alice", 99, 99)]) is None


def test_long_names_are_cut_and_told_apart_by_a_hash() -> None:
    """Two members with the same long beginning have different places."""
    found = first_difference([of.Members([b"x" * 5000])], [of.Members([b"x" * 4999 + b"y"])])
    assert found is not None
    assert found.how == "missing"
    assert len(found.place) < 250
    assert "5000 bytes" in found.place
