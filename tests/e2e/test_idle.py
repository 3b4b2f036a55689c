"""An idle connection to the target stays in use, and one that is closed all the same is no fault."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.writers import redis_connection as module
from tests.support.compare import differences
from tests.support.proxy import Proxy
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker
from tests.support.writes import checkpoint


def writers(server: Server) -> list[dict[str, str]]:
    """The worker's writing connections."""
    return [one for one in server.client().client_list() if one["name"].startswith("shaker-writer:")]


@pytest.mark.parametrize("right", ["+ping", "-ping"])
def test_an_idle_writer_sends_ping(
    source: Server, target: Server, worker: Callable[..., Worker], right: str
) -> None:
    """Before a server's `timeout` closes it; that a user may not send it does no harm."""
    target.client().acl_setuser(
        "shaker",
        enabled=True,
        passwords=["+pw"],
        keys=["*"],
        channels=["*"],
        categories=["+@all"],
        commands=[right],
    )
    running = worker(source, target, SHAKER_TARGET__USERNAME="shaker", SHAKER_TARGET__PASSWORD="pw")
    running.wait_state("streaming")
    running.wait_applied(source)
    target.client().config_set("timeout", int(module.PING_SECONDS) + 5)
    [before] = writers(target)
    wait_until(lambda: int(writers(target)[0]["idle"]) >= 5, "an idle connection", 3 * module.PING_SECONDS)
    wait_until(lambda: int(writers(target)[0]["idle"]) < 5, "a PING", 3 * module.PING_SECONDS)
    assert [one["id"] for one in writers(target)] == [before["id"]]
    source.client().incr("counter")
    running.wait_applied(source)
    assert running.status()["errors"] == dict.fromkeys(running.status()["errors"], 0)
    assert differences(source, target) == []


def test_an_idle_link_that_is_cut_is_no_fault(
    source: Server, target: Server, worker: Callable[..., Worker]
) -> None:
    """Nothing is lost, nothing counted, and no line above info is logged."""
    with Proxy(target) as proxy:
        running = worker(source, proxy.url, SHAKER_RETRY__MAX_SECONDS="0.2")
        running.wait_state("streaming")
        running.wait_applied(source)
        for _ in range(5):  # a busy machine may be in the middle of something
            seen = len(running.events("registered"))
            wait_until(lambda: checkpoint(target)["confirmed"] == checkpoint(target)["offset"], "nothing to do")
            for ident in [one["id"] for one in writers(target)]:
                target.client().client_kill_filter(_id=ident)
            wait_until(lambda seen=seen: len(running.events("registered")) > seen, "the next connection")  # type: ignore[misc]
            if running.events("idle link closed"):
                break
        source.client().incr("counter")
        running.wait_applied(source)
    assert {event["level"] for event in running.events("idle link closed")} == {"info"}, running.describe()
    assert differences(source, target) == []
