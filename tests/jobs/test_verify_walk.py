"""The walk passes every key of both servers, in bounded pages, from any position on."""

from __future__ import annotations

import pytest

from shaker.jobs.verify_walk import PAGE_BYTES, Page, Position, Selection, Walk
from tests.support.servers import Server
from tests.support.verifying import pair

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
ALL, START = Selection(), Position()


async def walked(
    source: Server,
    target: Server,
    selection: Selection = ALL,
    start: Position = START,
    *,
    extra_too: bool = True,
    count: int = 200,
) -> list[Page]:
    """All pages of a walk, of the target's keys those that the source lacks."""
    pages = []
    async with pair(source, target) as made:
        walk = Walk(made.sides, selection, start, extra_too=extra_too)
        walk.count = count
        async for page in walk.pages():
            if page.side == "source":
                pages.append(page)
            else:
                pages += [part async for part in walk.lacking(page, start)]
            start = page.after
    return pages


def keys(pages: list[Page], side: str = "source") -> list[tuple[int, bytes]]:
    """The keys of one side's pages, with their databases."""
    return [(page.database, key) for page in pages if page.side == side for key in page.keys + page.large]


def filled(server: Server, databases: tuple[int, ...] = (0, 3), count: int = 500) -> set[tuple[int, bytes]]:
    """Fill databases of a server; return the keys."""
    for database in databases:
        server.client(db=database).mset({f"key:{number}": number for number in range(count)})
    return {(database, b"key:%d" % number) for database in databases for number in range(count)}


async def test_every_key_of_the_source_comes_in_pages(source: Server, target: Server) -> None:
    """Of one database each; those that both servers have come once."""
    expected = filled(source)
    filled(target)
    pages = await walked(source, target, count=50)
    assert set(keys(pages)) == expected
    assert keys(pages, "target") == []
    assert max(len(page.keys) for page in pages) <= 50
    assert sum(page.seen for page in pages) == 2 * len(expected)


async def test_of_the_target_come_the_keys_that_the_source_lacks(source: Server, target: Server) -> None:
    """Unless extra keys are no differences."""
    filled(source)
    filled(target)
    target.client(db=3).set("extra", 1)
    target.client(db=7).set("other", 1)
    assert keys(await walked(source, target), "target") == [(3, b"extra"), (7, b"other")]
    assert keys(await walked(source, target, extra_too=False), "target") == []


async def test_a_walk_resumes_behind_any_page(source: Server, target: Server) -> None:
    """No key is missed: those of the same SCAN may come again."""
    expected = filled(source)
    target.client(db=1).set("extra", 1)
    pages = await walked(source, target, count=20)
    for index in range(0, len(pages), 7):
        rest = await walked(source, target, start=pages[index].after, count=20)
        assert set(keys(pages[: index + 1])) | set(keys(rest)) == expected
        assert keys(pages[: index + 1], "target") + keys(rest, "target") == [(1, b"extra")]
    assert await walked(source, target, start=pages[-1].after) == []


async def test_selections(source: Server, target: Server) -> None:
    """A pattern, one database, a sample that is the same on both sides."""
    filled(source)
    filled(target)
    assert set(keys(await walked(source, target, Selection(b"key:1?")))) == {
        (database, b"key:1%d" % digit) for database in (0, 3) for digit in range(10)
    }
    assert {database for database, _ in keys(await walked(source, target, Selection(database=3)))} == {3}
    assert await walked(source, target, Selection(database=9)) == []
    sample = Selection(sample=20)
    some = set(keys(await walked(source, target, sample)))
    assert 0.1 < len(some) / 1000 < 0.3
    assert some == set(keys(await walked(target, source, sample)))


async def test_records_of_the_worker_are_no_keys(source: Server, target: Server) -> None:
    """Only the target has them."""
    target.client().hset("shaker:checkpoint:default", "offset", 1)
    source.client().set("shaker:checkpoint", "somebody else's")
    pages = await walked(source, target)
    assert keys(pages) == [(0, b"shaker:checkpoint")]
    assert keys(pages, "target") == []


async def test_pages_are_bounded_by_bytes_and_large_values_come_apart(source: Server, target: Server) -> None:
    """By the memory that the values take."""
    client = source.client(db=2)
    for number in range(12):
        client.set(f"k{number}", b"x" * 300_000)
    client.set("big", b"x" * 5_000_000)
    pages = await walked(source, target)
    assert [page.large for page in pages if page.large] == [[b"big"]]
    assert len(keys(pages)) == 13
    assert len(pages) >= 12 * 300_000 // PAGE_BYTES
    assert all(len(page.keys) <= 3 for page in pages)


@pytest.mark.parametrize("position", [Position(), Position("source", 3, b"17"), Position("target", 0, b"0")])
def test_positions_are_kept_as_text(position: Position) -> None:
    """With the checkpoint."""
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    "text", ["", "source", "source:1", "other:1:0", "source:x:0", "source:1:0:9", "source:-2:0"]
)
def test_any_other_text_is_the_beginning(text: str) -> None:
    """Comparing again is always right."""
    assert Position.parse(text) == Position()
