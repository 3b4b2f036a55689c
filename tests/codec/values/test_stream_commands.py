"""Streams become commands: entries, counters, groups; entries that are pending and deleted come and go again."""

from __future__ import annotations

import pytest

from shaker.codec.resp.requests import commands
from shaker.codec.values import elements as of
from shaker.codec.values.elements import UNKNOWN, Element, StreamId
from shaker.codec.values.pending_table import MAX_TABLE
from shaker.codec.values.stream_commands import (
    ABOVE_ALL,
    ID_SIZE,
    MOST_IDS,
    EntryIds,
    StreamCommands,
    refuse,
    written,
)
from shaker.codec.values.target import DEFAULT_LIMITS, Limits, Target, target_of
from shaker.errors import CorruptError, UnfaithfulError, UnsupportedError
from tests.support.servers import DEFAULT, Server

NEW, OLD = target_of((7, 0)), target_of((5, 0))
LIMITS = Limits(9999, 3)
FLAT = [b"f", b"v"]


def entries(*ids: int) -> of.StreamEntries:
    """Entries `id`-0."""
    return of.StreamEntries([of.StreamEntry((ms, 0), FLAT) for ms in ids])


def pending(*ids: int, delivered: int = 100) -> of.Pending:
    """Pending entries `id`-0."""
    return of.Pending([of.PendingEntry((ms, 0), delivered, 2) for ms in ids])


def made(
    elements: list[Element], held: tuple[StreamId, ...] = (), target: Target = NEW, limits: Limits = LIMITS
) -> list[str]:
    """The commands of a stream, as text."""
    stream = StreamCommands(b"k", target, limits, held)
    out = [request for element in elements for request in stream.add(element)] + stream.finish()
    return [b" ".join(arguments).decode() for each in out for arguments in commands(each)]


def info(last: int, length: int = 0, added: int = 9) -> of.StreamInfo:
    """Counters of a stream whose last id is `last`-0."""
    return of.StreamInfo(length, (last, 0), (1, 1), added)


def test_entries_and_counters() -> None:
    """Added by their ids; the last XSETID gives what the server had counted."""
    counters = "XSETID k 7-0 ENTRIESADDED 9 MAXDELETEDID 1-1"
    assert made([entries(5, 6), info(7, 2)]) == ["XADD k 5-0 f v", "XADD k 6-0 f v", counters, counters]


def test_old_targets_get_no_counters() -> None:
    """XSETID has no options there, groups no count, and a read makes a consumer."""
    group = [of.Group(b"g", (6, 0), 4), of.Consumer(b"alice", 1, 1)]
    assert made([entries(5), info(7, 1), *group], target=OLD) == [
        "XADD k 5-0 f v",
        "XSETID k 7-0",
        "XGROUP CREATE k g 6-0",
        f"XREADGROUP GROUP g alice COUNT 1 STREAMS k {ABOVE_ALL.decode()}",
        "XSETID k 7-0",
    ]
    assert "XGROUP CREATECONSUMER k g alice" in made([entries(5), info(7, 1), *group])
    assert "XGROUP CREATE k g 6-0 ENTRIESREAD 4" in made([entries(5), info(7, 1), *group])


def test_counters_that_an_old_type_lacks_are_counted() -> None:
    """Entries added are those that are there."""
    assert made([entries(5, 6), of.StreamInfo(2, (7, 0), (0, 0), UNKNOWN)])[-1] == (
        "XSETID k 7-0 ENTRIESADDED 2 MAXDELETEDID 0-0"
    )


def test_an_empty_stream_is_made_by_a_group() -> None:
    """Which is destroyed at once."""
    assert made([info(7)])[:2] == ["XGROUP CREATE k shaker 0 MKSTREAM", "XGROUP DESTROY k shaker"]


def test_a_command_names_few_ids() -> None:
    """A server looks up each of them: 500 blocked it for 40 ms."""
    missing = tuple((ms, 0) for ms in range(3, 3 + 2 * 250, 2))
    ids = [ms for ms, _ in missing]
    group = [of.Group(b"g", (900, 0), -1), of.Consumer(b"alice", 1, 1), pending(*ids)]
    found = made([entries(2, 900), info(900, 2), *group], missing, limits=DEFAULT_LIMITS)
    claims = [len(each.split()) for each in found if each.startswith("XCLAIM")]
    removals = [len(each.split()) for each in found if each.startswith("XDEL")]
    assert (len(claims), len(removals)) == (3, 3)
    assert max(claims) < MOST_IDS + 20
    assert max(removals) == MOST_IDS + 2


