"""A source is asked for commands already in effect only where it has the history of the target."""

from __future__ import annotations

import pytest

from shaker.apply.records import Checkpoint
from shaker.codec.resp.replies import encode
from shaker.errors import LinkError
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent
from shaker.model.batch import Batch, CommandRun, Reviewed, ReviewEnd
from shaker.model.items import ReviewItem
from shaker.model.position import Resume
from shaker.readers.review import Review
from shaker.rules.command_table import CommandTable, KeyPositions
from shaker.settings.schema import Settings
from shaker.watch.status import Status
from tests.support.info import server_info

OLD, NEW = "a" * 40, "b" * 40
CONFIRMED, OFFSET = 100, 150
SAME = {
    "master_replid": OLD,
    "repl_backlog_active": "1",
    "repl_backlog_first_byte_offset": "1",
    "repl_backlog_histlen": "1000",
}


def flow(*, at: str = f"{CONFIRMED} 2") -> Flow:
    """The flow of a new worker that has found unconfirmed work."""
    settings = Settings(source={"url": "redis://source"}, target={"url": "redis://target"})  # type: ignore[arg-type]
    made = Flow(Status(), settings, window_limit=1 << 20)
    made.target.table = CommandTable({"set": KeyPositions(1, 1, 1, movable=False)})
    checkpoint = Checkpoint("stream", OLD, OFFSET, 3, CONFIRMED, confirmed_at=at)
    made.registered(checkpoint, same_server_run=False, first=True)
    return made


def taken(made: Flow) -> list[ReviewItem]:
    """The items that remember keys."""
    found: list[ReviewItem] = []
    while made.window.peek() is not None:
        item = made.window.take()
        assert isinstance(item, ReviewItem)
        assert (item.batch.end_offset, item.batch.database) == (OFFSET, 3)
        found.append(item)
    return found


def reviewed(database: int, key: str, replid: str = OLD) -> Reviewed:
    """A batch that has taken effect."""
    data = encode("SET", key, 1)
    return Reviewed(Batch((CommandRun(database, data, 1),), 1, len(data), replid, 120, database))


def members(items: list[ReviewItem]) -> list[tuple[int, bytes]]:
    """The requests that fill the sets."""
    return [(part.database, part.data) for item in items for part in item.batch.parts]


def sadd(member: str) -> bytes:
    """The request that remembers a key."""
    return encode("SADD", "shaker:unconfirmed:default", member)


def test_read_again() -> None:
    """Each batch is remembered as it comes; the last item has nothing more."""
    made = flow()
    review = Review(made, made.resume, server_info(**SAME))
    assert review.begin == (CONFIRMED, 2)
    review.continued(OLD)
    review.take(reviewed(2, "a"))
    review.take(reviewed(3, "b"))
    review.take(ReviewEnd(3))
    items = taken(made)
    assert members(items) == [(2, sadd("a")), (3, sadd("b"))]
    assert [item.last for item in items] == [False, False, True]
    assert Review(made, made.resume, server_info(**SAME)).begin is None


def test_the_link_is_lost_on_the_way() -> None:
    """It is read from its beginning again."""
    made = flow()
    review = Review(made, made.resume, server_info(**SAME))
    review.continued(OLD)
    review.take(reviewed(2, "a"))
    assert Review(made, made.resume, server_info(**SAME)).begin == (CONFIRMED, 2)


@pytest.mark.parametrize(("end", "expected"), [(-1, [(3, "a")]), (3, [(0, "shaker:checkpoint:default")])])
def test_the_database_is_not_known(end: int, expected: list[tuple[int, str]]) -> None:
    """Without a SELECT it is that of the end; with one after the first command it is unknown."""
    made = flow(at="")
    review = Review(made, made.resume, server_info(**SAME))
    assert review.begin == (CONFIRMED, -1)
    review.continued(OLD)
    review.take(reviewed(-1, "a"))
    assert taken(made) == []
    review.take(ReviewEnd(end))
    assert members(taken(made)) == [(database, sadd(key)) for database, key in expected]


def test_the_database_is_another_one() -> None:
    """The record contradicts the stream: all keys are compared."""
    made = flow()
    review = Review(made, made.resume, server_info(**SAME))
    review.continued(OLD)
    review.take(ReviewEnd(7))
    assert members(taken(made)) == [(0, sadd("shaker:checkpoint:default"))]


def test_the_backlog_begins_behind_it() -> None:
    """All keys are compared, and the stream resumes where the target is."""
    made = flow()
    review = Review(
        made, made.resume, server_info(**{**SAME, "repl_backlog_first_byte_offset": str(CONFIRMED + 2)})
    )
    assert review.begin is None
    review.continued(OLD)
    assert members(taken(made)) == [(0, sadd("shaker:checkpoint:default"))]


@pytest.mark.parametrize(
    ("until", "same"), [(str(OFFSET + 1), True), (str(OFFSET), False), (str(CONFIRMED + 1), False), ("-1", False)]
)
def test_the_source_has_failed_over(until: str, same: bool) -> None:
    """Its history has to be that of the target up to the applied offset; else it is asked from there."""
    made = flow()
    review = Review(
        made,
        made.resume,
        server_info(**{**SAME, "master_replid": NEW, "master_replid2": OLD, "second_repl_offset": until}),
    )
    assert review.begin == ((CONFIRMED, 2) if same else None)
    if same:
        review.continued(NEW)
        assert made.unconfirmed.unread


@pytest.mark.parametrize("info", [SAME, {"master_replid": NEW}, {}])
def test_the_source_fails_over_as_it_is_asked(info: dict[str, str]) -> None:
    """Its commands may be of another history: none is taken, and it is asked from the applied offset."""
    made = flow()
    review = Review(made, made.resume, server_info(**info))
    assert review.begin == (CONFIRMED, 2)
    with pytest.raises(LinkError, match="failed over"):
        review.continued(NEW)
    assert Review(made, made.resume, server_info(**info)).begin is None
    assert made.resume == Resume(OLD, OFFSET, 3)


def test_a_full_sync_settles_it() -> None:
    """Nothing is asked for behind it."""
    made = flow()
    made.happen(FlowEvent.SOURCE_CONNECTED)
    made.begin_snapshot()
    made.resume = Resume(NEW, 900, 0)
    review = Review(made, made.resume, server_info(**SAME))
    assert review.begin is None
    review.continued(NEW)
    assert taken(made) == []


def test_nothing_is_unconfirmed() -> None:
    """The source is asked from the applied offset."""
    made = flow()
    made.registered(
        Checkpoint("stream", OLD, OFFSET, 3, OFFSET, confirmed_at=f"{OFFSET} 3"), same_server_run=False, first=True
    )
    review = Review(made, made.resume, server_info(**SAME))
    assert review.begin is None
    review.continued(OLD)
    assert taken(made) == []
