"""Function libraries are compared by name and code, in both directions, and repaired where that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shaker.apply.records import fence_key
from shaker.jobs.verify_libraries import LibrariesOutcome, LibraryComparison
from shaker.model.differences import NO_DATABASE, Kind
from tests.support.links import Links, replicating
from tests.support.servers import Server
from tests.support.verifying import Pair, Points, pair

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

Servers = Callable[..., Server]
CODE = "#!lua name={0}\nredis.register_function('{0}', function() return {1} end)"
NEEDS_8 = (
    "#!lua name=new\nif redis.REDIS_VERSION_NUM < 0x00080000 then error('8') end\n"
    "redis.register_function('f', function() return 8 end)\n"
)
PAIRS = [
    ("redis-7.0", "redis-8.0"),
    ("redis-8.0", "redis-7.0"),
    ("redis-7.0", "valkey-9.1"),
    ("valkey-8.0", "redis-8.0"),
]


def load(server: Server, name: str, value: int = 1) -> None:
    """Load a library."""
    server.client().function_load(CODE.format(name, value), replace=True)


def names(server: Server) -> list[str]:
    """The libraries of a server with their functions' values."""
    client = server.client()
    found = client.execute_command("FUNCTION", "LIST")
    return sorted(f"{name.decode()}={client.fcall(name.decode(), 0)}" for name in (_name(each) for each in found))


def _name(library: Any) -> Any:
    return library[b"library_name"] if isinstance(library, dict) else library[1]


async def compared(
    made: Pair, points: Any = None, *, extra_too: bool = True, repair: bool = False
) -> LibrariesOutcome:
    """Compare at once."""
    delays = (0.01, 0.02)
    one = LibraryComparison(points or made.points, made.sides, extra_too=extra_too, repair=repair, delays=delays)
    return await one.compare()


@pytest.mark.parametrize(("source_name", "target_name"), PAIRS)
async def test_each_difference_is_found(server: Servers, source_name: str, target_name: str) -> None:
    """Missing, extra, and other code; equal ones whatever their order."""
    source, target = server(source_name), server(target_name)
    for name in ("a", "b", "c"):
        load(source, name)
    for name in ("c", "b", "a"):
        load(target, name)
    async with pair(source, target) as made:
        assert await compared(made) == ([], 0, 3)
        source.client().function_delete("a")
        target.client().function_delete("b")
        load(target, "c", 2)
        found = await compared(made)
        assert found.differing == [
            (NO_DATABASE, b"a", Kind.FUNCTION, "only on the target"),
            (NO_DATABASE, b"b", Kind.FUNCTION, "not on the target"),
            (NO_DATABASE, b"c", Kind.FUNCTION, "the code differs"),
        ]
        kept = await compared(made, extra_too=False)
        assert [each.key for each in kept.differing] == [b"b", b"c"]


async def test_a_difference_that_passes_is_none(source: Server, target: Server) -> None:
    """It was on its way, as the next look shows."""
    load(source, "a")

    def before(number: int) -> None:
        if number == 2:
            load(target, "a")

    points = Points(before)
    async with pair(source, target, points=points) as made:
        assert await compared(made) == ([], 0, 1)
    assert points.made == 2


async def test_servers_without_functions(server: Servers) -> None:
    """Nothing is asked, and nothing compared."""
    source, target = server("redis-6.2"), server("redis-7.0")
    load(target, "a")
    points = Points()
    async with pair(source, target, points=points) as made:
        assert await compared(made) == ([], 0, None)
    assert points.made == 0


async def test_a_forbidden_listing(source: Server, target: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """They are not compared, and the log says why."""
    target.client().execute_command("ACL", "SETUSER", "narrow", "on", ">word", "~*", "+@all", "-function|list")
    async with pair(source, f"redis://narrow:word@127.0.0.1:{target.port}") as made:
        assert await compared(made) == ([], 0, None)
    said = capsys.readouterr().out
    assert "function libraries are not compared" in said
    assert "function|list" in said


async def _repaired(links: Links, made: Pair) -> LibrariesOutcome:
    return await compared(made, links.barriers, repair=True)


@pytest.mark.parametrize(("source_name", "target_name"), PAIRS)
async def test_a_repair_at_real_barriers(server: Servers, source_name: str, target_name: str) -> None:
    """Extra ones are deleted, others loaded, also where a function has moved to another library."""
    source, target = server(source_name), server(target_name)
    for name in ("a", "b", "d"):
        load(source, name)
    async with replicating(source, target) as links, pair(source, target) as made:
        await links.wait_applied(source)
        assert (await _repaired(links, made)) == ([], 0, 3)
        target.client().function_flush()
        load(target, "a", 2)
        target.client().function_load(CODE.format("z", 3).replace("function('z'", "function('b'"))
        load(target, "c")
        assert (await _repaired(links, made)) == ([], 5, 5)
        assert names(target) == names(source) == ["a=1", "b=1", "d=1"]
        assert target.client().exists(fence_key("default"))
        assert links.status.stream.commands_rejected == 0


@pytest.mark.needs_servers("redis-8.0", "redis-7.0")
async def test_a_library_that_the_target_refuses(server: Servers) -> None:
    """It stays a difference; the refusal is counted as a rejected command, and the stream continues."""
    source, target = server("redis-8.0"), server("redis-7.0")
    async with replicating(source, target) as links, pair(source, target) as made:
        await links.wait_applied(source)
        source.client().function_load(NEEDS_8)
        await links.wait_applied(source)
        before = links.status.stream.commands_rejected
        found = await _repaired(links, made)
        assert [each.key for each in found.differing] == [b"new"]
        assert links.status.stream.commands_rejected > before
        source.client().set("key", "value")
        await links.wait_applied(source)
        assert target.client().get("key") == b"value"