def test_pending_and_deleted_entries_come_and_go_again() -> None:
    """Added at their place, claimed, and removed: below all others by XTRIM, the others by XDEL."""
    missing = ((3, 0), (6, 0), (8, 0))
    group = [of.Group(b"g", (8, 0), -1), of.Consumer(b"alice", 1, 1), pending(3, 5, 6, 8)]
    found = made([entries(5, 7), info(9, 2), *group], missing)
    assert [each.split()[2] for each in found if each.startswith("XADD")] == ["3-0", "5-0", "6-0", "7-0", "8-0"]
    assert found[-3:] == ["XDEL k 6-0 8-0", "XTRIM k MAXLEN 2", "XSETID k 9-0 ENTRIESADDED 9 MAXDELETEDID 1-1"]


def test_alike_entries_are_claimed_together() -> None:
    """As many as the limit allows, of one time and count."""
    group = [of.Group(b"g", (9, 0), -1), of.Consumer(b"a", 1, 1), pending(1, 2, 3, 4), pending(5, delivered=7)]
    claims = [each for each in made([entries(1, 2, 3, 4, 5), info(9, 5), *group], ()) if each.startswith("XCLAIM")]
    assert claims == [
        "XCLAIM k g a 0 1-0 2-0 3-0 TIME 100 RETRYCOUNT 2 FORCE JUSTID",
        "XCLAIM k g a 0 4-0 TIME 100 RETRYCOUNT 2 FORCE JUSTID",
        "XCLAIM k g a 0 5-0 TIME 7 RETRYCOUNT 2 FORCE JUSTID",
    ]


@pytest.mark.parametrize("held", [((0, 0),), ((8, 0),)])
def test_impossible_pending_entries_are_refused(held: tuple[StreamId, ...]) -> None:
    """0-0 is no id, and none is above the last one."""
    with pytest.raises(CorruptError):
        made([entries(5), info(7, 1)], held)


@pytest.mark.parametrize(
    ("element", "error"),
    [
        (of.Released([]), UnsupportedError),
        (of.Producer(b"p", []), UnsupportedError),
        (of.Items([b"a"]), CorruptError),
    ],
)
def test_what_no_command_makes_is_refused(element: Element, error: type[Exception]) -> None:
    """By name; limits of idempotence without messages are lost silently, as no command sets them."""
    with pytest.raises(error):
        refuse(element)
    refuse(of.Idempotence(1, 1, 0, 0))


def test_a_server_takes_the_commands() -> None:
    """Everything is there, deleted pending entries are pending, and no group of ours is left."""
    held = ((3, 0), (6, 0))
    group: list[Element] = [of.Group(b"g", (7, 0), -1), of.Consumer(b"alice", 1, 1), pending(3, 6)]
    stream = StreamCommands(b"k", NEW, Limits(), held)
    elements: list[Element] = [entries(5, 7), info(9, 2), *group]
    requests = [request for element in elements for request in stream.add(element)] + stream.finish()
    with Server(DEFAULT) as server:
        client = server.client()
        for request in requests:
            for arguments in commands(request):
                client.execute_command(*arguments)
        assert [entry for entry, _ in client.xrange("k")] == [b"5-0", b"7-0"]
        assert [each["message_id"] for each in client.xpending_range("k", "g", "-", "+", 9)] == [b"3-0", b"6-0"]
        assert client.xinfo_stream("k")["last-generated-id"] == b"9-0"
        assert client.xinfo_stream("k")["groups"] == 1


def test_ids_are_spelled_as_commands_do() -> None:
    """Milliseconds and sequence number."""
    assert written((5, 1)) == b"5-1"


def test_the_ids_of_a_stream_without_bound_are_not_kept() -> None:
    """Its entries go on; a pending one among them cannot be looked up."""
    ids, entry = EntryIds(), of.StreamEntry((5, 0), FLAT)
    ids.add([entry])
    assert (5, 0) in ids
    ids.add([entry] * (MAX_TABLE // ID_SIZE))
    ids.add([entry])
    with pytest.raises(UnfaithfulError, match="pending entries and more than 16777216 entries; acknowledge"):
        assert (5, 0) in ids
