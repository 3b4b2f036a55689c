"""Workers in a circle are refused, in whatever order they start; a chain is not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.e2e.test_refusals import refused
from tests.support.compare import differences
from tests.support.servers import NAMES, Server, wait_until
from tests.support.worker import Worker
from tests.support.writes import checkpoint

Servers = Callable[..., Server]
Workers = Callable[..., Worker]

CIRCLE = "gets its data from the target"
MERGE = {"SHAKER_TARGET__ON_EXISTING": "merge"}


def calm(worker: Worker, source: Server, target: Server) -> None:
    """Assert that the one worker left works, and that one INCR is one."""
    before = int(source.client().get("n") or 0)
    source.client().incr("n")
    worker.wait_applied(source)
    assert worker.returncode is None
    assert (source.client().get("n"), target.client().get("n")) == (b"%d" % (before + 1), b"%d" % (before + 1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("first", "second"), [("ab", "ba"), ("default", "default")])
def test_two_ways(server: Servers, worker: Workers, name: str, first: str, second: str) -> None:
    """The second worker ends with 3, at each start; the first one goes on, over a restart, too."""
    a, b = server(name), server(name)
    one = worker(a, b, SHAKER_NAME=first)
    one.wait_state("streaming")
    for _ in range(2):
        refused(worker(b, a, SHAKER_NAME=second), 3, CIRCLE)
    assert a.client().keys("*") == []
    calm(one, a, b)
    one.kill()
    one.start()
    one.wait_state("streaming")
    calm(one, a, b)


@pytest.mark.parametrize("rights", ["all", "least"])
def test_the_first_worker_is_not_there(server: Servers, worker: Workers, rights: str) -> None:
    """Its record in the snapshot, or that it writes again when it is back, tells of it."""
    a, b = server(), server()
    one = worker(a, b, SHAKER_NAME="ab")
    one.wait_state("streaming")
    a.client().set("key", 1)
    one.wait_applied(a)
    one.kill()
    if rights == "least":
        b.client().execute_command(
            "ACL", "SETUSER", "reader", "on", "nopass", "-@all", "+info", "+psync", "+replconf"
        )
    url = b.url if rights == "all" else f"redis://reader:any@127.0.0.1:{b.port}"
    two = worker(url, a, SHAKER_NAME="ba", **MERGE)
    if rights == "all":
        refused(two, 3, CIRCLE)
        one.start()
        one.wait_state("streaming")
        calm(one, a, b)
    else:
        two.wait_state("streaming")
        one.start()
        wait_until(lambda: two.returncode == 3 or one.returncode == 3, "one of them to refuse")


def test_both_start_at_the_same_time(server: Servers, worker: Workers) -> None:
    """On two empty servers neither finds anything at first: the stream tells, and no write goes round."""
    a, b = server(), server()
    workers = worker(a, b, SHAKER_NAME="ab"), worker(b, a, SHAKER_NAME="ba")
    wait_until(lambda: any(each.returncode == 3 for each in workers), "one of them to refuse", 30)
    a.client().incr("n")

    def settled(worker: Worker) -> bool:
        states = [event["state"] for event in worker.events("state")]
        return worker.returncode is not None or states[-1:] == ["streaming"]

    wait_until(lambda: all(settled(each) for each in workers), "the other to work, or to refuse as well", 30)
    assert all(each.returncode in (None, 3) for each in workers)
    assert a.client().get("n") == b"1"


@pytest.mark.parametrize("order", ["forwards", "backwards"])
def test_a_circle_of_three(server: Servers, worker: Workers, order: str) -> None:
    """The worker that closes it ends with 3, whether those before it knew of one another when they began or not."""
    a, b, c = server(), server(), server()
    a.client().set("key", 1)
    legs = [(a, b, "ab"), (b, c, "bc")]
    chain = [
        worker(source, target, SHAKER_NAME=name)
        for source, target, name in (legs if order == "forwards" else reversed(legs))
    ]
    for each in chain:
        each.wait_state("streaming")
    ids = {a.info("server")["run_id"], a.info("replication")["master_replid"]}
    wait_until(lambda: ids <= set(checkpoint(c, "bc")["origins"].split()), "the chain in the last record")
    refused(worker(c, a, SHAKER_NAME="ca", **MERGE), 3, CIRCLE)
    assert sorted(key for key in a.client().keys("*")) == [b"key"]
    assert differences(a, c) == []
    for each in chain:
        assert each.status()["ready"]


def test_the_circle_is_closed_in_the_middle(server: Servers, worker: Workers) -> None:
    """The workers C to A and A to B run; the one from B to C is refused, as it would be at any other place."""
    a, b, c = server(), server(), server()
    for source, target, name in ((c, a, "ca"), (a, b, "ab")):
        worker(source, target, SHAKER_NAME=name).wait_state("streaming")
    refused(worker(b, c, SHAKER_NAME="bc"), 3, CIRCLE)


def test_a_chain_is_no_circle(server: Servers, worker: Workers) -> None:
    """Four servers in a row, each worker restarted once."""
    servers = [server() for _ in range(4)]
    workers = [
        worker(source, target, SHAKER_NAME=f"leg{number}")
        for number, (source, target) in enumerate(pairwise(servers))
    ]
    servers[0].client().set("key", 1)
    for each in workers:
        each.wait_state("streaming")
    for each in workers:
        each.kill()
        each.start()
        each.wait_state("streaming")
    wait_until(lambda: servers[-1].client().get("key") == b"1", "the key at the end of the chain")
    assert checkpoint(servers[1], "leg0")["origins"] == ""
    wait_until(lambda: len(checkpoint(servers[3], "leg2")["origins"].split()) == 4, "two servers before the source")


@pytest.mark.parametrize("name", ["default", "another"])
def test_swapped_urls_erase_nothing(server: Servers, worker: Workers, name: str) -> None:
    """`flush` with source and target exchanged: 3, whatever the name, though the first worker is stopped."""
    live, copy = server(), server()
    live.client().mset({f"key:{number}": number for number in range(100)})
    first = worker(live, copy)
    first.wait_state("streaming")
    first.terminate()
    first.wait_ended()
    swapped = worker(copy, live, SHAKER_NAME=name, SHAKER_TARGET__ON_EXISTING="flush")
    refused(swapped, 3, CIRCLE)
    assert live.client().exists(*(f"key:{number}" for number in range(100))) == 100
    assert "DEL shaker:checkpoint:default" in swapped.events("replication ends")[0]["hint"]


def test_swapped_urls_of_a_server_that_came_back_empty(server: Servers, worker: Workers) -> None:
    """It has new ids; its address, in a record of the same name, tells all the same. Without the record it may be."""
    live, copy = server(), server()
    live.client().set("key", 1)
    first = worker(live, copy)
    first.wait_state("streaming")
    first.wait_applied(live)
    first.kill()
    live.restart(kill=True)
    assert live.client().dbsize() == 0
    refused(worker(copy, live), 3, CIRCLE)
    copy.client().delete("shaker:checkpoint:default", "shaker:fence:default")
    worker(copy, live).wait_state("streaming")
    assert live.client().get("key") == b"1"
