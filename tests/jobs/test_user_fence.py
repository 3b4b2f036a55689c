"""The fence by ACL rules on real sources: it refuses writes of the users named, and restores their rules exactly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import redis

from shaker.errors import LinkError
from shaker.jobs.cutover_order import Failed, Outcome
from shaker.jobs.source_fence import SourceFence, refused_fences
from shaker.jobs.user_fence import UserFence, refused_users
from shaker.net.client import open_client, open_fence_client
from shaker.settings.endpoints import Source
from tests.support.relay import Relay
from tests.support.servers import NAMES, Server

pytestmark = pytest.mark.anyio
USERS = {"app": "-@write"}


@asynccontextmanager
async def fencing(url: str, run_id: str = "") -> AsyncIterator[SourceFence]:
    """A fence on the server at `url`."""
    async with open_fence_client(Source(url=url)) as client:  # type: ignore[arg-type]
        yield SourceFence(client, run_id, seconds=1)


def users(source: Server, *rules: str) -> redis.Redis:
    """Make the user `app`; return a client of it."""
    source.client().execute_command("ACL", "SETUSER", "app", "on", ">secret", *rules)  # type: ignore[no-untyped-call]
    return redis.Redis(port=source.port, username="app", password="secret")


def listed(source: Server) -> list[str]:
    """The rules of all users as the server lists them."""
    return sorted(str(line) for line in source.client().acl_list())


RULES = [
    ("~*", "+@all"),
    ("~app:*", "~cart:*", "+@all", "-config", "-@dangerous", "+info"),
    ("~*", "-@all", "+get", "+set", "+incr"),
]


@pytest.fixture(params=NAMES)
def each_server(server: Callable[..., Server], request: pytest.FixtureRequest) -> Iterator[Server]:
    """Every server in turn."""
    return server(request.param)


@pytest.mark.parametrize("rules", RULES)
async def test_writes_are_refused_until_the_rules_are_restored(each_server: Server, rules: tuple[str, ...]) -> None:
    """A connection that is open already is refused, too; reads are answered; the list of users is as before."""
    source = each_server
    app = users(source, *rules)
    before = listed(source)
    key = "app:k"
    assert app.set(key, 1)
    async with fencing(source.url) as fence:
        noted = await fence.users.rules(USERS)
        await fence.users.shut(USERS, noted)
        with pytest.raises(redis.ResponseError, match="permission"):
            app.incr(key)
        assert app.get(key) == b"1"
        assert source.client().incr(key) == 2
        await fence.open(noted)
    assert listed(source) == before
    assert app.set(key, 3)
    assert all("secret" not in text and "#" not in text for text in noted.values())


async def test_rules_about_keys_do_as_well(source: Server) -> None:
    """Redis 7.0 has patterns for reading."""
    app = users(source, "~*", "+@all", "&*")
    before = listed(source)
    async with fencing(source.url) as fence:
        noted = await fence.users.rules(USERS)
        await fence.users.shut({"app": "resetkeys %R~*"}, noted)
        with pytest.raises(redis.ResponseError):
            app.set("k", 1)
        await fence.open(noted)
    assert listed(source) == before


@pytest.mark.parametrize("rules", ["+get", "-set", "-@hash"])
async def test_a_rule_that_leaves_writes_is_refused(source: Server, rules: str) -> None:
    """It changes nothing, or leaves a command."""
    users(source, "~*", "+@all")
    async with fencing(source.url) as fence:
        noted = await fence.users.rules(USERS)
        with pytest.raises(Failed) as caught:
            await fence.users.shut({"app": rules}, noted)
    assert caught.value.outcome is Outcome.REFUSED


async def test_a_source_that_only_answers_ok_is_refused(source: Server) -> None:
    """Of shutting and of restoring."""
    users(source, "~*", "+@all")

    def answering(arguments: list[bytes], _: bool) -> bytes | None:
        return b"+OK\r\n" if arguments[0] == b"ACL" and arguments[1].upper() == b"SETUSER" else None

    with Relay(source, answering) as relay:
        async with fencing(f"redis://127.0.0.1:{relay.port}") as fence:
            noted = await fence.users.rules(USERS)
            with pytest.raises(Failed, match="changes nothing"):
                await fence.users.shut(USERS, noted)
            with pytest.raises(LinkError, match="from before the fence"):
                await fence.users.restore({"app": "~* -@all +get"})


async def test_users_that_cannot_be_fenced_are_named(source: Server) -> None:
    """The worker's own, one that does not exist, and where the worker lacks the right."""
    users(source, "~*", "+@all")
    async with open_client(Source(url=source.url)) as client:  # type: ignore[arg-type]
        refused = await refused_users(client, "default", {"default": "-@write", "nobody": "-@write", "app": "-set"})
        assert len(refused) == 2
        assert "own user" in refused[0]
        assert "no user 'nobody'" in refused[1]
        source.client().execute_command("ACL", "SETUSER", "default", "-acl|setuser")  # type: ignore[no-untyped-call]
        fences = await refused_fences(client, "default", await client.info("server"))
    assert list(fences) == ["acl"]
    assert "+acl|setuser" in fences["acl"]


def test_a_note_is_divided() -> None:
    """Configuration and users."""
    assert UserFence.divided({"a": "1", "acl:a": "+@all"}) == ({"a": "1"}, {"a": "+@all"})
