"""Commands of a transaction are found by their number, to name those that the target rejected."""

from __future__ import annotations

from shaker.apply.command_locator import CommandLocator
from shaker.apply.sent import Sent
from shaker.codec.resp.replies import encode
from shaker.model.batch import CommandRun
from tests.support.target_driver import Stream


def test_each_number_leads_to_its_run_its_place_and_its_arguments(stream: Stream) -> None:
    """Requests of the worker's own are counted and have no arguments."""
    same = CommandRun(0, b"*1\r\n$1\r\na\r\n", 1)
    item = stream.parts((0, (("a", 1), ("b", 2))), (1, (("c", 3), ("d", 4))), (0, (("e", 5),)))
    first, second, _ = item.batch.parts
    layout = [Sent(2, item, first), Sent(1), Sent(2, item, second), Sent(1, item, same)]
    locator = CommandLocator(layout)
    found = [locator.command(number) for number in (1, 2, 3, 4, 5)]
    assert [arguments for *_, arguments in found] == [[b"b", b"2"], [], [b"c", b"3"], [b"d", b"4"], [b"a"]]
    assert [index for _, index, _ in found] == [1, 0, 0, 1, 0]
    assert [sent.item is item for sent, *_ in found] == [True, False, True, True, True]


def test_a_joined_run_is_named_by_its_first_command(stream: Stream) -> None:
    """One MSET fails as a whole: no single SET of it is the cause."""
    item = stream.batch(("SET", "a", 1), ("SET", "b", 2), ("INCR", "n"))
    prefix = b"*3\r\n$3\r\nSET\r\n"
    suffixes = b"".join(encode("SET", key, 1).removeprefix(prefix) for key in "ab")
    joined = Sent(1, item, CommandRun(0, suffixes, 2, prefix=prefix))
    locator = CommandLocator([joined, Sent(1, item, CommandRun(0, encode("INCR", "n"), 1))])

    assert locator.command(0) == (joined, 0, [b"SET", b"a", b"1"])
    assert locator.command(1)[2] == [b"INCR", b"n"]


def test_a_command_whose_bytes_were_dropped_has_no_arguments(stream: Stream) -> None:
    """Its label names it instead."""
    item = stream.batch(("SET", "a", 1))
    released = Sent(1, item, CommandRun(0, b"", 1, label=(b"SET", b"a")))

    assert CommandLocator([released]).command(0) == (released, 0, [])
